"""A DataLoader of whole batches: workers send produced batches, the training process counts and collates them.

workers             pipeline ──▶ (number, batch, position of its lane, counts)
                                        │ in the global order
training process                        ├──▶ collator ──▶ tensors
                                        └──▶ deliver: progress, stats
"""

import functools
import logging
import time
from collections.abc import Callable, Generator, Iterator
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader

from samsum_stream.batching.collation import Collator
from samsum_stream.errors import StateError, TopologyError
from samsum_stream.errors.wording import counted
from samsum_stream.lanes.epochs import EpochPlan
from samsum_stream.lanes.share import Share, check_num_lanes, fitting_workers
from samsum_stream.loader.announcement import announce
from samsum_stream.loader.arguments import prefetch_of, require_valid
from samsum_stream.loader.copied_rows import warn_of_copies
from samsum_stream.loader.delivery import deliver
from samsum_stream.loader.epochs.lengths import Lengths
from samsum_stream.loader.epochs.runs import EpochRuns
from samsum_stream.loader.location import worker_location
from samsum_stream.loader.micro_batches import MicroBatches
from samsum_stream.loader.processes.exit import closed_at_exit
from samsum_stream.loader.processes.ranks import Ranks
from samsum_stream.loader.processes.starting import started
from samsum_stream.loader.processes.supervision import POLL, identity, received
from samsum_stream.loader.processes.threads import prefetched
from samsum_stream.loader.quarantine.quarantine import Quarantine
from samsum_stream.loader.state.progress import Progress
from samsum_stream.loader.state.state import Fingerprint
from samsum_stream.loader.stats import Stats
from samsum_stream.loader.worker import Work, WorkerBatches, in_order
from samsum_stream.pipeline.pipeline import Pipeline, ProducedBatch
from samsum_stream.values.batches import BatchInfo
from samsum_stream.values.counts import counted_of

logger = logging.getLogger(__name__)

CONTINUE = (
    "no delivered batch is lost: loader.state_dict() has the position, and the next `for` over the loader continues "
    "there with new workers"
)


