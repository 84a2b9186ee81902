"""What every source of rows can do: name its shards, say where a row stands, and hand out rows in chunks.

Source
├── IndexedSource       any row at any time: take(indices)
└── SequentialSource    a shard's rows in file order, a fresh pass each time: blocks(shard, num_rows, start)
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import NamedTuple

from samsum_stream.errors import SourceError
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import RowPosition, Rows


class Shard(NamedTuple):
    """A piece of a source that can be read on its own; `num_rows` is None where only reading it tells."""

    name: str
    num_rows: int | None


class Leaf(NamedTuple):
    """A source that is no mixture, with its name among the children of one, if it is one, and where its shards start
    among those of all."""

    name: str
    first_shard: int
    source: "Source"


class Source(ABC):
    """Rows with positions; it pickles, so that a spawned worker can hold its own copy."""

    name: str
    shards: tuple[Shard, ...]
    is_remote = False
    """Whether its blocks come over a network, so that fetching them ahead saves time."""

    def __init__(self, *, name: str, shards: tuple[Shard, ...]) -> None:
        self.name = name
        self.shards = shards

    def position(self, shard: int, row: int, epoch: int) -> RowPosition:
        """Where row `row` of shard number `shard` stands; rows count from 0 in their shard."""
        return RowPosition(source=self.name, shard=self.shards[shard].name, row=row, epoch=epoch)

    @property
    def num_rows(self) -> int | None:
        """Rows of all shards; None where only reading them tells."""
        counts = [shard.num_rows for shard in self.shards if shard.num_rows is not None]
        return sum(counts) if len(counts) == len(self.shards) else None

    @property
    def max_lanes(self) -> int | None:
        """As many lanes could each have a row; None where only reading tells."""
        return self.num_rows

    @property
    def has_end(self) -> bool:
        """Whether its epochs end."""
        return True

    @property
    def leaves(self) -> list[Leaf]:
        """The sources that rows are read from: itself, or those of a mixture."""
        return [Leaf("", 0, self)]

    @abstractmethod
    def first_block(self, num_rows: int) -> "Block":
        """Up to `num_rows` rows from the start, which a later pass gives again."""


class IndexedSource(Source):
    """A source that reads any row at any time."""

    @property
    def num_rows(self) -> int:
        """Rows of all shards."""
        return sum(shard.num_rows or 0 for shard in self.shards)

    @abstractmethod
    def take(self, indices: Int64Array) -> Rows:
        """The rows at `indices`, `[n]` in `[0, num_rows)` over all shards, in the order asked for.

        Hand over hundreds of indices in one call: the cost of a call is spread over its rows.
        """

    def first_block(self, num_rows: int) -> "Block":
        return Block(min(num_rows, self.num_rows), self.take)


class Block(NamedTuple):
    """Rows that were read together, and are made only of those that are taken: `[n]` indices to `n` rows.

    `num_bytes` is about what it holds in memory, where the source is remote.
    """

    num_rows: int
    take: Callable[[Int64Array], Rows]
    num_bytes: int = 0


class SequentialSource(Source):
    """A source that reads its shards from a row on to their end."""

    seeks = False
    """Whether it gets to a row without reading those before it."""

    @abstractmethod
    def blocks(self, shard: int, *, num_rows: int, start: int = 0) -> Iterator[Block]:
        """A fresh pass over a shard, from row `start` on, in blocks of `num_rows` rows; the last one is shorter.

        Rows before `start` may have to be read, but are not made.
        """

    def ended_early(self, shard: int, row: int) -> SourceError:
        """What is raised where a shard ends before the rows that it promised."""
        name, num_rows = self.shards[shard]
        return SourceError(
            f"{self.name}/{name}:{row}: the shard promised {num_rows} rows and has {row}; fetch or write it again"
        )

    def first_block(self, num_rows: int) -> Block:
        for shard in range(len(self.shards)):
            for block in self.blocks(shard, num_rows=num_rows):
                return block
        raise SourceError(f"{self.name}: there are no rows; check the files, the split and the filters")


class Opener(NamedTuple):
    """Rows that a config names: `open(name=..., columns=...)` is their source, once its name and columns are known."""

    open: Callable[..., Source]
