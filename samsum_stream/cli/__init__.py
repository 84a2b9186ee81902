"""The command `samsum-stream`: its subcommands, each in a file of `commands/`."""

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
    """Looks into streams of fine-tuning data."""
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, TextIOWrapper):  # a terminal of plain ASCII shows "?" for what it does not have
            output.reconfigure(errors="replace")


def _told(command: Callable[Params, None]) -> Callable[Params, None]:
    """A user's error is a message and exit code 1, no traceback."""

    @wraps(command)
    def told(*args: Params.args, **kwargs: Params.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except SamsumStreamError as error:
            typer.echo(f"{type(error).__name__}: {error}", err=True)
            raise typer.Exit(1) from None

    return told


for command in (bench, check, preview, report, schema, stats, trace):
    app.command()(_told(command))
