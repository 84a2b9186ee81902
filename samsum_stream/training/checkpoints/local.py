"""Complete checkpoints of a Trainer on the disk: a job that is killed while it saves leaves an incomplete one.

checkpoint-500/   model.safetensors, optimizer.pt, scheduler.pt, rng_state_0.pth, ..., trainer_state.json
"""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

from samsum_stream.errors import StateError

STATE = "trainer_state.json"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_LENGTH = 8
"""Bytes at the start of a safetensors file that hold the length of its header."""


def checkpoints_in(folder: Path) -> dict[int, Path]:
    """The checkpoints in a Trainer's output folder by step, complete or not, the newest first."""
    paths = list(folder.iterdir()) if folder.is_dir() else []
    steps = {step: path for path in paths if (step := step_of(path.name)) is not None}
    return dict(sorted(steps.items(), reverse=True))


def step_of(name: str) -> int | None:
    """The step in the name of a checkpoint; None for another name."""
    match = _CHECKPOINT.fullmatch(name)
    return int(match.group(1)) if match else None


def problem_of(checkpoint: Path) -> StateError | None:
    """The error that names a missing or incomplete file; None if training can resume from the checkpoint."""
    try:
        _require_complete(checkpoint)
    except StateError as error:
        return error
    return None


def state_in(checkpoint: Path) -> dict[str, Any]:
    """The content of the `trainer_state.json` of a checkpoint; raises `StateError` if it is missing or incomplete."""
    state: dict[str, Any] = _read(checkpoint / STATE)
    return state


def _require_complete(checkpoint: Path) -> None:
    """Raises `StateError` with the name of a missing or incomplete file."""
    state = _state_of(checkpoint)
    weights = [*checkpoint.glob("*.safetensors"), *_listed_weights(checkpoint), *checkpoint.glob("*model*.bin")]
    of_engines = [*checkpoint.glob("pytorch_model_fsdp*/*.distcp"), *checkpoint.glob("global_step*/*.pt")]
    if not (weights or of_engines):
        raise StateError(f"{checkpoint} has no weights")
    for folder in {path.parent for path in checkpoint.glob("*/*.distcp")}:
        if not (folder / ".metadata").is_file():  # written last
            raise StateError(f"{folder / '.metadata'} is missing")
    others = [*checkpoint.glob("*.pt"), *checkpoint.glob("*.pth"), *_states_of_ranks(checkpoint, state)]
    for path in sorted({*weights, *others}):
        is_complete = _is_complete_safetensors(path) if path.suffix == ".safetensors" else zipfile.is_zipfile(path)
        if not is_complete:
            raise StateError(f"{path} is missing or incomplete")


def _state_of(checkpoint: Path) -> dict[str, Any]:
    """The content of `trainer_state.json`, which must have the step in the folder's name."""
    try:
        state: dict[str, Any] = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        if checkpoint.name != f"checkpoint-{state['global_step']}":
            raise ValueError(f"its step is {state['global_step']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StateError(f"{checkpoint / STATE} is missing or incomplete ({type(error).__name__}: {error})") from None
    return state


def _listed_weights(checkpoint: Path) -> list[Path]:
    """The shards of a model that is saved in several files."""
    maps = [_read(index).get("weight_map", {}) for index in checkpoint.glob("*.index.json")]
    return [checkpoint / name for names in maps for name in names.values()]


def _states_of_ranks(checkpoint: Path, state: dict[str, Any]) -> list[Path]:
    """The files that each rank writes on its own; a rank may not have written its file yet."""
    if not any(checkpoint.glob("rng_state*.pth")):
        return []  # the Trainer saves only the model
    position = state.get("stateful_callbacks", {}).get("DataPosition", {"attributes": {"num_processes": 1}})
    num_processes = position["attributes"]["num_processes"]
    names = ["rng_state.pth"] if num_processes == 1 else [f"rng_state_{rank}.pth" for rank in range(num_processes)]
    return [checkpoint / name for name in names]


def _is_complete_safetensors(path: Path) -> bool:
    """Whether the size of the file matches its header."""
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
        raise StateError(f"{path} is incomplete ({error})") from None
