"""The loader of a stream: batches from a position on, and the position as a state."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from samsum_stream.errors import StateError
from samsum_stream.lanes.permutation import lane_size
from samsum_stream.loader.batch_loader import BatchLoader
from samsum_stream.loader.processes.ranks import require_agreement
from samsum_stream.loader.state.files import load_state, save_state, set_newer_aside
from samsum_stream.loader.state.state import (
    State,
    from_state,
    require_form,
    require_positions,
    require_same_stream,
    to_state,
)
from samsum_stream.values.batches import BatchInfo


class StreamLoader(BatchLoader):
    """A DataLoader of whole batches that saves and restores its exact position; see `BatchLoader` for the arguments."""

    def __len__(self) -> int:
        """The dicts of tensors of the current or last run, the same number on every rank.

        Counts the rows first if they were not counted before. The next run has as many batches, or more if its packs
        need it.

        Raises:
            TypeError: the stream is endless.
        """
        if (plan := self.plan) is None:
            raise TypeError("a stream with epochs: null is endless and has no len()")
        return self.micro_batches.number((plan.end_batch - plan.run.batch) // self.ranks.world_size)

    @property
    def epoch(self) -> float | None:
        """The epochs that were delivered, with the share of the current one; None if the number of rows is unknown."""
        if (plan := self.plan) is not None:
            return plan.epochs_before(self.batch)
        if (num_rows := self.pipeline.num_rows) is None:
            return None
        num_lanes = self._order.num_lanes
        rows_of_rank = sum(lane_size(lane, num_rows=num_rows, num_lanes=num_lanes) for lane in self._progress.lanes)
        return self._progress.rows_delivered / rows_of_rank

    @property
    def last_batch_info(self) -> BatchInfo:
        """The provenance of the batch that was delivered last.

        Raises:
            StateError: no batch was delivered since the start or since a state was loaded.
        """
        if self._last_batch_info is None:
            raise StateError("last_batch_info: no batch was delivered yet; take one from the loader first")
        return self._last_batch_info

    def state_dict(self, *, batch: int | None = None) -> State:
        """The position of this rank in the data: plain values, a few kilobytes.

        Args:
            batch: Return the state from which this global batch is the next one. It can be one of the last few batches,
                for a loop that fetches batches before it trains on them.

        Raises:
            StateError: `batch` is older than the batches that are remembered.
        """
        progress = self._progress if batch is None else self._progress.as_of(batch)
        self._flush_quarantine()
        return to_state(progress, self._fingerprint(self._order.num_lanes))

    def load_state_dict(self, state: Mapping[str, Any], *, ignore: Sequence[str] = ()) -> None:
        """Continue from a state: the state of this rank, or one of all ranks from `merge_states`.

        Args:
            ignore: Fields of the fingerprint that may differ. Then rows may be lost or repeated.

        Raises:
            StateError: the state is torn, of another version, or of another stream; the message names what differs.
            TopologyError: the ranks cannot share the lanes of the state.
        """
        state = require_form(state)
        num_lanes = state["fingerprint"]["lanes"]
        require_same_stream(state, self._fingerprint(self.pipeline.num_lanes or num_lanes), ignore=ignore)
        num_fitting = self._fitting_workers(num_lanes)
        lanes = self._rank_lanes(num_lanes)
        progress = from_state(state, lanes=lanes, step=self.ranks.world_size, counted=self._counted)
        require_positions(progress, self.pipeline.source, num_lanes=num_lanes)
        self.stats.counts.update(progress.counts)
        self.stats.counts.subtract(self._progress.counts)
        self.num_workers = num_fitting
        self._start(num_lanes, progress)

    def save(self, folder: str | os.PathLike[str], *, batch: int | None = None) -> Path | str | None:
        """Write `state_dict(batch=batch)` to `folder/batch-M/rank-r.json`; the last two complete ones are kept.

        Args:
            folder: A path, or a URL of fsspec such as `s3://bucket/run`.
            batch: As in `state_dict`.

        Returns:
            The path or URL of the file; None, after a warning, if the store behind the URL is down.

        Raises:
            StateError: the file cannot be written.
        """
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
        """Continue from what all ranks saved in `folder`: the newest complete state, or the state of `batch`.

        In a process group, every rank must call this method. No rank continues before all have read the same state.

        Args:
            folder: A path, or a URL of fsspec.
            batch: The next global batch; states of later batches are renamed.
            ignore: As in `load_state_dict`.
            missing_ok: Start from the beginning if no state was saved by all ranks.

        Returns:
            Whether there was a state.

        Raises:
            StateError: there is no state, none is complete, it is of another stream, or its store is down.
        """
        state = load_state(folder, batch=batch, missing_ok=missing_ok)
        require_agreement(None if state is None else state["batch"], self.ranks, what=f"loading {folder}")
        if state is None:
            return False
        self.load_state_dict(state, ignore=ignore)
        if batch is not None and self.ranks.rank == 0:
            set_newer_aside(folder, batch=batch)
        return True
