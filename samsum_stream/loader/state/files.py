"""States on disk as `folder/batch-M/rank-r.json`: written atomically, read without communication between ranks."""

import hashlib
import json
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

from samsum_stream.errors import StateError
from samsum_stream.loader.state.state import State, merge_states, require_form

logger = logging.getLogger(__name__)

NUM_KEPT = 2
_BATCH = re.compile(r"batch-(0|[1-9]\d*)")


def save_state(folder: str | os.PathLike[str], state: State, *, rank: int, world_size: int) -> Path:
    """Write the state of a rank. Rank 0 also removes all states before the last two complete ones.

    Returns:
        The path of the file.

    Raises:
        StateError: the file cannot be written.
    """
    path = Path(folder) / f"batch-{state['batch']}" / f"rank-{rank}.json"
    file = {"rank": rank, "world_size": world_size, "state": state}
    file["digest"] = _digest(file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_atomically(path, json.dumps(file))
    except OSError as error:
        raise StateError(f"{path} cannot be written ({error}); check the folder and its free space") from error
    if rank == 0:
        _set_abandoned_aside(Path(folder), batch=state["batch"])
        _remove_old(Path(folder))
    return path


def load_state(
    folder: str | os.PathLike[str], *, batch: int | None = None, up_to: int | None = None, missing_ok: bool = False
) -> State | None:
    """The newest state that all ranks saved in `folder`; None if no rank saved one completely and `missing_ok` is true.

    Args:
        batch: Load the state of this batch instead of the newest one.
        up_to: Load the newest state of this batch or an earlier one.
        missing_ok: Whether to return None if no state was saved by all ranks and no file is torn.

    Raises:
        StateError: no such state exists, or none can be read; the message lists what exists.
    """
    batches = _batches(Path(folder))
    if batch is not None and batch not in batches:
        raise StateError(f"{folder}: there is no state of batch {batch}; choose a saved batch ({_listed(batches)})")
    if up_to is not None and batches and batches[-1] > up_to:
        raise StateError(
            f"{folder}: there is no state of batch {up_to} or earlier, only of batches {_listed(batches)}; leave the "
            "state out to read from the beginning"
        )
    problems = []
    for number in [batch] if batch is not None else [number for number in batches if up_to is None or number <= up_to]:
        try:
            return read_complete(Path(folder) / f"batch-{number}")
        except StateError as error:
            problems.append(error)
            logger.warning("%s: trying an older state", error)
    if missing_ok and all(isinstance(problem, _IncompleteError) for problem in problems):
        return None
    if problems:
        reasons = "; ".join(map(str, problems))
        raise StateError(f"{folder}: no state is complete: {reasons}; restore the files, or start in another folder")
    raise StateError(
        f"{folder}: there is no saved state (batch-M/rank-r.json); check the folder, or pass missing_ok=True to "
        "start from the beginning if no state exists"
    )


def read_complete(batch_folder: Path) -> State:
    """The merged states of all ranks of one job in a folder `batch-M`; files of jobs with another size are ignored.

    Raises:
        StateError: no job has the files of all its ranks, or a file is torn.
    """
    jobs: dict[int, list[State]] = {}
    torn = []
    for path in sorted(batch_folder.glob("rank-*.json")):
        try:
            file = _read(path)
            jobs.setdefault(file["world_size"], []).append(file["state"])
        except StateError as error:
            torn.append(str(error))
    for world_size, states in jobs.items():
        if len(states) == world_size:
            return merge_states(states)
    counts = " and ".join(f"{len(states)} of {world_size}" for world_size, states in jobs.items()) or "none"
    if torn:
        raise StateError(f"{batch_folder}: {counts} ranks have saved, and {'; '.join(torn)}")
    raise _IncompleteError(f"{batch_folder}: {counts} ranks have saved")


def read_file(path: Path) -> State:
    """The state in the file of a rank.

    Raises:
        StateError: the file is torn.
    """
    state: State = _read(path)["state"]
    return state


def set_newer_aside(folder: str | os.PathLike[str], *, batch: int) -> None:
    """Rename the states after `batch`, so that a run that resumes at `batch` does not load them as the newest."""
    for number in _batches(Path(folder)):
        if number > batch:
            newer = Path(folder) / f"batch-{number}"
            shutil.rmtree(aside := newer.with_name(f"set-aside-{newer.name}"), ignore_errors=True)
            newer.rename(aside)
            logger.warning("%s is newer than batch %d, where the run resumed: renamed to %s", newer, batch, aside.name)


class _IncompleteError(StateError):
    """Some ranks have not saved, and no file is torn."""


def _read(path: Path) -> dict[str, Any]:
    try:
        file = json.loads(path.read_text(encoding="utf-8"))
        state, rank, world_size = require_form(file["state"]), file["rank"], file["world_size"]
        if file.pop("digest") != _digest(file):
            raise ValueError("its digest does not match its content")
        if path.name != f"rank-{rank}.json" or path.parent.name != f"batch-{state['batch']}":
            raise ValueError(f"it belongs to rank {rank} at batch {state['batch']}")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise StateError(f"{path} is torn ({type(error).__name__}: {error})") from None
    except StateError as error:
        raise StateError(f"{path}: {error}") from None
    return {"rank": rank, "world_size": world_size, "state": state}


def _digest(file: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(file, sort_keys=True).encode()).hexdigest()


def _write_atomically(path: Path, text: str) -> None:
    """A reader sees the old file or the complete new file, also after a power failure."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    for folder in (path.parent, path.parent.parent):
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """Write the entries of a folder to the disk, where the system can open a folder; Windows cannot."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _set_abandoned_aside(folder: Path, *, batch: int) -> None:
    """Set newer states of rank 0 aside. Rank 0 has saved nothing newer in this run, so an abandoned run wrote them."""
    if any((folder / f"batch-{number}" / "rank-0.json").exists() for number in _batches(folder) if number > batch):
        set_newer_aside(folder, batch=batch)


def _remove_old(folder: Path) -> None:
    """Remove older states. Only readable states count: other ranks may save later, and old jobs may have left files."""
    complete = 0
    for number in _batches(folder):
        batch_folder = folder / f"batch-{number}"
        if complete == NUM_KEPT:
            shutil.rmtree(batch_folder, ignore_errors=True)
            continue
        try:
            read_complete(batch_folder)
            complete += 1
        except StateError:
            continue


def _batches(folder: Path) -> list[int]:
    """The batches that have a folder, the newest first."""
    if not folder.is_dir():
        return []
    matches = (_BATCH.fullmatch(path.name) for path in folder.iterdir())
    return sorted((int(match.group(1)) for match in matches if match), reverse=True)


def _listed(batches: list[int]) -> str:
    return ", ".join(map(str, batches)) or "none"
