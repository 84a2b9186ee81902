"""Which row a lane reads next: the order of an epoch as a pure function of (seed, epoch, number of lanes).

indexed    lane v reads the rows at v, v + V, v + 2V, ... of one permutation of all rows
ranges     the shards are permuted and laid end to end; if their row counts are known, each lane reads one range, and
           the lanes differ by at most one row; if not, lane v reads the whole shards v, v + V, v + 2V, ...
shared     the shards are permuted; in each shard a lane has an offset s and reads the rows s, s + V, s + 2V, ...

In ranges and shared shards, the rows of each block are permuted among themselves.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from samsum_stream.lanes.permutation import lane_size, permute
from samsum_stream.values.arrays import Int64Array

SHUFFLED_BLOCK = 4096
"""Rows of a sequential source that are permuted among themselves. They are in memory at one time."""

PLAIN_BLOCK = 512
"""The block size without shuffling: the rows that are read at one time."""

MIN_SHARDS_PER_LANE = 4
"""With fewer shards of unknown size for each lane, lanes of whole shards would be too uneven."""


class ShardRange(NamedTuple):
    """Consecutive rows of a shard, from `start` to `end`; if `end` is None, to the end of the shard."""

    shard: int
    start: int
    end: int | None


class Order(NamedTuple):
    """The order of every epoch.

    Attributes:
        num_lanes: The number of lanes that partition the rows.
        seed: The seed of all permutations.
        shuffle: Whether rows are permuted.
    """

    num_lanes: int
    seed: int
    shuffle: bool

    @property
    def block_size(self) -> int:
        """The rows of a sequential source that are read at one time."""
        return SHUFFLED_BLOCK if self.shuffle else PLAIN_BLOCK

    def rows(self, lane: int | Int64Array, numbers: Int64Array, *, epoch: int, num_rows: int) -> Int64Array:
        """The rows at `numbers` in the order of a lane over `num_rows` rows.

        Args:
            lane: One lane, or one lane for each number.
            numbers: Indices into the order of the lane, any shape.
        """
        return self._permuted(lane + self.num_lanes * numbers, num_rows, epoch)

    def shards(self, num_shards: int, *, epoch: int) -> list[int]:
        """The shards in the order of the epoch."""
        shards: list[int] = self._permuted(np.arange(num_shards), num_shards, epoch, 0, 1).tolist()
        return shards

    def has_ranges(self, sizes: Sequence[int | None]) -> bool:
        """Whether each lane reads ranges of its own. If not, the lanes share the shards of a sequential source."""
        return None not in sizes or len(sizes) >= MIN_SHARDS_PER_LANE * self.num_lanes

    def ranges(self, lane: int, *, epoch: int, sizes: Sequence[int | None]) -> list[ShardRange]:
        """What the lane reads in an epoch of shards of these sizes, in order."""
        shards = self.shards(len(sizes), epoch=epoch)
        if None in sizes:
            return [ShardRange(shard, 0, None) for shard in shards[lane :: self.num_lanes]]
        ends = np.cumsum([sizes[shard] for shard in shards])
        num_rows = int(ends[-1])
        start = sum(lane_size(other, num_rows=num_rows, num_lanes=self.num_lanes) for other in range(lane))
        end = start + lane_size(lane, num_rows=num_rows, num_lanes=self.num_lanes)
        indices = range(int(np.searchsorted(ends, start, side="right")), int(np.searchsorted(ends, end)) + 1)
        ranges = []
        for index in indices if end > start else ():
            first, last = int(ends[index - 1]) if index else 0, int(ends[index])
            if first < last:
                ranges.append(ShardRange(shards[index], max(start, first) - first, min(end, last) - first))
        return ranges

    def rows_of_block(self, shard_range: ShardRange, block: int, num_rows: int, *, epoch: int) -> Int64Array:
        """The order of the rows of a block of a range, as indices into the block, shape `[num_rows]`."""
        start = shard_range.start + block * self.block_size
        return self._permuted(np.arange(num_rows), num_rows, epoch, shard_range.shard, start, 4)

    def offset(self, lane: int, *, epoch: int, shard_index: int) -> int:
        """The first row of a shared shard that the lane reads.

        The offset differs from shard to shard, so that no lane always gets the additional row.

        Args:
            shard_index: The index of the shard in the order of the epoch.
        """
        key = (self.seed, epoch, shard_index, 2)
        turn = permute(np.array([shard_index % self.num_lanes]), length=self.num_lanes, key=key)
        return (lane + int(turn[0])) % self.num_lanes

    def rows_of_offset(
        self, offset: int, *, epoch: int, shard: int, block: int, num_rows: int
    ) -> tuple[int, Int64Array]:
        """The rows of an offset in a block of `num_rows` rows.

        Returns:
            The number of rows of the offset before the block, and the indices of its rows in the block.
        """
        start = block * self.block_size
        first = lane_size(offset, num_rows=start, num_lanes=self.num_lanes)
        indices = np.arange(offset + self.num_lanes * first - start, num_rows, self.num_lanes)
        return first, self._permuted(indices, num_rows, epoch, shard, block + 1, 3)

    def block_of(self, offset: int, row: int) -> int:
        """The block of a shared shard that holds row number `row` of an offset."""
        return (offset + self.num_lanes * row) // self.block_size

    def of_child(self, number: int) -> "Order":
        """The order of a mixture's child. Two children with equal numbers of rows have different orders."""
        seed = np.random.SeedSequence((self.seed, number, 6)).generate_state(1, np.uint64)[0]
        return self._replace(seed=int(seed))

    def phase(self, lane: int, child: int) -> float:
        """The start value of a lane's draws from a child, 0 to 1 rows, evenly spread over the lanes."""
        return float(self._permuted(np.array([lane]), self.num_lanes, child, 5)[0] / self.num_lanes)

    def _permuted(self, indices: Int64Array, length: int, *key: int) -> Int64Array:
        return permute(indices, length=length, key=(self.seed, *key)) if self.shuffle else indices
