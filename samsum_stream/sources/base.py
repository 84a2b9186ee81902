"""The interface of a source of rows: named shards, the position of each row, and reading of rows.

Source
├── IndexedSource       reads any row at any time: take(indices)
└── SequentialSource    reads the rows of a shard in file order: blocks(shard, num_rows, start)
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import NamedTuple

from samsum_stream.errors import SourceError
from samsum_stream.sources.rows.columns import Columns
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import RowPosition, Rows


class Shard(NamedTuple):
    """A part of a source that can be read on its own; `num_rows` is None if only reading the shard gives the number."""

    name: str
    num_rows: int | None


class Leaf(NamedTuple):
    """A source that is not a mixture.

    Attributes:
        name: Its name among the children of a mixture; empty if the source is not in a mixture.
        first_shard: The number of its first shard among the shards of all leaves.
    """

    name: str
    first_shard: int
    source: "Source"


class Source(ABC):
    """Rows with positions; a source can be pickled, because each spawned worker needs a copy."""

    name: str
    shards: tuple[Shard, ...]
    columns: Columns
    """The columns of the fields, of a source that reads rows by columns. The first rows that are read decide what the
    config leaves open: the form of the rows, and whether prompts and completions are texts or messages."""
    known_columns: tuple[str, ...] = ()
    """The columns of the files or of the dataset, or of the first rows; empty before they are known."""
    is_remote = False
    """Whether blocks come over a network, so that fetching them ahead saves time."""

    def __init__(self, *, name: str, shards: tuple[Shard, ...]) -> None:
        self.name = name
        self.shards = shards

    def position(self, shard: int, row: int, epoch: int) -> RowPosition:
        """The position of row `row` of shard number `shard`; rows count from 0 in each shard."""
        return RowPosition(source=self.name, shard=self.shards[shard].name, row=row, epoch=epoch)

    def read_position(self, shard: int, row: int, epoch: int) -> RowPosition:
        """The position of the row that is read as number `row` of a shard; a view leaves out rows before it."""
        return self.position(shard, row, epoch)

    @property
    def origin(self) -> "Source":
        """The source that a view reads from; the source itself if it is not a view."""
        return self

    @property
    def num_rows(self) -> int | None:
        """Rows of all shards; None if only reading the shards gives the number."""
        counts = [shard.num_rows for shard in self.shards if shard.num_rows is not None]
        return sum(counts) if len(counts) == len(self.shards) else None

    @property
    def max_lanes(self) -> int | None:
        """The largest number of lanes that can have one row each; None if only reading the shards gives it."""
        return self.num_rows

    @property
    def has_end(self) -> bool:
        """Whether an epoch ends."""
        return True

    @property
    def leaves(self) -> list[Leaf]:
        """The sources that rows are read from: the source itself, or the leaves of a mixture."""
        return [Leaf("", 0, self)]

    @abstractmethod
    def first_block(self, num_rows: int) -> "Block":
        """Up to `num_rows` rows from the start; the next pass yields them again."""


class IndexedSource(Source):
    """A source that reads any row at any time."""

    @property
    def num_rows(self) -> int:
        """Rows of all shards."""
        return sum(shard.num_rows or 0 for shard in self.shards)

    @abstractmethod
    def take(self, indices: Int64Array) -> Rows:
        """The rows at `indices`, `[n]` in `[0, num_rows)` over all shards, in the given order.

        Pass hundreds of indices in one call: the rows share the fixed cost of the call.
        """

    def first_block(self, num_rows: int) -> "Block":
        return Block(min(num_rows, self.num_rows), self.take)


class Block(NamedTuple):
    """Rows that were read together and are parsed on demand: `take` maps indices `[n]` in the block to `n` rows.

    `num_bytes` is the approximate memory that the block holds, and 0 if the source is local.
    """

    num_rows: int
    take: Callable[[Int64Array], Rows]
    num_bytes: int = 0


class SequentialSource(Source):
    """A source that reads a shard from a given row to the end of the shard."""

    seeks = False
    """Whether the source reaches a row without reading the rows before it."""

    @abstractmethod
    def blocks(self, shard: int, *, num_rows: int, start: int = 0) -> Iterator[Block]:
        """A new pass over a shard from row `start` on, in blocks of `num_rows` rows; the last block may be shorter.

        The source may have to read the rows before `start`, but does not parse them.
        """

    def ended_early(self, shard: int, row: int) -> SourceError:
        """The error for a shard that has fewer rows than promised."""
        name, num_rows = self.shards[shard]
        return SourceError(
            f"{self.name}/{name}:{row}: the shard promised {num_rows} rows and has {row}; fetch or write it again"
        )

    def first_block(self, num_rows: int) -> Block:
        for shard in range(len(self.shards)):
            for block in self.blocks(shard, num_rows=num_rows):
                return block
        raise self.no_rows()

    def no_rows(self) -> SourceError:
        """The error for a source without rows."""
        return SourceError(f"{self.name}: there are no rows; check the files, the split and the filters")


class Opener(NamedTuple):
    """Rows that a config names: `open(name=..., columns=...)` returns their source."""

    open: Callable[..., Source]
