"""`samsum-stream report`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from samsum_stream.cli.options import Config, NumWorkers, Trust
from samsum_stream.errors import ConfigError


def report(
    config: Config,
    output: Annotated[Path, typer.Option("--output", "-o", help="the page to write", dir_okay=False)] = Path(
        "report.html"
    ),
    num_workers: NumWorkers = 0,
    trust: Trust = None,
) -> None:
    """Write an HTML page with rows and their masks, lengths, packs, shares, dropped rows, findings, and the config."""
    try:
        from samsum_stream.inspection.report import make_page
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"report needs matplotlib, but {error.name} is not installed; pip install 'samsum-stream[plot]'"
        ) from error
    if not output.parent.is_dir():
        raise ConfigError(f"--output: there is no folder {output.parent} for {output.name}; create it first")
    if not os.access(output if output.exists() else output.parent, os.W_OK):
        raise ConfigError(f"--output: {output} is not writable; name another file")
    page = make_page(config, num_workers=num_workers, trust=trust or [])
    try:
        output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--output: {output} cannot be written ({error}); name another file") from error
    typer.echo(f"{output} is written: open it in a browser")
