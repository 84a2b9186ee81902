"""Which row a lane reads next: the order of an epoch as a pure function of (seed, epoch, number of lanes).

indexed      lane v takes the places v, v + V, v + 2V, ... of one permutation of all rows
sequential   the shards are permuted; in each shard a lane has a seat s and takes the places s, s + V, ...,
             where the places of each block of rows are permuted among themselves
"""

from typing import NamedTuple

import numpy as np

from samsum_stream.lanes import lane_size, permute
from samsum_stream.samples import Int64Array

SHUFFLED_BLOCK = 4096
"""Rows of a sequential source that are permuted among themselves, and so are in memory at a time."""

PLAIN_BLOCK = 512
"""The same without shuffling, where a block is only what is read at a time."""


class Order(NamedTuple):
    """The order of every epoch; `num_lanes` lanes divide the rows."""

    num_lanes: int
    seed: int
    shuffle: bool

    @property
    def block_size(self) -> int:
        return SHUFFLED_BLOCK if self.shuffle else PLAIN_BLOCK

    def rows(self, lane: int, ordinals: Int64Array, *, epoch: int, num_rows: int) -> Int64Array:
        """The rows, out of `num_rows`, that stand at `ordinals` of the lane's order."""
        return self._permuted(lane + self.num_lanes * ordinals, num_rows, epoch)

    def shards(self, num_shards: int, *, epoch: int) -> list[int]:
        """The shards in the order in which the epoch visits them."""
        shards: list[int] = self._permuted(np.arange(num_shards), num_shards, epoch, 0, 1).tolist()
        return shards

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

    def _permuted(self, places: Int64Array, length: int, *key: int) -> Int64Array:
        return permute(places, length=length, key=(self.seed, *key)) if self.shuffle else places
