"""Tokens one beside the other, each above its id.

⟦<s>⟧  ·Please  ·summarize  >>>  ·A    <<<
1      12148    19138            319
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from samsum_stream.showing.marks import MASKED, TRAINED, special, visible
from samsum_stream.showing.pieces import Piece

_GAP = 2


class Cell(NamedTuple):
    """A token, or a mark between two, with what stands below it."""

    text: str
    below: str
    style: str

    @property
    def width(self) -> int:
        return max(cell_len(self.text), cell_len(self.below)) + _GAP


class Cells:
    """Cells that flow as words do."""

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


def cells_of_pieces(masked: Iterable[Piece], trained: Iterable[Piece]) -> Cells:
    """Each piece above its ids."""
    return Cells(_between_arrows([_cell(each, MASKED) for each in masked], [_cell(each, TRAINED) for each in trained]))


def cells_of_ids(masked: Sequence[int], trained: Sequence[int]) -> Cells:
    """The ids alone, for who has no tokenizer."""
    sides = ((masked, MASKED), (trained, TRAINED))
    return Cells(_between_arrows(*([Cell(str(number), "", style) for number in ids] for ids, style in sides)))


def _between_arrows(masked: Sequence[Cell], trained: Sequence[Cell]) -> list[Cell]:
    return [*masked, Cell(">>>", "", TRAINED), *trained, Cell("<<<", "", TRAINED)]


def _cell(piece: Piece, style: str) -> Cell:
    text, style = special(piece.text, style) if piece.is_special else (visible(piece.text), style)
    return Cell(text.replace("\n", "").replace(" ", "·"), " ".join(map(str, piece.ids)), style)


def _line(parts: Iterable[tuple[str, int, str]]) -> Text:
    line = Text(no_wrap=True, overflow="fold")
    for text, width, style in parts:
        line.append(text, style).append(" " * (width - cell_len(text)))
    line.rstrip()
    return line
