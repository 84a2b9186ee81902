"""Some rows of a sequential source, in blocks of equal numbers of rows.

rows of the source    0 1 . 3 4 . . 7 | 8 . 10 11 12 . 14 15       two blocks of eight; . is left out
rows of the view      0 1   2 3     4   5   6  7             | 8 9    a block of eight, and the rest
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from samsum_stream.errors import RowError
from samsum_stream.sources.base import Block, SequentialSource, Shard
from samsum_stream.sources.faults import Take
from samsum_stream.sources.views.row_sets import RowSet
from samsum_stream.values.arrays import Int64Array, offsets_of
from samsum_stream.values.rows import RowPosition, Rows

SPARSE = 8
"""If fewer than one in this number of the rows of a block are kept, they are parsed at once, and the block is freed."""


class SequentialView(SequentialSource):
    """The rows of `source` that are in `row_set`, in their order."""

    def __init__(self, source: SequentialSource, row_set: RowSet) -> None:
        self._source, self._row_set = source, row_set
        shards = (Shard(shard.name, row_set.num_rows(number)) for number, shard in enumerate(source.shards))
        super().__init__(name=source.name, shards=tuple(shards))
        self.seeks, self.is_remote = source.seeks, source.is_remote

    def blocks(self, shard: int, *, num_rows: int, start: int = 0) -> Iterator[Block]:
        return _regrouped(self._parts(shard, num_rows, start), num_rows=num_rows)

    def first_block(self, num_rows: int) -> Block:
        """The rows of an iterator are peeked at, so that the next pass yields them again; an iterator has one shard."""
        if len(self.shards) > 1:
            return super().first_block(num_rows)
        most = self.shards[0].num_rows
        number = num_rows if most is None else min(num_rows, most)
        part = self._part(0, 0, self._source.first_block(self._row_set.end_of(0, number)))
        if not len(part.indices):
            raise self.no_rows()
        return _block([part])

    def read_position(self, shard: int, row: int, epoch: int) -> RowPosition:
        return self._source.read_position(shard, self._row_set.end_of(shard, row), epoch)

    @property
    def origin(self) -> SequentialSource:
        origin = self._source.origin
        assert isinstance(origin, SequentialSource)
        return origin

    def _parts(self, shard: int, num_rows: int, start: int) -> Iterator["_Part"]:
        """The rows of each block of the source, without those that are left out."""
        row, stop = self._row_set.end_of(shard, start), self._row_set.stop(shard)
        if stop is not None:
            num_rows = min(num_rows, stop - row)
        if num_rows <= 0:
            return
        for block in self._source.blocks(shard, num_rows=num_rows, start=row):
            yield self._part(shard, row, block)
            row += block.num_rows
            if stop is not None and row >= stop:
                return
        if self.shards[shard].num_rows is not None:
            raise self._source.ended_early(shard, row)

    def _part(self, shard: int, row: int, block: Block) -> "_Part":
        indices = np.flatnonzero(self._row_set.contains(shard, row + np.arange(block.num_rows)))
        if len(indices) * SPARSE < block.num_rows:
            num_bytes = block.num_bytes * len(indices) // block.num_rows
            return _parsed(block.take, indices, num_bytes) or _Part(block.take, indices, block.num_bytes)
        return _Part(block.take, indices, block.num_bytes)


class _Part(NamedTuple):
    """Rows of a block of the source: `take` maps `indices`, `[n]`, to rows."""

    take: Take
    indices: Int64Array
    num_bytes: int

    def slice(self, start: int, end: int | None) -> "_Part":
        return self._replace(indices=self.indices[start:end])


def _parsed(take: Take, indices: Int64Array, num_bytes: int) -> _Part | None:
    """The rows without their block; None if one of them is bad: then the block must raise when the row is taken."""
    try:
        return _Part(take(indices).picked, np.arange(len(indices)), num_bytes)
    except RowError:
        return None


def _regrouped(parts: Iterator[_Part], *, num_rows: int) -> Iterator[Block]:
    """Blocks of `num_rows` rows, the last one shorter."""
    pending: list[_Part] = []
    num_missing = num_rows
    for part in parts:
        while len(part.indices) >= num_missing:
            yield _block([*pending, part.slice(0, num_missing)])
            pending, part, num_missing = [], part.slice(num_missing, None), num_rows
        if len(part.indices):
            pending.append(part)
            num_missing -= len(part.indices)
    if pending:
        yield _block(pending)


def _block(parts: Sequence[_Part]) -> Block:
    starts = offsets_of([len(part.indices) for part in parts])
    return Block(int(starts[-1]), partial(_take, parts, starts), sum(part.num_bytes for part in parts))


def _take(parts: Sequence[_Part], starts: Int64Array, indices: Int64Array) -> Rows:
    """The rows at `indices`, in the given order: each part is taken from once."""
    numbers = np.searchsorted(starts, indices, side="right") - 1
    order, rows = np.argsort(numbers, kind="stable"), Rows.none()
    for number in np.unique(numbers).tolist():
        of_part = indices[numbers == number] - starts[number]
        rows = Rows.joined(rows, parts[number].take(parts[number].indices[of_part]))
    return rows if (np.diff(order) == 1).all() else rows.picked(np.argsort(order))
