"""`python -m samsum_stream`: the command line."""

from samsum_stream.cli import app

app()
