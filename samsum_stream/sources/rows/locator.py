"""Where the rows of a chunk stand, made only when an error asks for it."""

from collections.abc import Callable
from typing import NamedTuple

from samsum_stream.errors import RowError
from samsum_stream.sources.base import Source
from samsum_stream.values.arrays import Int32Array, Int64Array


class Locator(NamedTuple):
    """The shard and the row of each index of a chunk, `[n]`, and its line where the source is a file of lines."""

    source: Source
    shards: Int32Array
    rows: Int64Array
    line_of: Callable[[int], int] | None = None

    def error(self, index: int, problem: str, *, reason: str, field: str = "") -> RowError:
        """The error of a row, with its place; a row is bad in every epoch, so it says 0."""
        position = self.source.position(int(self.shards[index]), int(self.rows[index]), 0)
        line = f"line {self.line_of(index)}: " if self.line_of else ""
        return RowError(f"{position}: {line}{problem}", position=position, field=field, reason=reason)
