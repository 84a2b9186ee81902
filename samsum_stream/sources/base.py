"""What every source of rows can do: name its shards, say where a row stands, and hand out rows in chunks.

Source
├── IndexedSource       any row at any time: take(indices)
└── SequentialSource    rows in file order, a fresh pass each time: read(num_rows)
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from samsum_stream.samples import Int64Array, RowPosition, Rows
from samsum_stream.sources.columns import Columns


class Shard(NamedTuple):
    """A piece of a source that can be read on its own; `num_rows` is None where only reading it tells."""

    name: str
    num_rows: int | None


class Source(ABC):
    """Rows with positions; it pickles, so that a spawned worker can hold its own copy."""

    name: str
    shards: tuple[Shard, ...]

    def __init__(self, *, name: str, shards: tuple[Shard, ...]) -> None:
        self.name = name
        self.shards = shards

    def position(self, shard: int, row: int, epoch: int) -> RowPosition:
        """Where row `row` of shard number `shard` stands; rows count from 0 in their shard."""
        return RowPosition(source=self.name, shard=self.shards[shard].name, row=row, epoch=epoch)

    @abstractmethod
    def first_rows(self, num_rows: int) -> Rows:
        """Up to `num_rows` rows from the start, which a later pass gives again."""


class IndexedSource(Source):
    """A source that reads any row at any time."""

    num_rows: int

    def __init__(self, *, name: str, shards: tuple[Shard, ...]) -> None:
        super().__init__(name=name, shards=shards)
        self.num_rows = sum(shard.num_rows or 0 for shard in shards)

    @abstractmethod
    def take(self, indices: Int64Array) -> Rows:
        """The rows at `indices`, `[n]` in `[0, num_rows)` over all shards, in the order asked for.

        Hand over hundreds of indices in one call: the cost of a call is spread over its rows.
        """

    def first_rows(self, num_rows: int) -> Rows:
        return self.take(np.arange(min(num_rows, self.num_rows)))


class SequentialSource(Source):
    """A source that only reads from its start to its end."""

    @abstractmethod
    def read(self, num_rows: int) -> Iterator[Rows]:
        """A fresh pass in file order, in blocks of at most `num_rows` rows, none of them empty."""

    def first_rows(self, num_rows: int) -> Rows:
        return next(self.read(num_rows))


class Opener(ABC):
    """Rows that a config names and that turn into a source once their name and columns are known."""

    @abstractmethod
    def open(self, *, name: str, columns: Columns) -> Source:
        """The source behind this opener."""


def shard_rows(start: int, num_rows: int) -> Int64Array:
    """The row numbers of a block, `[num_rows]`, counted on from `start`."""
    return np.arange(start, start + num_rows, dtype=np.int64)
