"""What a worker of a loader sends: each batch as one buffer, and beside it all that the training process folds.

worker 0   [0] [2 4] [6 8 10 12] ...        several batches travel together, since each journey has its price;
worker 1   [1] [3 5] [7 9 11 13] ...        the first one alone, so that it comes at once
in order    0 1 2 3 4 5 6 7 8 ...
"""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from torch.utils.data import IterableDataset

from samsum_stream.lanes.epochs import Ends
from samsum_stream.lanes.order import Order
from samsum_stream.lanes.position import LanePosition
from samsum_stream.lanes.share import Share
from samsum_stream.loader.processes.threads import produced_in_worker
from samsum_stream.loader.wire import to_buffer
from samsum_stream.pipeline.pipeline import Effort, Pipeline
from samsum_stream.values.counts import Counts
from samsum_stream.values.rows import BadRow


class Work(NamedTuple):
    """What workers are to make: the batches of this rank, from where its lanes stand, to the end of a pass if any."""

    share: Share
    order: Order
    positions: Mapping[int, LanePosition]
    passes: tuple[Ends, ...]


class Message(NamedTuple):
    """A batch as one buffer, the position of its lane after it, what was counted on the way to it and what it took."""

    batch: int
    buffer: bytes
    position: LanePosition
    counts: Counts
    skipped: Sequence[BadRow]
    effort: Effort


Parcel = list[Message]
"""Messages that travel together."""


class Messages(IterableDataset[Parcel]):
    """What a worker sends, `parcel_size` batches at a time; `work` is set before each pass, when workers start."""

    work: Work

    def __init__(self, pipeline: Pipeline, *, num_packs: int, parcel_size: int = 1) -> None:
        self.pipeline, self.num_packs, self.parcel_size = pipeline, num_packs, parcel_size

    def __iter__(self) -> Iterator[Parcel]:
        return produced_in_worker(self.of_worker)

    def of_worker(self, worker: int, num_workers: int) -> Generator[Parcel]:
        """What one of so many workers sends."""
        messages, size = self._messages(self.work.share._replace(worker=worker, num_workers=num_workers)), 1
        while parcel := list(islice(messages, size)):
            yield parcel
            size = min(2 * size, self.parcel_size)

    def _messages(self, share: Share) -> Iterator[Message]:
        work = self.work
        for batch, made, effort in self.pipeline.batches(share, work.positions, order=work.order, passes=work.passes):
            buffer = to_buffer(made.packs, num_packs=self.num_packs)
            yield Message(batch, buffer, made.position, made.counts, made.skipped, effort)


def in_order(parcels: Iterable[Parcel], *, first: int, step: int) -> Iterator[Message]:
    """The messages of all workers in the order of their batches: `first`, `first + step`, ..."""
    waiting: dict[int, Message] = {}
    batch = first
    for parcel in parcels:
        waiting |= {message.batch: message for message in parcel}
        while batch in waiting:
            yield waiting.pop(batch)
            batch += step