class BatchLoader(DataLoader[Any]):
    """Iterates over dicts of tensors, from its position on. After the end of a run, the next `for` reads the next run.

    Args:
        pipeline: Produces the batches.
        find_collator: The collator that makes the tensors; called again before each `for`.
        stats: Counts what was delivered.
        require_current: Called before each dict of tensors; raises if the stream is no longer what it was.
        fingerprint: The inputs that determine the order, for a number of lanes.
        count: Measures the lengths of all rows; called only for a finite stream.
        find_ranks: The rank and the number of ranks in data parallelism; called again before each `for`.
        num_workers: The processes that read, render, tokenize and pack; 0 does it in the training process.
        micro_batch_size: The packs of one dict of tensors, by default a batch. Batches are cut or joined; a batch is
            delivered with its last micro-batch.
        batches_per_step: The dicts of this rank in an optimizer step. An epoch of a finite stream has whole steps.
        prefetch_factor: The batches that each worker produces ahead, by default 16. Without workers, a thread produces
            batches ahead if this is given.
        quarantine: The file that lists the bad rows that were skipped.
        timeout: The seconds to wait for a worker before it is given up; 0 waits without a limit, and warns.
        kwargs: The other arguments of `torch.utils.data.DataLoader` that concern workers and memory. Workers live for
            one `for`, so `persistent_workers` has no effect.

    Raises:
        ConfigError: an argument has a wrong value, or is one that the config decides.
        TopologyError: the ranks cannot share the lanes.
    """

    _is_accelerate_prepared = True
    """`Accelerator.prepare` leaves a loader with this mark unchanged: its batches are those of this rank."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        find_collator: Callable[[], Collator],
        stats: Stats,
        require_current: Callable[[], None],
        fingerprint: Callable[[int], Fingerprint],
        count: Callable[..., Lengths],
        find_ranks: Callable[[], Ranks],
        num_workers: int = 0,
        micro_batch_size: int | None = None,
        batches_per_step: int = 1,
        prefetch_factor: int | None = None,
        quarantine: Quarantine | None = None,
        timeout: float = 0,
        **kwargs: Any,
    ) -> None:
        require_valid(
            num_workers=num_workers,
            micro_batch_size=micro_batch_size,
            batches_per_step=batches_per_step,
            prefetch_factor=prefetch_factor,
            timeout=timeout,
            kwargs=kwargs,
        )
        self._prefetch = prefetch_of(prefetch_factor, num_workers=num_workers)
        if num_workers:
            kwargs["prefetch_factor"] = self._prefetch.num_transfers
        kwargs.pop("persistent_workers", None)
        self._find_collator, self.collator = find_collator, find_collator()
        self.pipeline, self.stats, self._require_current = pipeline, stats, require_current
        self._find_ranks, self.ranks = find_ranks, find_ranks()
        self._fingerprint, self._count = functools.cache(fingerprint), count
        self.micro_batches = MicroBatches(micro_batch_size or pipeline.batch_size, pipeline.batch_size)
        self._requested_workers, self._batches_per_step = num_workers, batches_per_step
        self.quarantine, self._worker_timeout = quarantine, timeout
        num_lanes = pipeline.lanes_for(self.ranks.world_size * max(num_workers, 1))
        num_fitting = self._fitting_workers(num_lanes)
        self._worker_batches = WorkerBatches(pipeline, batches_per_transfer=self._prefetch.per_transfer)
        kwargs.update(num_workers=num_fitting, timeout=POLL if num_fitting else 0)
        super().__init__(self._worker_batches, batch_size=None, collate_fn=identity, **kwargs)
        self.stats.num_ranks = self.ranks.world_size
        self._counted = counted_of(pipeline.source.leaves)
        lanes = self._rank_lanes(num_lanes)
        self._start(num_lanes, Progress.at_start(lanes, step=self.ranks.world_size, counted=self._counted))

    @closed_at_exit
    def __iter__(self) -> Generator[dict[str, Any]]:  # type: ignore[override]
        if (ranks := self._find_ranks()) != self.ranks:
            raise TopologyError(
                f"the loader was built as rank {self.ranks.rank} of {self.ranks.world_size}, and this process is now "
                f"rank {ranks.rank} of {ranks.world_size}; build the loader after torch.distributed is initialized"
            )
        self.collator = self._find_collator()
        try:
            yield from self._batches(iteration=object())
        finally:
            self._flush_quarantine()

    def _batches(self, *, iteration: object) -> Iterator[dict[str, Any]]:
        start = time.perf_counter()
        for micro_batch, complete in self.micro_batches.of(map(self._within_limits, self._begin(iteration))):
            if self._iteration is not iteration:
                raise StateError(
                    "the loader has continued elsewhere since this iterator was created, in another `for` or from a "
                    "loaded state; use one iterator at a time, and a new one after loading"
                )
            self._require_current()
            tensors = self._pinned(self.collator.collate(micro_batch))
            for produced in complete:
                self._deliver(produced)
            self.stats.seconds_waited += time.perf_counter() - start
            yield tensors
            start = time.perf_counter()

    @property
    def batch_size(self) -> int:
        """The packs of one dict of tensors; accelerate gives it to DeepSpeed for `train_micro_batch_size_per_gpu`."""
        return self.micro_batches.size

    @batch_size.setter
    def batch_size(self, value: int | None) -> None:
        """The DataLoader gets whole batches, so its own batch size is None."""

    @property
    def batch(self) -> int:
        """The next global batch of all ranks."""
        return self._progress.batch

    @property
    def plan(self) -> EpochPlan | None:
        """The plan of the run that `batch` belongs to, or that ends at `batch`; None for an endless stream."""
        return None if self._runs is None else self._runs.current(self._progress)

    def _start(self, num_lanes: int, progress: Progress) -> None:
        self._order, self._progress = self.pipeline.order(num_lanes), progress
        self._runs = None if self.pipeline.epochs is None else self._new_runs()
        self._iteration = object()
        self._last_batch_info: BatchInfo | None = None

    def _begin(self, iteration: object) -> Iterator[ProducedBatch]:
        """Start the workers, and return the batches of this rank from the current position on."""
        plans = self._runs.begin(self._progress) if self._runs else ()
        announce(self, num_lanes=self._order.num_lanes)
        positions = {lane: state.position for lane, state in self._progress.lanes.items()}
        share = Share(self._progress.batch, *self.ranks)
        self._worker_batches.work = Work(share, self._order, positions, plans)
        self._iteration = iteration
        if self.quarantine is not None:
            self.quarantine.begin(self._progress.batch, *self.ranks)
        transfers = received(self._transfers, location=self._location, remedy=CONTINUE, timeout=self._worker_timeout)
        return in_order(transfers, first=share.first, step=self.ranks.world_size)

    def _flush_quarantine(self) -> None:
        if self.quarantine is not None:
            self.quarantine.flush()

    def _within_limits(self, produced: ProducedBatch) -> ProducedBatch:
        """Raise `ConfigError` for a row that the tables of the model do not hold; a GPU would only report an assert."""
        limits = self.collator.limits
        if limits is not None and not limits.hold(produced.batch):
            packs = produced.batch.packs(self.pipeline.source.position)
            limits.require(example for pack in packs for example in pack.examples)
        return produced

    def _transfers(self) -> Iterator[list[ProducedBatch]]:
        """What the workers send, in turn; without workers, one batch at a time from this process."""
        if self.num_workers:
            warn_of_copies(self.pipeline.source, num_workers=self.num_workers, context=self.multiprocessing_context)
            return started(super().__iter__, self.worker_init_fn)
        batches, num_ahead = self._worker_batches.of_worker(0, 1), self._prefetch.num_ahead
        return prefetched(batches, num_ahead=num_ahead) if num_ahead else batches

    def _deliver(self, produced: ProducedBatch) -> None:
        """The last step before the caller gets the batch: a batch that fails earlier is not delivered."""
        lane, pipeline = produced.number % self._order.num_lanes, self.pipeline
        deliver(
            produced,
            lane=lane,
            pipeline=pipeline,
            progress=self._progress,
            stats=self.stats,
            max_length=self.collator.max_length,
            quarantine=self.quarantine,
        )
        self._last_batch_info = BatchInfo(produced.number, lane, produced.batch, pipeline.source.position)

    def _location(self, worker: int) -> str:
        """The batches of a worker that are not delivered yet, as text."""
        work, world_size = self._worker_batches.work, self.ranks.world_size
        num_delivered = (self._progress.batch - work.share.start) // world_size
        turn = (worker - num_delivered) % self.num_workers
        share = Share(self._progress.batch, *self.ranks, turn, self.num_workers)
        batches = islice(share.batches(work.plans[0].end_batch if work.plans else None), self._prefetch.num_ahead)
        return worker_location(batches, progress=self._progress, source=self.pipeline.source, order=self._order)

    def _rank_lanes(self, num_lanes: int) -> range:
        return range(self.ranks.rank, num_lanes, self.ranks.world_size)

    def _fitting_workers(self, num_lanes: int) -> int:
        """The requested number of workers, or the largest smaller number that can share the lanes."""
        world_size, requested = self.ranks.world_size, self._requested_workers
        check_num_lanes(num_lanes, num_rows=self.pipeline.source.max_lanes, ranks=world_size)
        fitting = fitting_workers(num_lanes, world_size=world_size, num_workers=requested)
        if fitting != requested:
            logger.warning(
                "lanes: %s with %s each cannot share %s evenly; %d of each rank will read",
                *(counted(world_size, "rank"), counted(requested, "worker"), counted(num_lanes, "lane"), fitting),
            )
        return fitting

    def _new_runs(self) -> EpochRuns:
        return EpochRuns(
            self.pipeline,
            count=self._lengths,
            order=self._order,
            step=self.ranks.world_size,
            batches_per_step=self.micro_batches.batches_per_step(self._batches_per_step),
            warns_of_padding=self.collator.has_fixed_shape and self.ranks.rank == 0,
        )

    def _lengths(self) -> Lengths:
        return self._count(
            self.ranks,
            num_workers=self.num_workers,
            multiprocessing_context=self.multiprocessing_context,
            timeout=self._worker_timeout,
        )

    def _pinned(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Workers send no tensors, so the pinning of the DataLoader itself has no effect."""
        if not (self.pin_memory and torch.cuda.is_available()):
            return batch
        return {key: value.pin_memory() if torch.is_tensor(value) else value for key, value in batch.items()}
