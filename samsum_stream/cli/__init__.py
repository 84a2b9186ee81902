"""The command `samsum-stream`, with one file per subcommand."""

import sys
from collections.abc import Callable
from functools import wraps
from io import TextIOWrapper
from typing import ParamSpec

import typer

from samsum_stream.cli.bench import bench
from samsum_stream.cli.check import check
from samsum_stream.cli.preview import preview
from samsum_stream.cli.report import report
from samsum_stream.cli.schema import schema
from samsum_stream.cli.stats import stats
from samsum_stream.cli.trace import trace
from samsum_stream.errors import SamsumStreamError

Params = ParamSpec("Params")

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Inspect streams of fine-tuning data."""
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, TextIOWrapper):  # an ASCII terminal shows "?" for characters that it cannot encode
            output.reconfigure(errors="replace")


def _reporting_errors(command: Callable[Params, None]) -> Callable[Params, None]:
    """Prints an error of the user as a message without traceback, and exits with code 1."""

    @wraps(command)
    def reporting(*args: Params.args, **kwargs: Params.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except SamsumStreamError as error:
            typer.echo(f"{type(error).__name__}: {error}", err=True)
            raise typer.Exit(1) from None

    return reporting


for command in (bench, check, preview, report, schema, stats, trace):
    app.command()(_reporting_errors(command))
