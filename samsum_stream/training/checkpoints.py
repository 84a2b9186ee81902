"""Which checkpoint of a Trainer is whole: one that was being written when a job was killed is not.

checkpoint-500/   model.safetensors, optimizer.pt, scheduler.pt, rng_state_0.pth, ..., trainer_state.json
"""

import json
import logging
import os
import re
import zipfile
from pathlib import Path
from typing import Any

from samsum_stream.errors import StateError

logger = logging.getLogger(__name__)

STATE = "trainer_state.json"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_LENGTH = 8
"""Bytes at the start of a safetensors file that say how long its header is."""


def last_complete_checkpoint(folder: str | os.PathLike[str]) -> str | None:
    """The newest checkpoint in a Trainer's output folder that can be resumed from; None where there is none.

    `transformers.trainer_utils.get_last_checkpoint` takes the newest folder, torn or not.
    """
    for place in _checkpoints(Path(folder)):
        try:
            _require_whole(place)
        except StateError as error:
            logger.warning("%s; trying an older checkpoint", error)
            continue
        return str(place)
    return None


def position_in(checkpoint: Path) -> dict[str, Any]:
    """The position in the data that a checkpoint of an attached Trainer holds.

    Raises:
        StateError: it holds none.
    """
    kept = _read(checkpoint / STATE).get("stateful_callbacks", {}).get("DataPosition", {}).get("attributes", {})
    if not kept.get("position"):
        raise StateError(f"{checkpoint} has no position in the data: its Trainer was not attached to a stream")
    position: dict[str, Any] = kept["position"]
    return position


def _checkpoints(folder: Path) -> list[Path]:
    """The newest first."""
    found = {} if not folder.is_dir() else {place: _CHECKPOINT.fullmatch(place.name) for place in folder.iterdir()}
    steps = {place: int(match.group(1)) for place, match in found.items() if match}
    return sorted(steps, key=steps.__getitem__, reverse=True)


def _require_whole(place: Path) -> None:
    """Raises `StateError` that names the file that is missing or torn."""
    try:
        state = json.loads((place / STATE).read_text(encoding="utf-8"))
        if place.name != f"checkpoint-{state['global_step']}":
            raise ValueError(f"it is of step {state['global_step']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StateError(f"{place / STATE} is missing or torn ({type(error).__name__}: {error})") from None
    weights = [*place.glob("*.safetensors"), *_listed_weights(place), *place.glob("*model*.bin")]
    if not weights:
        raise StateError(f"{place} has no weights")
    for path in sorted({*weights, *place.glob("*.pt"), *place.glob("*.pth"), *_states_of_ranks(place, state)}):
        is_whole = _is_whole_safetensors(path) if path.suffix == ".safetensors" else zipfile.is_zipfile(path)
        if not is_whole:
            raise StateError(f"{path} is missing or torn")


def _listed_weights(place: Path) -> list[Path]:
    """The shards of a model that is kept in several files."""
    names = [name for index in place.glob("*.index.json") for name in _read(index)["weight_map"].values()]
    return [place / name for name in names]


def _states_of_ranks(place: Path, state: dict[str, Any]) -> list[Path]:
    """What every rank writes by itself, and may not have written yet."""
    if not any(place.glob("rng_state*.pth")):
        return []  # of a Trainer that keeps the model alone
    position = state["stateful_callbacks"].get("DataPosition", {"attributes": {"num_processes": 1}})
    num_processes = position["attributes"]["num_processes"]
    names = ["rng_state.pth"] if num_processes == 1 else [f"rng_state_{rank}.pth" for rank in range(num_processes)]
    return [place / name for name in names]


def _is_whole_safetensors(path: Path) -> bool:
    """Whether the file is as long as its header says."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH), "little")
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            return path.stat().st_size == _LENGTH + length + max(ends, default=0)
    except (OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError):
        return False


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StateError(f"{path} is torn ({error})") from None
