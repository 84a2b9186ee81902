"""`samsum-stream schema`."""

import json

import typer

from samsum_stream.inspection.schema import config_schema


def schema() -> None:
    """Print the JSON schema of the YAML, with which editors complete and check a config."""
    typer.echo(json.dumps(config_schema(), indent=2, ensure_ascii=False))
