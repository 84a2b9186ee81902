"""What a worker of a loader sends: several produced batches at one time.

worker 0   [0] [2 4] [6 8 10 12] ...        several batches travel together, because each transfer has its price;
worker 1   [1] [3 5] [7 9 11 13] ...        the first one travels alone, so that it arrives early
in order    0 1 2 3 4 5 6 7 8 ...
"""

from collections.abc import Generator, Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from samsum_stream.lanes.epochs import EpochPlan
from samsum_stream.lanes.order import Order
from samsum_stream.lanes.position import LanePosition
from samsum_stream.lanes.share import Share
from samsum_stream.loader.processes.sending import WorkerDataset
from samsum_stream.pipeline.pipeline import Pipeline, ProducedBatch


class Work(NamedTuple):
    """The batches that the workers of a rank produce.

    Attributes:
        share: The batches of the rank.
        order: The order of the rows.
        positions: The position of each lane of the rank.
        plans: The plan of the run, and of the next one if some ranks reach into it; empty for an endless stream.
    """

    share: Share
    order: Order
    positions: Mapping[int, LanePosition]
    plans: tuple[EpochPlan, ...]


class WorkerBatches(WorkerDataset[list[ProducedBatch]]):
    """Produces batches in a worker and sends up to `batches_per_transfer` of them at one time.

    `work` is set before each iteration, when the workers start.
    """

    work: Work

    def __init__(self, pipeline: Pipeline, *, batches_per_transfer: int = 1) -> None:
        self.pipeline, self.batches_per_transfer = pipeline, batches_per_transfer

    def of_worker(self, worker: int, num_workers: int) -> Generator[list[ProducedBatch]]:
        """What worker number `worker` of `num_workers` sends."""
        work, size = self.work, 1
        share = work.share._replace(worker=worker, num_workers=num_workers)
        batches = self.pipeline.batches(share, work.positions, order=work.order, plans=work.plans)
        while transfer := list(islice(batches, size)):
            yield transfer
            size = min(2 * size, self.batches_per_transfer)


def in_order(transfers: Iterable[list[ProducedBatch]], *, first: int, step: int) -> Iterator[ProducedBatch]:
    """The batches of all workers in the order of their numbers: `first`, `first + step`, ..."""
    waiting: dict[int, ProducedBatch] = {}
    number = first
    for transfer in transfers:
        waiting |= {produced.number: produced for produced in transfer}
        while number in waiting:
            yield waiting.pop(number)
            number += step
