"""What several subcommands take, and where they print."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, RenderableType

from samsum_stream.showing.pages import COLUMNS

Config = Annotated[Path, typer.Argument(help="the YAML file of a stream")]
Json = Annotated[bool, typer.Option("--json", help="print JSON, for machines")]
Trust = Annotated[list[str] | None, typer.Option(help="a module whose code the config may name; may be repeated")]


def show(picture: RenderableType, *, as_long_lines: bool = False) -> None:
    """Print a picture; to a file or a pipe without the blanks that fill up its lines.

    Args:
        as_long_lines: There, lines of text are not broken, so that they can be searched.
    """
    # Rows contain brackets and colons, which rich would otherwise read as markup and emoji.
    console = Console(markup=False, emoji=False, highlight=False)
    if console.is_terminal:
        console.print(picture)
        return
    if "COLUMNS" not in os.environ:
        console.width = COLUMNS
    with console.capture() as captured:
        console.print(picture, soft_wrap=as_long_lines)
    print("\n".join(line.rstrip(" ") for line in captured.get().removesuffix("\n").split("\n")))
