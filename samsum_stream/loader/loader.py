"""A DataLoader of whole batches: workers send one buffer each, the training process folds and expands it.

workers   pipeline ──▶ (batch number, buffer, position of its lane, counts)
                               │ handed over, in the global order
training process               ├──▶ progress: what a state says
                               └──▶ tensors
"""

import functools
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from samsum_stream.batching.collation import Collator
from samsum_stream.errors import ConfigError, StateError, TopologyError
from samsum_stream.errors.wording import shown
from samsum_stream.lanes.epochs import Ends
from samsum_stream.lanes.permutation import lane_size
from samsum_stream.lanes.share import Share, check_num_lanes, fitting_workers
from samsum_stream.loader.announcement import announce
from samsum_stream.loader.epochs.lengths import Lengths
from samsum_stream.loader.epochs.passes import Passes
from samsum_stream.loader.processes.ranks import Ranks, require_agreement
from samsum_stream.loader.processes.supervision import POLL, identity, received
from samsum_stream.loader.processes.threads import prefetched
from samsum_stream.loader.quarantine import Quarantine
from samsum_stream.loader.state.files import load_state, save_state, set_newer_aside
from samsum_stream.loader.state.state import (
    Fingerprint,
    Progress,
    State,
    from_state,
    require_form,
    require_same_stream,
    to_state,
)
from samsum_stream.loader.stats import Stats
from samsum_stream.loader.wire import from_buffer
from samsum_stream.loader.worker import Message, Messages, Parcel, Work, in_order
from samsum_stream.pipeline.lanes import is_place_in, next_rows
from samsum_stream.pipeline.pipeline import Pipeline
from samsum_stream.sources.faults import Window
from samsum_stream.values.batches import Batch, BatchInfo
from samsum_stream.values.counts import Counts, counted_of, counts_of_batch, num_rows_of
from samsum_stream.values.rows import BadRow

logger = logging.getLogger(__name__)

OURS = ("batch_size", "batch_sampler", "collate_fn", "dataset", "drop_last", "in_order", "sampler", "shuffle")
"""Arguments of a DataLoader that the config has decided already."""

PREFETCH_FACTOR = 16
"""Batches that a worker makes ahead: one chunk of rows gives several at once, and each journey between processes has a
price. With fastokens, two workers are 1.55 times as fast with 16 as with the 2 of torch, and 1.23 times as with 8.
"""

GO_ON = (
    "nothing that was handed over is lost: loader.state_dict() says where to go on, and the next `for` over the loader "
    "does so with new workers"
)


