"""What every reading strategy does: read the rows of a lane, give their numbers, and report a row position."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Sequence

from samsum_stream.lanes.order import Order
from samsum_stream.lanes.position import Cursor
from samsum_stream.pipeline.read_ahead import ReadAhead
from samsum_stream.sources.base import SequentialSource, Source
from samsum_stream.sources.faults import Faults
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import RowPosition, Rows

FIRST_CHUNK = 64
MAX_CHUNK = 256
"""Rows that a lane gets at one time, except for the last ones: up to half as many more come with them."""

Chunks = Iterator[tuple[Cursor, Rows]]
"""Rows that follow each other in the order of a lane, with the cursor of the first one."""


class Reader(ABC):
    """Reads the rows of some lanes.

    Attributes:
        num_passed_over: Rows that were read only to reach other rows.
    """

    num_passed_over = 0

    def __init__(self) -> None:
        self._chunk_sizes: defaultdict[int, int] = defaultdict(lambda: FIRST_CHUNK)

    @abstractmethod
    def epoch(self, lane: int, start: Cursor) -> Chunks:
        """The rows of the lane from `start` to the end of its epoch."""

    @abstractmethod
    def numbers(self, lane: int, *, epoch: int, shard_sizes: Sequence[int]) -> Iterator[Int64Array]:
        """The numbers of the rows that `epoch` reads in a whole epoch; rows are numbered over all shards."""

    @abstractmethod
    def row_at(self, lane: int, cursor: Cursor) -> RowPosition:
        """The row at a cursor; for a source that is read in blocks, the first row of its block."""

    def _slices(self, lane: int, num_rows: int) -> Iterator[tuple[int, int]]:
        """Split `num_rows` rows into chunks. The first ones are small, so that the first batch comes early."""
        start = 0
        while start < num_rows:
            size = self._chunk_sizes[lane]
            end = start + size if num_rows - start > 1.5 * size else num_rows
            yield start, end
            start, self._chunk_sizes[lane] = end, min(size + size // 2, MAX_CHUNK)


class BlockReader(Reader):
    """A reader of a source that is read in blocks.

    Args:
        source: The source.
        order: The order of the epochs.
        read_ahead: Fetches blocks of remote files; needed only to read rows.
        faults: What happens to bad rows.
    """

    def __init__(self, source: SequentialSource, *, order: Order, read_ahead: ReadAhead | None, faults: Faults) -> None:
        super().__init__()
        self.source, self.order, self.faults = source, order, faults
        self._read_ahead = read_ahead

    @property
    def read_ahead(self) -> ReadAhead:
        """What fetches blocks of remote files."""
        assert self._read_ahead is not None
        return self._read_ahead


def sizes_of(source: Source) -> list[int | None]:
    """The number of rows of each shard; None if the number is unknown until the shard is read."""
    return [shard.num_rows for shard in source.shards]
