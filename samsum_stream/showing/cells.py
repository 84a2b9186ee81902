"""Tokens side by side, each above its id.

⟦<s>⟧  ·Please  ·summarize  >>>  ·A    <<<
1      12148    19138            319
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from samsum_stream.showing.decoding import DecodedTokens
from samsum_stream.showing.marks import ARROWS, MASKED, TRAINED, styled
from samsum_stream.showing.runs import TokenRun

_GAP = 2


class Cell(NamedTuple):
    """A token, or a mark between two tokens, with the text below it."""

    text: str
    below: str
    style: str

    @property
    def width(self) -> int:
        return max(cell_len(self.text), cell_len(self.below)) + _GAP


class Cells:
    """Cells that are wrapped like words."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = cells

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for row in self._rows(options.max_width):
            yield _line((cell.text, cell.width, cell.style) for cell in row)
            if any(cell.below for cell in row):
                yield _line((cell.below, cell.width, MASKED) for cell in row)

    def _rows(self, max_width: int) -> Iterator[list[Cell]]:
        row: list[Cell] = []
        room = max_width + _GAP
        for cell in self.cells:
            if row and cell.width > room:
                yield row
                row, room = [], max_width + _GAP
            row.append(cell)
            room -= cell.width
        if row:
            yield row


def cells_of(runs: Iterable[TokenRun]) -> Cells:
    """Each token of an example above its ids, each trained run between arrows."""
    return Cells([cell for run in runs for cell in _cells_of_run(run)])


def _cells_of_run(run: TokenRun) -> list[Cell]:
    cells = [_cell(token, is_trained=run.is_trained) for token in run.tokens]
    start, end = (Cell(arrow, "", TRAINED) for arrow in ARROWS)
    return [start, *cells, end] if run.is_trained else cells


def _cell(token: DecodedTokens, *, is_trained: bool) -> Cell:
    text, style = styled(token.text, is_trained=is_trained, is_special=token.is_special)
    return Cell(text.replace("\n", "").replace(" ", "·"), " ".join(map(str, token.ids)), style)


def _line(parts: Iterable[tuple[str, int, str]]) -> Text:
    line = Text(no_wrap=True, overflow="fold")
    for text, width, style in parts:
        line.append(text, style).append(" " * (width - cell_len(text)))
    line.rstrip()
    return line
