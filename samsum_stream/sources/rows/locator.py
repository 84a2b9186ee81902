"""The positions of the rows of a chunk, computed only for an error."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from samsum_stream.errors import RowError
from samsum_stream.sources.base import Source
from samsum_stream.values.arrays import Int32Array, Int64Array
from samsum_stream.values.rows import RowPosition


class Locator(NamedTuple):
    """The shard and the row number of each index of a chunk, `[n]`.

    Attributes:
        source: The source.
        shards: The shard numbers.
        rows: The row numbers.
        line_of: Gives the line of an index in a file of lines; None for other files.
        note: The start of the problem in messages, if rows are not as the source has them.
    """

    source: Source
    shards: Int32Array
    rows: Int64Array
    line_of: Callable[[int], int] | None = None
    note: str = ""

    @classmethod
    def in_shard(cls, source: Source, shard: int, rows: Int64Array) -> "Locator":
        """A locator for a chunk from one shard."""
        return cls(source, np.full(len(rows), shard, np.int32), rows)

    def at(self, index: int) -> "Locator":
        """A locator for the row at `index` alone."""
        return self.of(np.array([index]))

    def of(self, indices: Int64Array) -> "Locator":
        """A locator for the rows at `indices`, `[k]`."""
        line_of = self.line_of
        line = None if line_of is None else lambda index: line_of(int(indices[index]))
        return Locator(self.source, self.shards[indices], self.rows[indices], line, self.note)

    def position(self, index: int) -> RowPosition:
        """The position of the row at `index`, in epoch 0."""
        return self.source.position(int(self.shards[index]), int(self.rows[index]), 0)

    def error(self, index: int, problem: str, *, reason: str, field: str = "") -> RowError:
        """The error for the row at `index`; a row is bad in every epoch, so the position has epoch 0."""
        position = self.position(index)
        line = f"line {self.line_of(index)}: " if self.line_of else ""
        return RowError(f"{position}: {line}{self.note}{problem}", position=position, field=field, reason=reason)
