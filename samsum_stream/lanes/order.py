"""Which row a lane reads next: the order of an epoch as a pure function of (seed, epoch, number of lanes).

indexed      lane v takes the places v, v + V, v + 2V, ... of one permutation of all rows
pieces       the shards are permuted and laid end to end; where their row counts are known, each lane takes one
             stretch, as long as the others to a row; where they are not, whole shards v, v + V, v + 2V, ...
shared       the shards are permuted; in each shard a lane has a seat s and takes the places s, s + V, ...

Of pieces and of shared shards, the rows of each block are permuted among themselves.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from samsum_stream.lanes.permutation import lane_size, permute
from samsum_stream.values.arrays import Int64Array

SHUFFLED_BLOCK = 4096
"""Rows of a sequential source that are permuted among themselves, and so are in memory at a time."""

PLAIN_BLOCK = 512
"""The same without shuffling, where a block is only what is read at a time."""


MIN_SHARDS_PER_LANE = 4
"""Fewer shards of unknown size would make lanes too uneven to get whole ones."""


class Piece(NamedTuple):
    """Rows of a shard that follow each other: `start` to `end`, or to wherever the shard ends where that is None."""

    shard: int
    start: int
    end: int | None


class Order(NamedTuple):
    """The order of every epoch; `num_lanes` lanes divide the rows."""

    num_lanes: int
    seed: int
    shuffle: bool

    @property
    def block_size(self) -> int:
        return SHUFFLED_BLOCK if self.shuffle else PLAIN_BLOCK

    def rows(self, lane: int | Int64Array, ordinals: Int64Array, *, epoch: int, num_rows: int) -> Int64Array:
        """The rows, out of `num_rows`, that stand at `ordinals` of a lane's order, or each of its own lane's."""
        return self._permuted(lane + self.num_lanes * ordinals, num_rows, epoch)

    def shards(self, num_shards: int, *, epoch: int) -> list[int]:
        """The shards in the order in which the epoch visits them."""
        shards: list[int] = self._permuted(np.arange(num_shards), num_shards, epoch, 0, 1).tolist()
        return shards

    def has_pieces(self, sizes: Sequence[int | None]) -> bool:
        """Whether lanes read pieces of their own, rather than share the shards of a sequential source."""
        return None not in sizes or len(sizes) >= MIN_SHARDS_PER_LANE * self.num_lanes

    def pieces(self, lane: int, *, epoch: int, sizes: Sequence[int | None]) -> list[Piece]:
        """What the lane reads in an epoch of shards of these sizes, in this order."""
        shards = self.shards(len(sizes), epoch=epoch)
        if None in sizes:
            return [Piece(shard, 0, None) for shard in shards[lane :: self.num_lanes]]
        ends = np.cumsum([sizes[shard] for shard in shards])
        start = sum(lane_size(each, num_rows=int(ends[-1]), num_lanes=self.num_lanes) for each in range(lane))
        end = start + lane_size(lane, num_rows=int(ends[-1]), num_lanes=self.num_lanes)
        visits = range(int(np.searchsorted(ends, start, side="right")), int(np.searchsorted(ends, end)) + 1)
        found = []
        for visit in visits if end > start else ():
            first, last = int(ends[visit - 1]) if visit else 0, int(ends[visit])
            piece = Piece(shards[visit], max(start, first) - first, min(end, last) - first)
            found += [piece] if first < last else []
        return found

    def rows_of_block(self, piece: Piece, block: int, num_rows: int, *, epoch: int) -> Int64Array:
        """The order of the rows of a piece's block, as places in the block, shape `[num_rows]`."""
        start = piece.start + block * self.block_size
        return self._permuted(np.arange(num_rows), num_rows, epoch, piece.shard, start, 4)

    def seat(self, lane: int, *, epoch: int, visit: int) -> int:
        """Which places of a shard are the lane's: drawn anew at each visit, so that no lane always has the odd row."""
        turn = permute(np.array([visit % self.num_lanes]), length=self.num_lanes, key=(self.seed, epoch, visit, 2))
        return (lane + int(turn[0])) % self.num_lanes

    def hand(self, seat: int, *, epoch: int, shard: int, block: int, num_rows: int) -> tuple[int, Int64Array]:
        """The rows of a block of `num_rows` that are dealt to a seat, and the ordinal of the first in the shard."""
        start = block * self.block_size
        first = lane_size(seat, num_rows=start, num_lanes=self.num_lanes)
        places = np.arange(seat + self.num_lanes * first - start, num_rows, self.num_lanes)
        return first, self._permuted(places, num_rows, epoch, shard, block + 1, 3)

    def block_of(self, seat: int, row: int) -> int:
        """The block that holds a seat's row number `row` of a shard."""
        return (seat + self.num_lanes * row) // self.block_size

    def of_child(self, number: int) -> "Order":
        """The order of a mixture's child: two that have as many rows are not shuffled alike."""
        seed = np.random.SeedSequence((self.seed, number, 6)).generate_state(1, np.uint64)[0]
        return self._replace(seed=int(seed))

    def phase(self, lane: int, child: int) -> float:
        """How far a lane starts on its way to the first row of a mixture's child, 0 to 1, evenly over all lanes."""
        return float(self._permuted(np.array([lane]), self.num_lanes, child, 5)[0] / self.num_lanes)

    def _permuted(self, places: Int64Array, length: int, *key: int) -> Int64Array:
        return permute(places, length=length, key=(self.seed, *key)) if self.shuffle else places
