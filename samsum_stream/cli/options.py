"""The options and the output of several subcommands."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, RenderableType

from samsum_stream.showing.pages import COLUMNS

Config = Annotated[Path, typer.Argument(help="the YAML file of a stream")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]
NumWorkers = Annotated[int, typer.Option(min=0, help="processes that read and tokenize")]
Trust = Annotated[list[str] | None, typer.Option(help="a module from which the config may import code; repeatable")]


def show(picture: RenderableType, *, as_long_lines: bool = False) -> None:
    """Print a picture; without trailing spaces if the output is a file or a pipe.

    Args:
        picture: A renderable of rich.
        as_long_lines: Do not wrap lines in a file or a pipe, so that they can be searched.
    """
    # Rows contain brackets and colons, which rich would read as markup and emoji.
    console = Console(markup=False, emoji=False, highlight=False)
    if console.is_terminal:
        console.print(picture)
        return
    if "COLUMNS" not in os.environ:
        console.width = COLUMNS
    with console.capture() as captured:
        console.print(picture, soft_wrap=as_long_lines)
    print("\n".join(line.rstrip(" ") for line in captured.get().removesuffix("\n").split("\n")))
