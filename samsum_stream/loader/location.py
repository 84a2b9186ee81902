"""The rows that a worker is reading, for the message about a worker that hangs or died."""

from collections.abc import Iterable

from samsum_stream.lanes.order import Order
from samsum_stream.loader.state.progress import Progress
from samsum_stream.pipeline.lanes import next_rows
from samsum_stream.sources import Source


def worker_location(batches: Iterable[int], *, progress: Progress, source: Source, order: Order) -> str:
    """The first batch of each lane that the worker has to produce, and the rows at which these lanes start to read.

    Args:
        batches: The global numbers of the batches that the worker has to produce.
    """
    first_of_lane: dict[int, int] = {}
    for batch in batches:
        first_of_lane.setdefault(batch % order.num_lanes, batch)
    texts = []
    for lane, batch in first_of_lane.items():
        rows = next_rows(source, lane, progress.lanes[lane].position, order=order)
        texts.append(f"batch {batch} of lane {lane}, from {', '.join(map(str, rows))} on")
    return f"it has to produce {', then '.join(texts) or 'no more batches'}"
