"""Shards that all lanes of a worker read together: for sequential sources with few shards of unknown size."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from samsum_stream.lanes.order import Order
from samsum_stream.lanes.position import Cursor
from samsum_stream.pipeline.read_ahead import ReadAhead
from samsum_stream.pipeline.readers.base import BlockReader, Chunks
from samsum_stream.sources.base import Block, SequentialSource
from samsum_stream.sources.faults import Faults
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import RowPosition, Rows

LaneRows = tuple[int, Cursor, Rows]
"""What a lane gets of a block: the lane, the cursor of the first row, and the rows."""


class SharedShard(NamedTuple):
    """A shard that lanes share.

    Attributes:
        cursor: Its first row, in the order of the epoch.
        shard: The number of the shard.
        first_block: The first block that a lane still needs.
        offsets: The offset of each lane in the shard.
        first_rows: The first row that each lane still needs, among the rows of its offset.
    """

    cursor: Cursor
    shard: int
    first_block: int
    offsets: Mapping[int, int]
    first_rows: Mapping[int, int]


class SharedReader(BlockReader):
    """Reads the source once in an epoch for all lanes of the worker. Rows of other workers' lanes are passed over."""

    def __init__(
        self,
        source: SequentialSource,
        *,
        order: Order,
        starts: Mapping[int, Cursor],
        read_ahead: ReadAhead | None,
        faults: Faults,
    ) -> None:
        super().__init__(source, order=order, read_ahead=read_ahead, faults=faults)
        self.starts = starts
        self._epochs: dict[int, _SharedEpoch] = {}

    def epoch(self, lane: int, start: Cursor) -> Chunks:
        epoch = start.epoch
        if epoch not in self._epochs:
            starts = {lane: max(start, Cursor(epoch, 0, 0)) for lane, start in self.starts.items()}
            starts = {lane: start for lane, start in starts.items() if start.epoch == epoch}
            self._epochs[epoch] = _SharedEpoch(self._assign(epoch, starts), lanes=list(starts))
        try:
            yield from self._epochs[epoch].chunks(lane)
        finally:  # a mixture may leave an epoch before its end
            self._epochs[epoch].waiting.pop(lane, None)
            if not self._epochs[epoch].waiting:
                del self._epochs[epoch]

    def numbers(self, lane: int, *, epoch: int, shard_sizes: Sequence[int]) -> Iterator[Int64Array]:
        order, starts = self.order, np.cumsum([0, *shard_sizes])
        for shard_index, shard in enumerate(order.shards(len(shard_sizes), epoch=epoch)):
            offset = order.offset(lane, epoch=epoch, shard_index=shard_index)
            for block, start in enumerate(range(0, shard_sizes[shard], order.block_size)):
                num_rows = min(order.block_size, shard_sizes[shard] - start)
                _, rows = order.rows_of_offset(offset, epoch=epoch, shard=shard, block=block, num_rows=num_rows)
                yield starts[shard] + start + rows

    def row_at(self, lane: int, cursor: Cursor) -> RowPosition:
        shard = self.order.shards(len(self.source.shards), epoch=cursor.epoch)[cursor.shard]
        offset = self.order.offset(lane, epoch=cursor.epoch, shard_index=cursor.shard)
        row = self.order.block_of(offset, cursor.row) * self.order.block_size
        return self.source.read_position(shard, row, cursor.epoch)

    def _assign(self, epoch: int, starts: Mapping[int, Cursor]) -> Iterator[list[LaneRows]]:
        """Each step reads one block and assigns its rows to the lanes, without the rows before their starts."""
        for (shared, number), block in self.read_ahead.of(self.source, self._blocks(epoch, starts)):
            assigned = []
            for lane, offset in shared.offsets.items():
                row, rows = self.order.rows_of_offset(
                    offset, epoch=epoch, shard=shared.shard, block=number, num_rows=block.num_rows
                )
                num_done = max(shared.first_rows[lane] - row, 0)
                if len(rows) > num_done:
                    taken = self.faults.take(block.take, rows[num_done:])
                    assigned.append((lane, shared.cursor._replace(row=row + num_done), taken))
            if number == shared.first_block:
                self.num_passed_over += number * self.order.block_size
            self.num_passed_over += block.num_rows - sum(len(rows) for _, _, rows in assigned)
            yield assigned

    def _blocks(self, epoch: int, starts: Mapping[int, Cursor]) -> Iterator[tuple[tuple[SharedShard, int], Block]]:
        """The blocks of an epoch, each with its shard and its number in the shard."""
        size = self.order.block_size
        for shared in self._shards(epoch, starts):
            first = shared.first_block
            blocks = self.source.blocks(shared.shard, num_rows=size, start=first * size)
            for number, block in enumerate(blocks, start=first):
                yield (shared, number), block

    def _shards(self, epoch: int, starts: Mapping[int, Cursor]) -> Iterator[SharedShard]:
        """The shards, each for the lanes that have not finished it."""
        order, shards = self.order, self.order.shards(len(self.source.shards), epoch=epoch)
        for index in range(min(start.shard for start in starts.values()), len(shards)):
            cursor = Cursor(epoch, index, 0)
            first_rows = {lane: max(start, cursor).row for lane, start in starts.items() if start.shard <= index}
            offsets = {lane: order.offset(lane, epoch=epoch, shard_index=index) for lane in first_rows}
            first_block = min(order.block_of(offsets[lane], row) for lane, row in first_rows.items())
            yield SharedShard(cursor, shards[index], first_block, offsets, first_rows)


class _SharedEpoch:
    """One epoch of a sequential source, and the rows that lanes have not read yet."""

    def __init__(self, steps: Iterator[list[LaneRows]], *, lanes: Sequence[int]) -> None:
        self.steps = steps
        self.waiting: dict[int, deque[tuple[Cursor, Rows]]] = {lane: deque() for lane in lanes}

    def chunks(self, lane: int) -> Chunks:
        waiting = self.waiting[lane]
        yield from _drained(waiting)
        for assigned in self.steps:
            for owner, cursor, rows in assigned:
                if owner in self.waiting:
                    self.waiting[owner].append((cursor, rows))
            yield from _drained(waiting)


def _drained(queue: deque[tuple[Cursor, Rows]]) -> Chunks:
    while queue:
        yield queue.popleft()
