"""What several subcommands take, and where they print."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

Config = Annotated[Path, typer.Argument(help="the YAML file of a stream")]
Json = Annotated[bool, typer.Option("--json", help="print JSON, for machines")]
Trust = Annotated[list[str] | None, typer.Option(help="a module whose code the config may name; may be repeated")]

# Rows contain brackets and colons, which rich would otherwise read as markup and emoji.
console = Console(markup=False, emoji=False, highlight=False)
