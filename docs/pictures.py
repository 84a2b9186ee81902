"""Draws the terminal output of the commands of `PICTURES` as docs/*.svg.

Run it in the top folder of the repository:

    python docs/pictures.py
"""

import os
import subprocess
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

WIDTH = 96
PICTURES = {
    "preview": "samsum-stream preview configs/mixture.yaml -n 3",
    "stats": "samsum-stream stats configs/quickstart.yaml",
}
FRAME = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font: {char_height}px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace }}
.{unique_id}-title {{ font: bold 18px sans-serif }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""
"""The terminal of rich, with fonts that every machine has instead of a font from a network."""


def draw(command: str, path: Path) -> None:
    """Draw the output of a command on a terminal, with its colours."""
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(WIDTH), "HF_HUB_OFFLINE": "1"}
    output = subprocess.run(command.split(), env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere)
        console.print(Text.from_ansi(output.rstrip()))
    svg = console.export_svg(title=command, theme=SVG_EXPORT_THEME, code_format=FRAME, unique_id=path.stem)
    path.write_text(svg, encoding="utf-8")


def main() -> None:
    for name, command in PICTURES.items():
        draw(command, Path("docs") / f"{name}.svg")


if __name__ == "__main__":
    main()
