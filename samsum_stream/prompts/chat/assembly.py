"""Rendered conversations to the renderings of a chunk: the pieces of all rows in one list."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from samsum_stream.values.arrays import Int64Array, Ragged, offsets_of
from samsum_stream.values.examples import Event
from samsum_stream.values.renderings import Fit, Pieces, Problem, Renderings, Segment, Shortened, cannot_shorten
from samsum_stream.values.rows import Rows
from samsum_stream.values.runs import Shape

ShortenRow = Callable[[int, int, str, Fit], Shortened | None]
"""Like `Shorten`, for an example that is given by the index of its row and its number in the row."""


class Layout(NamedTuple):
    """How the pieces of a row form its examples.

    Attributes:
        shapes: The shape of each example.
        num_pieces: The number of pieces of each run of all examples.
        pieces: The index of each of these pieces among the pieces of the row.
    """

    shapes: tuple[Shape, ...]
    num_pieces: Int64Array
    pieces: Int64Array

    @classmethod
    def of(cls, shapes: Sequence[Shape], runs: Iterable[Sequence[int]]) -> "Layout":
        """The layout of examples; `runs` lists the pieces of each run."""
        lists = [*runs]
        indices = np.array([index for run in lists for index in run], np.int64)
        return cls(tuple(shapes), np.array([len(run) for run in lists], np.int64), indices)


class RenderedRow(NamedTuple):
    """A rendered row.

    Attributes:
        texts: The text of each piece.
        layout: How the pieces form the examples.
        segments: The segments of an example, by its number.
        ordinary: The pieces that are encoded as ordinary text.
        events: What was noticed, each with the number of an example.
    """

    texts: Sequence[str]
    layout: Layout
    segments: Callable[[int], Sequence[Segment]]
    ordinary: Sequence[int] = ()
    events: Sequence[tuple[int, str]] = ()


def renderings_of(
    rendered: Sequence[RenderedRow | Problem], rows: Rows | None = None, *, shorten: ShortenRow | None = None
) -> Renderings:
    """The renderings of rows; without `rows`, of one row that is not a row of a source."""
    good = [(index, row) for index, row in enumerate(rendered) if isinstance(row, RenderedRow)]
    row_of = np.repeat([index for index, _ in good], [len(row.layout.shapes) for _, row in good]).astype(np.int64)
    firsts = np.searchsorted(row_of, np.arange(len(rendered)))
    shapes = [shape for _, row in good for shape in row.layout.shapes]
    different, shape_of = _numbered(shapes)
    number = len(rendered)

    def part_of(example: int) -> tuple[int, int]:
        index = int(row_of[example])
        return index, example - int(firsts[index])

    def segments(example: int) -> Sequence[Segment]:
        index, part = part_of(example)
        row = rendered[index]
        assert isinstance(row, RenderedRow)
        return row.segments(part)

    return Renderings(
        texts=[text for _, row in good for text in row.texts],
        shapes=different,
        shape_of=shape_of,
        rows=row_of,
        shards=np.zeros(number, np.int32) if rows is None else rows.shards,
        numbers=np.zeros(number, np.int64) if rows is None else rows.rows,
        segments=segments,
        shorten=cannot_shorten if shorten is None else lambda index, *how: shorten(*part_of(index), *how),
        pieces=_pieces([row for _, row in good]),
        is_complete=True,
        problems={index: row for index, row in enumerate(rendered) if isinstance(row, Problem)},
        events=[Event(index, part, name) for index, row in good for part, name in row.events],
    )


def _numbered(shapes: Sequence[Shape]) -> tuple[tuple[Shape, ...], Int64Array]:
    """The different shapes, and the index of each shape among them.

    A shape is long and slow to hash, and rows of one frame have the same object, so objects are compared first.
    """
    objects = {id(shape): shape for shape in shapes}
    index_of = {shape: index for index, shape in enumerate(dict.fromkeys(objects.values()))}
    index_of_object = {key: index_of[shape] for key, shape in objects.items()}
    return tuple(index_of), np.array([index_of_object[id(shape)] for shape in shapes], np.int64)


def _pieces(rows: Sequence[RenderedRow]) -> Pieces | None:
    """The pieces of all runs; None if each run is one piece."""
    starts = offsets_of([len(row.texts) for row in rows])
    layouts = [row.layout for row in rows]
    indices = np.concatenate([layout.pieces for layout in layouts] or [np.empty(0, np.int64)])
    indices = indices + np.repeat(starts[:-1], [len(layout.pieces) for layout in layouts])
    num_pieces = np.concatenate([layout.num_pieces for layout in layouts] or [np.empty(0, np.int64)])
    with_starts = zip(starts.tolist(), rows, strict=False)
    ordinary = frozenset(start + piece for start, row in with_starts for piece in row.ordinary)
    if not ordinary and len(indices) == len(num_pieces) and np.array_equal(indices, np.arange(int(starts[-1]))):
        return None
    return Pieces(Ragged(indices.astype(np.int32), offsets_of(num_pieces)), ordinary)
