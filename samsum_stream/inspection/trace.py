"""Finds the rows of a global batch: reads only the lane of this batch, from its start or from a saved state."""

import json
import os
import re
from pathlib import Path

from samsum_stream.errors import StateError
from samsum_stream.loader.loader import StreamLoader
from samsum_stream.loader.processes.progress import counting
from samsum_stream.loader.state.files import load_state, read_complete, read_file
from samsum_stream.loader.state.folders import state_folder
from samsum_stream.loader.state.state import State, require_form
from samsum_stream.loader.store import is_url
from samsum_stream.stream.stream import SFTStream
from samsum_stream.training.checkpoints.local import STATE as TRAINER_STATE
from samsum_stream.training.checkpoints.local import step_of
from samsum_stream.training.checkpoints.newest import position_in
from samsum_stream.values.batches import BatchInfo

_SAVED = re.compile(r"(?:(.*?)/)?batch-(\d+)(?:/(rank-\d+\.json)?)?")
"""A folder `batch-M`, or the file of a rank in it."""


def trace_batch(stream: SFTStream, batch: int, *, state: State | None = None) -> BatchInfo:
    """The provenance of global batch `batch` in a run from the beginning or from `state`.

    Without a state, `lanes: auto` has its value for one process. A run of more readers may have had other lanes.

    Raises:
        StateError: the state is of a later batch or of another stream, or the epochs end before the batch.
    """
    stream = _traced_run(stream, state)
    num_lanes = stream.pipeline.lanes_for(1)
    # The batches of a lane are the batches of one rank in a run with one rank for each lane.
    loader = stream.loader(num_workers=0, rank=batch % num_lanes, world_size=num_lanes)
    if state is None:
        _require_batch(batch, loader)
    else:
        _require_earlier(state, batch)
        loader.load_state_dict(state)
    with counting(f"reading up to batch {batch:,}") as bar:
        task = bar.add_task("", total=-(-(batch + 1 - loader.batch) // num_lanes))
        while True:
            for _ in loader:
                bar.advance(task)
                if loader.last_batch_info.batch >= batch:
                    return loader.last_batch_info


def _traced_run(stream: SFTStream, state: State | None) -> SFTStream:
    """The stream with the settings of the traced run, without its quarantine file."""
    if state is None:
        return stream.with_run(quarantine=False)
    fingerprint = require_form(state)["fingerprint"]
    # The epochs and the batch size may be a Trainer's, and each run can have other lanes.
    settings = {name: fingerprint[name] for name in ("epochs", "batch_size", "lanes")}
    return stream.with_run(**settings, quarantine=False)


def _require_earlier(state: State, batch: int) -> None:
    if state["batch"] > batch:
        raise StateError(
            f"the state resumes at global batch {state['batch']}, which is after batch {batch}; give an earlier state, "
            "or no state and the number of lanes to read from the beginning"
        )


def _require_batch(batch: int, loader: StreamLoader) -> None:
    """Raises `StateError` if the epochs end before the batch."""
    if loader.plan is not None and batch >= loader.plan.end_batch:
        num_batches = loader.plan.end_batch
        raise StateError(
            f"there is no global batch {batch}: epochs: {loader.pipeline.epochs} has the batches 0 to "
            f"{num_batches - 1}; give one of these, or a state that the run saved in later epochs"
        )


def _saved(folder: str, batch: int, name: str | None) -> State:
    """The state of a batch, of all ranks or in the file of a rank."""
    return read_complete(state_folder(folder), batch) if name is None else read_file(state_folder(folder), batch, name)


def read_state(path: str | os.PathLike[str], *, up_to: int | None = None) -> State:
    """The state in a file of a rank, a JSON file of a `state_dict()`, a checkpoint of a Trainer, or a folder of states.

    A folder with several states gives the newest one, or with `up_to` the newest one that is not after that batch.

    Raises:
        StateError: there is no state.
    """
    location = Path(path)
    if (location / TRAINER_STATE).is_file() or (is_url(os.fspath(path)) and step_of(location.name) is not None):
        return position_in(path)
    if state_folder(path).batches():
        state = load_state(path, up_to=up_to)
        assert state is not None
        return state
    if match := _SAVED.fullmatch(os.fspath(path)):
        folder, batch, name = match.groups()
        return _saved("." if folder is None else folder or "/", int(batch), name)
    try:
        return require_form(json.loads(location.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        reason = "the folder has no state" if location.is_dir() else f"{type(error).__name__}: {error}"
        raise StateError(
            f"{path}: no state can be read ({reason}); give a folder that loader.save wrote to, "
            "a batch-M or a rank-R.json in it, a file with state_dict() as JSON, or a Trainer's checkpoint-N"
        ) from None
