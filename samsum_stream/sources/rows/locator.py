"""The positions of the rows of a chunk, computed only for an error."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from samsum_stream.errors import RowError
from samsum_stream.sources.base import Source
from samsum_stream.values.arrays import Int32Array, Int64Array


class Locator(NamedTuple):
    """The shard and the row number of each index of a chunk, `[n]`; `line_of` gives the line in a file of lines."""

    source: Source
    shards: Int32Array
    rows: Int64Array
    line_of: Callable[[int], int] | None = None

    @classmethod
    def in_shard(cls, source: Source, shard: int, rows: Int64Array) -> "Locator":
        """A locator for a chunk from one shard."""
        return cls(source, np.full(len(rows), shard, np.int32), rows)

    def at(self, index: int) -> "Locator":
        """A locator for the row at `index` alone."""
        line_of, one = self.line_of, slice(index, index + 1)
        line = None if line_of is None else lambda _: line_of(index)
        return Locator(self.source, self.shards[one], self.rows[one], line)

    def error(self, index: int, problem: str, *, reason: str, field: str = "") -> RowError:
        """The error for the row at `index`; a row is bad in every epoch, so the position has epoch 0."""
        position = self.source.position(int(self.shards[index]), int(self.rows[index]), 0)
        line = f"line {self.line_of(index)}: " if self.line_of else ""
        return RowError(f"{position}: {line}{problem}", position=position, field=field, reason=reason)
