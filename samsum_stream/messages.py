"""What a worker of a loader sends: each batch as one buffer, and beside it all that the training process folds."""

from collections.abc import Generator, Mapping, Sequence
from typing import NamedTuple

from torch.utils.data import IterableDataset

from samsum_stream.ends import Ends
from samsum_stream.lanes import Share
from samsum_stream.order import Order
from samsum_stream.pipeline import Effort, Pipeline
from samsum_stream.positions import LanePosition
from samsum_stream.samples import BadRow, Int32Array
from samsum_stream.stats import Counts
from samsum_stream.topology import this_worker
from samsum_stream.wire import to_buffer


class Work(NamedTuple):
    """What workers are to make: the batches of this rank, from where its lanes stand, to the end of a pass if any."""

    share: Share
    order: Order
    positions: Mapping[int, LanePosition]
    passes: tuple[Ends, ...]


class Message(NamedTuple):
    """A batch as one buffer, the position of its lane after it, what was counted on the way to it and what it took."""

    batch: int
    buffer: Int32Array
    position: LanePosition
    counts: Counts
    skipped: Sequence[BadRow]
    effort: Effort


class Messages(IterableDataset[Message]):
    """What a worker sends; `work` is set before each pass, when workers start."""

    work: Work

    def __init__(self, pipeline: Pipeline, *, num_packs: int) -> None:
        self.pipeline, self.num_packs = pipeline, num_packs

    def __iter__(self) -> Generator[Message]:
        return self.of_worker(*this_worker())

    def of_worker(self, worker: int, num_workers: int) -> Generator[Message]:
        """The messages of one of so many workers."""
        share = self.work.share._replace(worker=worker, num_workers=num_workers)
        for batch, made, effort in self.pipeline.batches(
            share, self.work.positions, order=self.work.order, passes=self.work.passes
        ):
            buffer = to_buffer(made.packs, num_packs=self.num_packs)
            yield Message(batch, buffer, made.position, made.counts, made.skipped, effort)
