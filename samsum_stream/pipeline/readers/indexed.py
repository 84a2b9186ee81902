"""Rows by number: the reading strategy for sources that read any row at any time."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from samsum_stream.lanes.order import Order
from samsum_stream.lanes.permutation import lane_size
from samsum_stream.lanes.position import Cursor
from samsum_stream.pipeline.readers.base import Chunks, Reader
from samsum_stream.sources.base import IndexedSource
from samsum_stream.sources.faults import Faults
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import RowPosition

BLOCK, MIN_BLOCK = 8192, 256
"""Rows whose order is computed at one time: for all lanes of the reader together, and at least for each lane."""

NUM_BLOCKS = 8
"""Blocks that are kept. Lanes advance at different speeds, because their rows have different lengths."""


class IndexedReader(Reader):
    """Reads rows by their number in a permutation of all rows. The order of all lanes is computed a block at a time."""

    def __init__(self, source: IndexedSource, *, order: Order, lanes: Sequence[int], faults: Faults) -> None:
        super().__init__()
        self.source, self.order, self.faults = source, order, faults
        self._lanes = np.array(lanes, np.int64)
        self._sizes = np.array([self._size_of(lane) for lane in lanes])
        self._block_size = max(BLOCK // len(lanes), MIN_BLOCK)
        self._block = lru_cache(NUM_BLOCKS)(self._rows_of_block)

    def epoch(self, lane: int, start: Cursor) -> Chunks:
        for first, rows in self._blocks(lane, epoch=start.epoch, first=start.row):
            for low, high in self._slices(lane, len(rows)):
                yield start._replace(row=first + low), self.faults.take(self.source.take, rows[low:high])

    def numbers(self, lane: int, *, epoch: int, shard_sizes: Sequence[int]) -> Iterator[Int64Array]:
        return (rows for _, rows in self._blocks(lane, epoch=epoch, first=0))

    def row_at(self, lane: int, cursor: Cursor) -> RowPosition:
        num_rows = self.source.num_rows
        if cursor.row == self._size_of(lane):
            cursor = Cursor(cursor.epoch + 1, 0, 0)
        number = int(self.order.rows(lane, np.array([cursor.row]), epoch=cursor.epoch, num_rows=num_rows)[0])
        starts = np.cumsum([0, *(shard.num_rows or 0 for shard in self.source.shards)])
        shard = int(np.searchsorted(starts, number, side="right")) - 1
        return self.source.read_position(shard, number - int(starts[shard]), cursor.epoch)

    def _size_of(self, lane: int) -> int:
        return lane_size(lane, num_rows=self.source.num_rows, num_lanes=self.order.num_lanes)

    def _blocks(self, lane: int, *, epoch: int, first: int) -> Iterator[tuple[int, Int64Array]]:
        """The rows of the lane from its row `first` on, in blocks, each with the number of its first row."""
        size = self._block_size
        while len(rows := self._block(epoch, first // size)[lane][first % size :]):
            yield first, rows
            first += len(rows)

    def _rows_of_block(self, epoch: int, number: int) -> dict[int, Int64Array]:
        start = number * self._block_size
        exists = start + np.arange(self._block_size) < self._sizes[:, None]
        lanes, numbers = np.nonzero(exists)
        num_rows = self.source.num_rows
        rows = self.order.rows(self._lanes[lanes], start + numbers, epoch=epoch, num_rows=num_rows)
        rows_of_lanes = np.split(rows, np.cumsum(exists.sum(axis=1))[:-1])
        return dict(zip(self._lanes.tolist(), rows_of_lanes, strict=True))
