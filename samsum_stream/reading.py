"""The rows of each lane, in order: any row at any time where the source can, one shared pass where it cannot.

indexed      lane v takes the places v, v + V, v + 2V, ... of the epoch's permutation
sequential   one reader a worker; each block is permuted in itself and dealt to the lanes in turn
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from samsum_stream.lanes import lane_size, permute
from samsum_stream.samples import Int64Array, Rows
from samsum_stream.sources.base import IndexedSource, SequentialSource

FIRST_CHUNK = 32
MAX_CHUNK = 512
BLOCK = 4096
"""Rows whose order is worked out, or that are permuted among themselves, at a time."""


class Reader(ABC):
    """Reads the rows of some lanes.

    Args:
        num_lanes: Lanes that divide the rows.
        seed: What the shuffled order follows from, with the epoch.
        shuffle: Whether rows are shuffled at all.
    """

    def __init__(self, *, num_lanes: int, seed: int, shuffle: bool) -> None:
        self.num_lanes, self.seed, self.shuffle = num_lanes, seed, shuffle

    @abstractmethod
    def chunks(self, lane: int, *, epoch: int) -> Iterator[Rows]:
        """The lane's rows of an epoch, in chunks: small ones first, so that the first batch comes at once."""

    def _order(self, places: Int64Array, *, length: int, key: tuple[int, ...]) -> Int64Array:
        return permute(places, length=length, key=(self.seed, *key)) if self.shuffle else places


class IndexedReader(Reader):
    """Deals rows by their place in a permutation of all rows."""

    def __init__(self, source: IndexedSource, *, num_lanes: int, seed: int, shuffle: bool) -> None:
        super().__init__(num_lanes=num_lanes, seed=seed, shuffle=shuffle)
        self.source = source

    def chunks(self, lane: int, *, epoch: int) -> Iterator[Rows]:
        size = lane_size(lane, num_rows=self.source.num_rows, num_lanes=self.num_lanes)
        for first in range(0, size, BLOCK):
            places = lane + self.num_lanes * np.arange(first, min(first + BLOCK, size))
            order = self._order(places, length=self.source.num_rows, key=(epoch,))
            for start, end in _growing(len(order)):
                yield self.source.take(order[start:end])


class SequentialReader(Reader):
    """Reads the source once an epoch for all lanes of the worker; rows of other workers' lanes are passed over."""

    def __init__(
        self, source: SequentialSource, *, lanes: Sequence[int], num_lanes: int, seed: int, shuffle: bool
    ) -> None:
        super().__init__(num_lanes=num_lanes, seed=seed, shuffle=shuffle)
        self.source, self.lanes = source, lanes
        self.passes: dict[int, _Pass] = {}

    def chunks(self, lane: int, *, epoch: int) -> Iterator[Rows]:
        if epoch not in self.passes:
            self.passes[epoch] = _Pass(self._deal(epoch), lanes=self.lanes)
        yield from self.passes[epoch].chunks(lane)
        if not self.passes[epoch].waiting:
            del self.passes[epoch]

    def _deal(self, epoch: int) -> Iterator[list[tuple[int, Rows]]]:
        """Each step reads one block and deals it to the worker's lanes."""
        first = 0
        for block, rows in enumerate(self.source.read(BLOCK if self.shuffle else MAX_CHUNK)):
            order = self._order(np.arange(len(rows)), length=len(rows), key=(epoch, block))
            hands = [(lane, order[(lane - first) % self.num_lanes :: self.num_lanes]) for lane in self.lanes]
            yield [(lane, rows.select(hand)) for lane, hand in hands if len(hand)]
            first += len(rows)


class _Pass:
    """One pass over a sequential source, and what it dealt to lanes that have not asked for it yet."""

    def __init__(self, blocks: Iterator[list[tuple[int, Rows]]], *, lanes: Sequence[int]) -> None:
        self.blocks = blocks
        self.waiting: dict[int, deque[Rows]] = {lane: deque() for lane in lanes}

    def chunks(self, lane: int) -> Iterator[Rows]:
        waiting = self.waiting[lane]
        yield from _drained(waiting)
        for hands in self.blocks:
            for owner, rows in hands:
                self.waiting[owner].append(rows)
            yield from _drained(waiting)
        del self.waiting[lane]


def _drained(queue: deque[Rows]) -> Iterator[Rows]:
    while queue:
        yield queue.popleft()


def _growing(size: int) -> Iterator[tuple[int, int]]:
    start, length = 0, FIRST_CHUNK
    while start < size:
        end = min(start + length, size)
        yield start, end
        start, length = end, min(2 * length, MAX_CHUNK)
