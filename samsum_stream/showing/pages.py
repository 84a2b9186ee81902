"""Renderables of rich as text and as HTML, so that a terminal and a notebook show the same picture."""

import io

from rich.console import Console, RenderableType
from rich.terminal_theme import TerminalTheme

COLUMNS = 100

_WHITE, _GREY = (255, 255, 255), (128, 128, 128)

_COLOURS = [_GREY, (205, 60, 60), (30, 145, 80), (150, 115, 0), (55, 120, 210), (175, 75, 185), (10, 140, 155), _GREY]

_THEME = TerminalTheme(_WHITE, (0, 0, 0), _COLOURS)
"""Colours of medium brightness, readable on light and on dark pages; text without a colour has that of the page."""

_PRE = (
    '<pre style="white-space:pre;overflow-x:auto;line-height:1.3;padding:.5em .8em;color:inherit;'
    'background:rgba(128,128,128,.08);font-family:ui-monospace,Menlo,monospace">{code}</pre>'
)


def as_html(picture: RenderableType) -> str:
    """A fragment for a notebook with inline styles; all text is escaped."""
    return _recorded(picture).export_html(theme=_THEME, code_format=_PRE, inline_styles=True)


def as_text(picture: RenderableType) -> str:
    """The same without colour."""
    return "\n".join(line.rstrip() for line in _recorded(picture).export_text().splitlines())


def _recorded(picture: RenderableType) -> Console:
    console = Console(
        file=io.StringIO(),
        record=True,
        width=COLUMNS,
        color_system="standard",
        force_terminal=True,
        legacy_windows=False,
        no_color=False,
        markup=False,
        emoji=False,
        highlight=False,
    )
    console.print(picture)
    return console
