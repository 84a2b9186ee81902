"""Ranges of shards that each lane reads on its own: for sources with known row counts, or with many shards."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from samsum_stream.lanes.order import ShardRange
from samsum_stream.lanes.position import Cursor
from samsum_stream.pipeline.readers.base import BlockReader, Chunks, sizes_of
from samsum_stream.sources.base import Block
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import RowPosition


class RangeBlock(NamedTuple):
    """A block of a lane's range.

    Attributes:
        cursor: The cursor of its first row.
        shard_range: The range.
        num_rows: The rows of the block that belong to the range.
        num_passed_over: The rows that were read only to reach the block.
    """

    cursor: Cursor
    shard_range: ShardRange
    num_rows: int
    num_passed_over: int


class RangeReader(BlockReader):
    """Reads the ranges of each lane. No other lane reads them."""

    def epoch(self, lane: int, start: Cursor) -> Chunks:
        blocks = self.read_ahead.of(self.source, self._blocks(lane, start))
        for (cursor, shard_range, num_rows, num_passed_over), block in blocks:
            self.num_passed_over += num_passed_over
            number = cursor.row // self.order.block_size
            rows = self.order.rows_of_block(shard_range, number, num_rows, epoch=cursor.epoch)
            num_done = start.row - cursor.row if start > cursor else 0
            for low, high in self._slices(lane, num_rows - num_done):
                taken = self.faults.take(block.take, rows[num_done + low : num_done + high])
                yield cursor._replace(row=cursor.row + num_done + low), taken

    def numbers(self, lane: int, *, epoch: int, shard_sizes: Sequence[int]) -> Iterator[Int64Array]:
        offsets, size = np.cumsum([0, *shard_sizes]), self.order.block_size
        for shard_range in self._ranges(lane, epoch):
            shard, start, end = shard_range
            end = shard_sizes[shard] if end is None else end
            for block, first in enumerate(range(start, end, size)):
                rows = self.order.rows_of_block(shard_range, block, min(size, end - first), epoch=epoch)
                yield offsets[shard] + first + rows

    def row_at(self, lane: int, cursor: Cursor) -> RowPosition:
        shard, start, _ = self._ranges(lane, cursor.epoch)[cursor.shard]
        size = self.order.block_size
        return self.source.read_position(shard, start + cursor.row // size * size, cursor.epoch)

    def _ranges(self, lane: int, epoch: int) -> list[ShardRange]:
        return self.order.ranges(lane, epoch=epoch, sizes=sizes_of(self.source))

    def _blocks(self, lane: int, start: Cursor) -> Iterator[tuple[RangeBlock, Block]]:
        """The blocks of an epoch, from the block at `start` on."""
        size = self.order.block_size
        for index, shard_range in enumerate(self._ranges(lane, start.epoch)[start.shard :], start=start.shard):
            first = start.row // size * size if index == start.shard else 0
            yield from self._blocks_of_range(Cursor(start.epoch, index, first), shard_range)

    def _blocks_of_range(self, cursor: Cursor, shard_range: ShardRange) -> Iterator[tuple[RangeBlock, Block]]:
        """The blocks of a range, from the block at `cursor` on."""
        shard, start, end = shard_range
        row = start + cursor.row
        if row == end:
            return
        num_passed_over = 0 if self.source.seeks else row
        for block in self.source.blocks(shard, num_rows=self.order.block_size, start=row):
            num_rows = block.num_rows if end is None else min(block.num_rows, end - row)
            yield RangeBlock(cursor, shard_range, num_rows, num_passed_over), block
            cursor, row, num_passed_over = cursor._replace(row=cursor.row + num_rows), row + num_rows, 0
            if row == end:
                return
        if end is not None:
            raise self.source.ended_early(shard, row)
