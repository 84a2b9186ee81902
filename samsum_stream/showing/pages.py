"""What a terminal shows, as text and as HTML: there is one picture of each thing, and no second one for notebooks."""

import io

from rich.console import Console, RenderableType
from rich.terminal_theme import TerminalTheme

COLUMNS = 100


_WHITE, _GREY = (255, 255, 255), (128, 128, 128)


_COLOURS = [_GREY, (205, 60, 60), (30, 145, 80), (150, 115, 0), (55, 120, 210), (175, 75, 185), (10, 140, 155), _GREY]


_ON_ANY_GROUND = TerminalTheme(_WHITE, (0, 0, 0), _COLOURS)
"""Colours of a middle tone, to be read on a light page and on a dark one; whatever has none is the page's own."""


_PRE = (
    '<pre style="white-space:pre;overflow-x:auto;line-height:1.3;padding:.5em .8em;color:inherit;'
    'background:rgba(128,128,128,.08);font-family:ui-monospace,Menlo,monospace">{code}</pre>'
)


def as_html(shown: RenderableType) -> str:
    """A fragment for a notebook, with its styles inside; whatever rows say is escaped."""
    return _recorded(shown).export_html(theme=_ON_ANY_GROUND, code_format=_PRE, inline_styles=True)


def as_text(shown: RenderableType) -> str:
    """The same without colour."""
    return "\n".join(line.rstrip() for line in _recorded(shown).export_text().splitlines())


def _recorded(shown: RenderableType) -> Console:
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
    console.print(shown)
    return console
