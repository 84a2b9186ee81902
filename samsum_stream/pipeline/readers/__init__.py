"""The rows of each lane, from any cursor on: one file for each reading strategy.

indexed    rows by number
ranges     ranges of shards that each lane reads on its own
shared     shards that all lanes of a worker read together
"""

from collections.abc import Mapping

from samsum_stream.lanes.order import Order
from samsum_stream.lanes.position import Cursor
from samsum_stream.pipeline.read_ahead import ReadAhead
from samsum_stream.pipeline.readers.base import Reader, sizes_of
from samsum_stream.pipeline.readers.indexed import IndexedReader
from samsum_stream.pipeline.readers.ranges import RangeReader
from samsum_stream.pipeline.readers.shared import SharedReader
from samsum_stream.sources.base import IndexedSource, SequentialSource, Source
from samsum_stream.sources.faults import RAISE, Faults

__all__ = ["Reader", "make_reader"]


def make_reader(
    source: Source,
    *,
    order: Order,
    starts: Mapping[int, Cursor],
    read_ahead: ReadAhead | None = None,
    faults: Faults = RAISE,
) -> Reader:
    """The reader for some lanes.

    Args:
        source: A source that is not a mixture.
        order: The order of the epochs.
        starts: The lanes, with the cursor that each lane reads from, epoch after epoch.
        read_ahead: Fetches blocks of remote files; needed only to read rows.
        faults: What happens to bad rows.
    """
    if isinstance(source, IndexedSource):
        return IndexedReader(source, order=order, lanes=[*starts], faults=faults)
    assert isinstance(source, SequentialSource)
    if order.has_ranges(sizes_of(source)):
        return RangeReader(source, order=order, read_ahead=read_ahead, faults=faults)
    return SharedReader(source, order=order, starts=starts, read_ahead=read_ahead, faults=faults)
