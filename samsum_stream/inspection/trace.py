"""Which rows a global batch is made of: the lane of that batch alone is read, from its start or from a saved state."""

import json
import os
from dataclasses import replace
from pathlib import Path

from samsum_stream.errors import StateError
from samsum_stream.loader.processes.progress import counting
from samsum_stream.loader.state.files import load_state, read_complete, read_file
from samsum_stream.loader.state.state import State, require_form
from samsum_stream.stream.stream import SFTStream
from samsum_stream.training.checkpoints import STATE as TRAINER_STATE
from samsum_stream.training.checkpoints import position_in
from samsum_stream.values.batches import BatchInfo


def trace_batch(stream: SFTStream, batch: int, *, state: State | None = None) -> BatchInfo:
    """The provenance of global batch `batch`, of a run from the beginning or from `state`.

    Without a state, `lanes: auto` is taken as for one process; a run of more readers may have had other lanes.

    Raises:
        StateError: the state is behind the batch, or of another stream; without one, the epochs end before it.
    """
    if state is not None:
        fingerprint = require_form(state)["fingerprint"]
        # A Trainer has its own epochs and batch size, and every run its own lanes.
        changes = {name: fingerprint[name] for name in ("epochs", "batch_size")}
        stream.pipeline = replace(stream.pipeline, num_lanes=fingerprint["lanes"], **changes)
    num_lanes = stream.pipeline.lanes_for(1)
    # A lane's batches are those of one rank among as many ranks as there are lanes.
    loader = stream.loader(num_workers=0, rank=batch % num_lanes, world_size=num_lanes)
    loader.quarantine = None  # it belongs to the run that is looked at
    if state is not None:
        if state["batch"] > batch:
            raise StateError(
                f"the state goes on at global batch {state['batch']}, so batch {batch} is behind it; give an earlier "
                "state, or none and the number of lanes, to read from the beginning"
            )
        loader.load_state_dict(state)
    elif loader.ends is not None and batch >= loader.ends.end_batch:
        num_batches = loader.ends.end_batch
        raise StateError(
            f"there is no global batch {batch}: epochs: {stream.pipeline.epochs} has {num_batches} of them, 0 to "
            f"{num_batches - 1}; give one of these, or a state that the run saved where it went on into further epochs"
        )
    with counting(f"reading on to batch {batch:,}") as bar:
        task = bar.add_task("", total=-(-(batch + 1 - loader.batch) // num_lanes))
        while True:
            for _ in loader:
                bar.advance(task)
                if loader.last_batch_info.batch >= batch:
                    return loader.last_batch_info


def read_state(path: str | os.PathLike[str], *, up_to: int | None = None) -> State:
    """The state in a file of a rank or of a `state_dict()` as JSON, in a Trainer's checkpoint, or where ranks saved.

    Of a folder with several, it is the newest one, or with `up_to` the newest that is no later than that batch.

    Raises:
        StateError: there is none.
    """
    place = Path(path)
    if (place / TRAINER_STATE).is_file():
        return position_in(place)
    if any(place.glob("rank-*.json")):
        return read_complete(place)
    if any(place.glob("batch-*")):
        state = load_state(place, up_to=up_to)
        assert state is not None
        return state
    if place.name.startswith("rank-") and place.is_file():
        return read_file(place)
    try:
        return require_form(json.loads(place.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        told = "there is none in this folder" if place.is_dir() else f"{type(error).__name__}: {error}"
        raise StateError(
            f"{path}: no state can be read ({told}); give a folder that loader.save wrote to, "
            "a batch-M or a rank-R.json in it, a file with state_dict() as JSON, or a Trainer's checkpoint-N"
        ) from None