class StreamLoader(DataLoader[Any]):
    """Iterates over dicts of tensors, from its position on; after an end, the next `for` goes on with the next epochs.

    Args:
        pipeline: What makes the batches.
        collator: What makes tensors of them.
        stats: Where what was handed over is counted.
        fingerprint: What the order follows from, for a number of lanes.
        count: The lengths of all rows, found with a number of workers; asked for only where the stream ends.
        find_ranks: This rank and how many there are, in data parallelism; asked again before each `for`.
        num_workers: Processes that read, render, tokenize and pack; 0 does it in the training process.
        batches_per_step: Batches of this rank in an optimizer step; an epoch of a finite stream is a multiple of it.
        prefetch_factor: Batches that each worker makes ahead, 16 where nothing is said; without workers a thread does,
            if this is given.
        quarantine: Where bad rows that were skipped are written down.
        timeout: Seconds that a worker is waited for before it is given up; 0: for ever, with a warning now and then.
        kwargs: The other arguments of `torch.utils.data.DataLoader` that concern workers and memory. Workers live for
            one `for`, so `persistent_workers` changes nothing.

    Raises:
        TopologyError: the lanes cannot be shared by so many ranks.
    """

    _is_accelerate_prepared = True
    """accelerate's mark of a loader that `Accelerator.prepare` leaves as it is: its batches are this rank's already."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        collator: Collator,
        stats: Stats,
        fingerprint: Callable[[int], Fingerprint],
        count: Callable[..., Lengths],
        find_ranks: Callable[[], Ranks],
        num_workers: int = 0,
        batches_per_step: int = 1,
        prefetch_factor: int | None = None,
        quarantine: Quarantine | None = None,
        timeout: float = 0,
        **kwargs: Any,
    ) -> None:
        if taken := [name for name in OURS if name in kwargs]:
            raise ConfigError(
                f"loader: {', '.join(taken)} follows from the config, so set it there and leave it out here"
            )
        _require_whole("num_workers", num_workers, at_least=0)
        _require_whole("batches_per_step", batches_per_step, at_least=1)
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout < 0:
            raise ConfigError(f"loader: timeout must be a number of seconds, 0 or more; got {shown(timeout)}")
        _require_whole("prefetch_factor", 0 if prefetch_factor is None else prefetch_factor, at_least=0)
        self._num_ahead = prefetch_factor or (PREFETCH_FACTOR if num_workers else 0)
        parcel_size = max(self._num_ahead // 2, 1) if num_workers else 1  # one is used up while the next one is made
        if num_workers:
            kwargs["prefetch_factor"] = -(-self._num_ahead // parcel_size)
        kwargs.pop("persistent_workers", None)
        self.pipeline, self.collator, self.stats = pipeline, collator, stats
        self._find_ranks, self.ranks = find_ranks, find_ranks()
        self._fingerprint, self._count = functools.cache(fingerprint), count
        self._asked_workers, self._batches_per_step = num_workers, batches_per_step
        self.quarantine, self._asked_timeout = quarantine, timeout
        self._leaves = pipeline.source.leaves
        self._counted = counted_of(self._leaves)
        num_lanes = pipeline.lanes_for(self.ranks.world_size * max(num_workers, 1))
        num_fitting = self._fitting_workers(num_lanes)
        num_packs = pipeline.batch_size if collator.has_fixed_shape else 0
        self._messages = Messages(pipeline, num_packs=num_packs, parcel_size=parcel_size)
        kwargs.update(num_workers=num_fitting, timeout=POLL if num_fitting else 0)
        super().__init__(self._messages, batch_size=None, collate_fn=identity, **kwargs)
        self.stats.num_ranks = self.ranks.world_size
        own = self._own_lanes(num_lanes)
        self._start(num_lanes, Progress.at_start(own, step=self.ranks.world_size, counted=self._counted))

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        if (ranks := self._find_ranks()) != self.ranks:
            raise TopologyError(
                f"the loader was made as rank {self.ranks.rank} of {self.ranks.world_size}, and this process is rank "
                f"{ranks.rank} of {ranks.world_size} now; make the loader after torch.distributed is initialized"
            )
        start = time.perf_counter()
        passes = self._passes.begin(self._progress) if self._passes else ()
        announce(self, num_lanes=self._order.num_lanes)
        positions = {lane: state.position for lane, state in self._progress.lanes.items()}
        share = Share(self._progress.batch, *self.ranks)
        self._messages.work = Work(share, self._order, positions, passes)
        iteration = self._iteration = object()
        if self.quarantine is not None:
            self.quarantine.begin(self._progress.batch, *self.ranks)
        parcels = received(self._received, location=self._whereabouts, remedy=GO_ON, timeout=self._asked_timeout)
        for message in in_order(parcels, first=share.first, step=self.ranks.world_size):
            if self._iteration is not iteration:
                raise StateError(
                    "the loader has gone on elsewhere since this iterator was made, by another `for` or by loading a "
                    "state; use one iterator at a time, and a new one after loading"
                )
            batch = from_buffer(message.buffer)
            tensors = self._pinned(self.collator.collate(batch))
            self._hand_over(message, batch)
            self.stats.seconds_waited += time.perf_counter() - start
            yield tensors
            start = time.perf_counter()

    def __len__(self) -> int:
        """Batches of a whole `for`, the one that is under way or was the last, and the same on every rank.

        Counts the rows where that was not done yet. The next `for` is as long, or longer where its packs need it.

        Raises:
            TypeError: the stream has no end.
        """
        if (ends := self.ends) is None:
            raise TypeError("a stream with epochs: null has no end, and so no len()")
        return (ends.end_batch - ends.start.batch) // self.ranks.world_size

    @property
    def batch(self) -> int:
        """The global batch to go on with."""
        return self._progress.batch

    @property
    def ends(self) -> Ends | None:
        """How the pass is dealt that `batch` belongs to or is the end of; None where the stream has no end."""
        return None if self._passes is None else self._passes.current(self._progress)

    @property
    def epoch(self) -> float | None:
        """Epochs handed over so far, with the share of the one that is under way; None where nobody knows its rows."""
        if (ends := self.ends) is not None:
            return ends.epochs_before(self.batch)
        if (num_rows := self.pipeline.num_rows) is None:
            return None
        num_lanes = self._order.num_lanes
        own = sum(lane_size(lane, num_rows=num_rows, num_lanes=num_lanes) for lane in self._progress.lanes)
        return num_rows_of(self._progress.counts) / own

    @property
    def last_batch_info(self) -> BatchInfo:
        """The provenance of the batch that was handed over last.

        Raises:
            StateError: there was none yet, from the beginning or from the state that was loaded.
        """
        if self._last_batch_info is None:
            raise StateError("last_batch_info: no batch was handed over yet; take one from the loader first")
        return self._last_batch_info

    def state_dict(self, *, batch: int | None = None) -> State:
        """The position in the data, of this rank: plain values, a few kilobytes.

        Args:
            batch: The global batch to go on with, where that is not the next one: as of one of the last few batches,
                for a loop that trains behind what it fetches.

        Raises:
            StateError: `batch` is longer ago than is remembered.
        """
        progress = self._progress if batch is None else self._progress.as_of(batch)
        return to_state(progress, self._fingerprint(self._order.num_lanes))

    def load_state_dict(self, state: Mapping[str, Any], *, ignore: Sequence[str] = ()) -> None:
        """Read on from a state: this rank's, or one of all ranks from `merge_states`.

        Args:
            ignore: Fields of the fingerprint that may differ, which gives up that no row is lost or repeated.

        Raises:
            StateError: the state is torn, or of another stream; the message names the fields that differ.
            TopologyError: its lanes cannot be shared by so many ranks.
        """
        state = require_form(state)
        num_lanes = state["fingerprint"]["lanes"]
        require_same_stream(state, self._fingerprint(self.pipeline.num_lanes or num_lanes), ignore=ignore)
        num_fitting = self._fitting_workers(num_lanes)
        own = self._own_lanes(num_lanes)
        progress = from_state(state, lanes=own, step=self.ranks.world_size, counted=self._counted)
        self._require_places(progress, num_lanes)
        self.stats.counts.update(progress.counts)
        self.stats.counts.subtract(self._progress.counts)
        self.num_workers = num_fitting
        self._start(num_lanes, progress)

    def save(self, folder: str | os.PathLike[str], *, batch: int | None = None) -> Path:
        """Write `state_dict(batch=batch)` to `folder/batch-M/rank-r.json`; the last two complete ones are kept."""
        rank, world_size = self.ranks
        return save_state(folder, self.state_dict(batch=batch), rank=rank, world_size=world_size)

    def load(
        self,
        folder: str | os.PathLike[str],
        *,
        batch: int | None = None,
        ignore: Sequence[str] = (),
        missing_ok: bool = False,
    ) -> bool:
        """Read on from what all ranks saved in `folder`: the newest complete state, or that of `batch`.

        Where a process group exists, every rank must call it: none goes on before all have read the same state.

        Args:
            batch: The global batch to go on with; states of later ones are set aside, under another name.
            ignore: As in `load_state_dict`.
            missing_ok: Where no state was saved by all ranks, start from the beginning.

        Returns:
            Whether there was a state.

        Raises:
            StateError: there is none, none is complete, or it is of another stream.
        """
        state = load_state(folder, batch=batch, missing_ok=missing_ok)
        require_agreement(None if state is None else state["batch"], self.ranks, what=f"loading {folder}")
        if state is None:
            return False
        self.load_state_dict(state, ignore=ignore)
        if batch is not None and self.ranks.rank == 0:
            set_newer_aside(folder, batch=batch)
        return True

    def _received(self) -> Iterator[Parcel]:
        """What the workers send, in turn; without workers, what this process makes itself, a batch at a time."""
        if self.num_workers:
            return super().__iter__()
        parcels = self._messages.of_worker(0, 1)
        return prefetched(parcels, num_ahead=self._num_ahead) if self._num_ahead else parcels

    def _whereabouts(self, worker: int) -> str:
        """What a worker makes that is not handed over yet: as many batches as it was asked for."""
        begun, passes = self._messages.work.share, self._messages.work.passes
        num_handed = (self._progress.batch - begun.start) // self.ranks.world_size
        turn = (worker - num_handed) % self.num_workers
        share = Share(self._progress.batch, *self.ranks, turn, self.num_workers)
        firsts: dict[int, int] = {}
        for batch in islice(share.batches(passes[0].end_batch if passes else None), self._num_ahead):
            firsts.setdefault(batch % self._order.num_lanes, batch)
        asked = [f"batch {batch} of lane {lane}, from {self._next_rows(lane)} on" for lane, batch in firsts.items()]
        return f"it was to make {', then '.join(asked) or 'no more batches'}"

    def _next_rows(self, lane: int) -> str:
        position = self._progress.lanes[lane].position
        return ", ".join(map(str, next_rows(self.pipeline.source, lane, position, order=self._order)))

    def _start(self, num_lanes: int, progress: Progress) -> None:
        self._order, self._progress = self.pipeline.order(num_lanes), progress
        self._passes = None if self.pipeline.epochs is None else self._planned_passes()
        self._iteration = object()
        self._last_batch_info: BatchInfo | None = None

    def _require_places(self, progress: Progress, num_lanes: int) -> None:
        """A position behind the end of a lane is of other rows, and one in other children of another mixture."""
        num_rows = self.pipeline.num_rows
        for lane, state in progress.lanes.items():
            row = state.position.place.row
            if num_rows is not None and row > lane_size(lane, num_rows=num_rows, num_lanes=num_lanes):
                raise StateError(f"the state is torn: lane {lane} stands at row {row}, which it does not have")
            if not is_place_in(self.pipeline.source, state.position):
                raise StateError(f"the state is torn: lane {lane} stands in other sources than those of the stream")

    def _own_lanes(self, num_lanes: int) -> range:
        return range(self.ranks.rank, num_lanes, self.ranks.world_size)

    def _fitting_workers(self, num_lanes: int) -> int:
        """As many workers as were asked for, or as many as share the lanes evenly."""
        world_size, asked = self.ranks.world_size, self._asked_workers
        check_num_lanes(num_lanes, num_rows=self.pipeline.source.max_lanes, ranks=world_size)
        fitting = fitting_workers(num_lanes, world_size=world_size, num_workers=asked)
        if fitting != asked:
            logger.warning(
                "lanes: %d workers of each of %d ranks cannot share %d lanes evenly; %d workers read",
                *(asked, world_size, num_lanes, fitting),
            )
        return fitting

    def _hand_over(self, message: Message, batch: Batch) -> None:
        """Nothing stands between this and the caller: what fails before it was not handed over."""
        lane = message.batch % self._order.num_lanes
        counts = counts_of_batch(batch, max_length=self.collator.max_length, leaves=self._leaves) + message.counts
        window = self._judged(lane, counts, message.skipped)
        if self.quarantine is not None:
            self.quarantine.add(message.batch, message.skipped)
        self._last_batch_info = BatchInfo(message.batch, lane, batch, self.pipeline.source.position)
        self._progress.fold(lane, message.position, counts, window)
        self.stats.counts += counts
        self.stats.quarantine.extend(message.skipped)
        self.stats.rows_passed_over += message.effort.num_passed_over
        self.stats.seconds_waited_for_files += message.effort.seconds_waited

    def _judged(self, lane: int, counts: Counts, skipped: Sequence[BadRow]) -> Window:
        lanes, faults = self._progress.lanes, self.pipeline.faults
        before = lanes[lane].window
        window = faults.judge(before, counts, skipped)
        if skipped:
            known = sum(each.window.num_known for each in lanes.values()) - before.num_known + window.num_known
            faults.require_few(known, counts, skipped[-1])
        return window

    def _planned_passes(self) -> Passes:
        return Passes(
            self.pipeline,
            count=self._lengths,
            order=self._order,
            step=self.ranks.world_size,
            batches_per_step=self._batches_per_step,
            tells_padding=self.collator.has_fixed_shape and self.ranks.rank == 0,
        )

    def _lengths(self) -> Lengths:
        return self._count(
            self.ranks,
            num_workers=self.num_workers,
            multiprocessing_context=self.multiprocessing_context,
            timeout=self._asked_timeout,
        )

    def _pinned(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The DataLoader itself could only pin what workers send, and that is no tensor."""
        if not (self.pin_memory and torch.cuda.is_available()):
            return batch
        return {key: value.pin_memory() if torch.is_tensor(value) else value for key, value in batch.items()}


def _require_whole(name: str, value: object, *, at_least: int) -> None:
    if type(value) is not int or value < at_least:
        raise ConfigError(f"loader: {name} must be a whole number of {at_least} or more; got {shown(value)}")
