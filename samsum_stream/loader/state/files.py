"""States as `folder/batch-M/rank-r.json`: written at once, read without communication between ranks."""

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

from samsum_stream.errors import StateError
from samsum_stream.loader.state.folders import StateFolder, state_folder
from samsum_stream.loader.state.state import State, merge_states, require_form
from samsum_stream.loader.store import StoreDownError

logger = logging.getLogger(__name__)

NUM_KEPT = 2


def save_state(location: str | os.PathLike[str], state: State, *, rank: int, world_size: int) -> Path | str | None:
    """Write the state of a rank. Rank 0 also removes all states before the last two complete ones.

    Returns:
        The path or URL of the file; None if its store is down.

    Raises:
        StateError: the file cannot be written.
    """
    folder, batch, name = state_folder(location), state["batch"], f"rank-{rank}.json"
    file = {"rank": rank, "world_size": world_size, "state": state}
    file["digest"] = _digest(file)
    try:
        written = folder.write(batch, name, json.dumps(file))
        if rank == 0:
            _set_abandoned_aside(folder, batch=batch)
            _remove_old(folder)
    except StoreDownError as error:
        logger.warning("the position of batch %d is not saved, and the next save tries again: %s", batch, error)
        return None
    except OSError as error:
        place = f"{folder}/batch-{batch}/{name}"
        raise StateError(f"{place} cannot be written ({error}); check the folder and its free space") from error
    return written


def load_state(
    location: str | os.PathLike[str], *, batch: int | None = None, up_to: int | None = None, missing_ok: bool = False
) -> State | None:
    """The newest state that all ranks saved in a folder; None if no rank saved one completely and `missing_ok` is true.

    Args:
        batch: Load the state of this batch instead of the newest one.
        up_to: Load the newest state of this batch or an earlier one.
        missing_ok: Whether to return None if no state was saved by all ranks and no file is torn.

    Raises:
        StateError: no such state exists, or none can be read; the message lists what exists.
    """
    folder = state_folder(location)
    batches = folder.batches()
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
            return read_complete(folder, number)
        except StoreDownError:
            raise
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


def read_complete(folder: StateFolder, batch: int) -> State:
    """The merged states of all ranks of one job in a folder `batch-M`; files of jobs with another size are ignored.

    Raises:
        StateError: no job has the files of all its ranks, or a file is torn.
    """
    jobs: dict[int, list[State]] = {}
    torn = []
    for name, text in folder.read(batch).items():
        try:
            file = _checked(text, f"{folder}/batch-{batch}", name)
            jobs.setdefault(file["world_size"], []).append(file["state"])
        except StateError as error:
            torn.append(str(error))
    for world_size, states in jobs.items():
        if len(states) == world_size:
            return merge_states(states)
    counts = " and ".join(f"{len(states)} of {world_size}" for world_size, states in jobs.items()) or "none"
    if torn:
        raise StateError(f"{folder}/batch-{batch}: {counts} ranks have saved, and {'; '.join(torn)}")
    raise _IncompleteError(f"{folder}/batch-{batch}: {counts} ranks have saved")


def read_file(folder: StateFolder, batch: int, name: str) -> State:
    """The state in the file of a rank.

    Raises:
        StateError: there is no such file, or the file is torn.
    """
    text = folder.read(batch).get(name, FileNotFoundError(name))
    state: State = _checked(text, f"{folder}/batch-{batch}", name)["state"]
    return state


def set_newer_aside(location: str | os.PathLike[str], *, batch: int) -> None:
    """Rename the states after `batch`, so that a run that resumes at `batch` does not load them as the newest."""
    _set_newer_aside(state_folder(location), batch=batch)


class _IncompleteError(StateError):
    """Some ranks have not saved, and no file is torn."""


def _checked(text: str | Exception, where: str, name: str) -> dict[str, Any]:
    """The content of a rank's file; `where` is the folder of its batch."""
    try:
        if isinstance(text, Exception):
            raise text
        file = json.loads(text)
        state, rank, world_size = require_form(file["state"]), file["rank"], file["world_size"]
        if file.pop("digest") != _digest(file):
            raise ValueError("its digest does not match its content")
        if name != f"rank-{rank}.json" or not where.endswith(f"/batch-{state['batch']}"):
            raise ValueError(f"it belongs to rank {rank} at batch {state['batch']}")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise StateError(f"{where}/{name} is torn ({type(error).__name__}: {error})") from None
    except StateError as error:
        raise StateError(f"{where}/{name}: {error}") from None
    return {"rank": rank, "world_size": world_size, "state": state}


def _digest(file: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(file, sort_keys=True).encode()).hexdigest()


def _set_newer_aside(folder: StateFolder, *, batch: int) -> None:
    for number in folder.batches():
        if number > batch:
            aside = folder.set_aside(number)
            logger.warning(
                "%s/batch-%d is newer than batch %d, where the run resumed: renamed to %s", folder, number, batch, aside
            )


def _set_abandoned_aside(folder: StateFolder, *, batch: int) -> None:
    """Set newer states of rank 0 aside. Rank 0 has saved nothing newer in this run, so an abandoned run wrote them."""
    if any("rank-0.json" in folder.read(number) for number in folder.batches() if number > batch):
        _set_newer_aside(folder, batch=batch)


def _remove_old(folder: StateFolder) -> None:
    """Remove older states. Only readable states count: other ranks may save later, and old jobs may have left files."""
    complete = 0
    for batch in folder.batches():
        if complete == NUM_KEPT:
            folder.remove(batch)
            continue
        try:
            read_complete(folder, batch)
            complete += 1
        except StoreDownError:
            raise
        except StateError:
            continue


def _listed(batches: list[int]) -> str:
    return ", ".join(map(str, batches)) or "none"
