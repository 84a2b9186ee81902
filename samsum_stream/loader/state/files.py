"""States on disk: `folder/batch-M/rank-r.json`, each written whole or not at all, and read without communication."""

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
    """Write a rank's state, and let rank 0 remove all but the last two that are complete.

    Raises:
        StateError: the folder cannot be written to.
    """
    place = Path(folder) / f"batch-{state['batch']}"
    path = place / f"rank-{rank}.json"
    file = {"rank": rank, "world_size": world_size, "state": state}
    file["digest"] = _digest(file)
    try:
        place.mkdir(parents=True, exist_ok=True)
        _write_whole(path, json.dumps(file))
    except OSError as error:
        raise StateError(f"{path} cannot be written ({error}); check the folder and its free space") from error
    if rank == 0:
        _set_leftovers_aside(Path(folder), batch=state["batch"])
        _remove_old(Path(folder))
    return path


def load_state(
    folder: str | os.PathLike[str], *, batch: int | None = None, up_to: int | None = None, missing_ok: bool = False
) -> State | None:
    """The newest state that all ranks saved in `folder`, or that of `batch`; None where there is none and may be none.

    Args:
        up_to: Of no later batch than this one.

    Raises:
        StateError: there is none; the message says what is there.
    """
    found = _batches(Path(folder))
    if batch is not None and batch not in found:
        raise StateError(f"{folder}: there is no state of batch {batch}; there are those of {_named(found)}")
    if up_to is not None and found and found[-1] > up_to:
        raise StateError(
            f"{folder}: there is no state of batch {up_to} or before, but those of {_named(found)}; leave the state "
            "out to read from the beginning"
        )
    problems = []
    for number in [batch] if batch is not None else [each for each in found if up_to is None or each <= up_to]:
        try:
            return read_complete(Path(folder) / f"batch-{number}")
        except StateError as error:
            problems.append(error)
            logger.warning("%s: trying an older state", error)
    if missing_ok and all(isinstance(problem, _IncompleteError) for problem in problems):
        return None
    if problems:
        told = "; ".join(map(str, problems))
        raise StateError(f"{folder}: no state is complete: {told}; start anew in another folder, or restore the files")
    raise StateError(
        f"{folder}: there is no saved state (batch-M/rank-r.json); check the folder, or say missing_ok=True to start "
        "from the beginning where there is none"
    )


def read_complete(place: Path) -> State:
    """The states of all ranks of one job in a folder `batch-M`; files of another number of ranks are passed over.

    Raises:
        StateError: not all ranks have saved, or a file is torn.
    """
    jobs: dict[int, list[State]] = {}
    torn = []
    for path in sorted(place.glob("rank-*.json")):
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
        raise StateError(f"{place}: {counts} ranks have saved, and {'; '.join(torn)}")
    raise _IncompleteError(f"{place}: {counts} ranks have saved")


def read_file(path: Path) -> State:
    """The state in a rank's file.

    Raises:
        StateError: the file is torn.
    """
    state: State = _read(path)["state"]
    return state


def set_newer_aside(folder: str | os.PathLike[str], *, batch: int) -> None:
    """Rename the states behind `batch`, so that a run that goes on from there does not find them as the newest."""
    for number in _batches(Path(folder)):
        if number > batch:
            place = Path(folder) / f"batch-{number}"
            shutil.rmtree(aside := place.with_name(f"set-aside-{place.name}"), ignore_errors=True)
            place.rename(aside)
            logger.warning("%s is newer than batch %d, where the run went on: it is %s now", place, batch, aside.name)


class _IncompleteError(StateError):
    """Some ranks have not saved yet, and nothing is torn."""


def _read(path: Path) -> dict[str, Any]:
    try:
        file = json.loads(path.read_text(encoding="utf-8"))
        state, rank, world_size = require_form(file["state"]), file["rank"], file["world_size"]
        if file.pop("digest") != _digest(file):
            raise ValueError("its digest is another")
        if path.name != f"rank-{rank}.json" or path.parent.name != f"batch-{state['batch']}":
            raise ValueError(f"it is of rank {rank} at batch {state['batch']}")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise StateError(f"{path} is torn ({type(error).__name__}: {error})") from None
    except StateError as error:
        raise StateError(f"{path}: {error}") from None
    return {"rank": rank, "world_size": world_size, "state": state}


def _digest(file: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(file, sort_keys=True).encode()).hexdigest()


def _write_whole(path: Path, text: str) -> None:
    """A reader finds the old file or the new one, never half of one, also after a power cut."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    for folder in (path.parent, path.parent.parent):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _set_leftovers_aside(folder: Path, *, batch: int) -> None:
    """Rank 0 itself has not saved anything newer, so newer states of rank 0 are of a run that was given up."""
    if any((folder / f"batch-{number}" / "rank-0.json").exists() for number in _batches(folder) if number > batch):
        set_newer_aside(folder, batch=batch)


def _remove_old(folder: Path) -> None:
    """Other ranks may be behind, and others may have left files, so what counts is which states can be read."""
    complete = 0
    for number in _batches(folder):
        place = folder / f"batch-{number}"
        if complete == NUM_KEPT:
            shutil.rmtree(place, ignore_errors=True)
            continue
        try:
            read_complete(place)
            complete += 1
        except StateError:
            continue


def _batches(folder: Path) -> list[int]:
    """The batches that something was saved of, the newest first."""
    if not folder.is_dir():
        return []
    matches = (_BATCH.fullmatch(place.name) for place in folder.iterdir())
    return sorted((int(match.group(1)) for match in matches if match), reverse=True)


def _named(batches: list[int]) -> str:
    return ", ".join(map(str, batches)) or "none"
