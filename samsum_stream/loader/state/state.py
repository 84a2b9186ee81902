"""The position of a stream as plain JSON values, built from the batches that were delivered.

    {"version": 3, "fingerprint": {...}, "batch": 96,
     "epoch_run": {"epoch": 0, "batch": 0, "min_batches": 0},
     "lanes": {"17": {"epoch": 0, "shard": 0, "row": 41, "waiting": [2, 1, 7], "stats": [52, 9811, ...],
                      "window": [52, 0]}, ...},
     "stats": {"rows": 1260, "examples": 1248, ...}}

A lane of a mixture also has `turns`, and `children`: each has a position, `drawn` and `ended`.

`batch` is the next global batch of all ranks. The position and the counts of a lane follow from the batches of the lane
alone, so that the states of all ranks are merged by joining their lanes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from samsum_stream.errors import StateError
from samsum_stream.errors.wording import shown
from samsum_stream.lanes.permutation import lane_size
from samsum_stream.lanes.position import ChildPosition, Cursor, EpochRun, LanePosition
from samsum_stream.loader.state.progress import LaneState, Progress
from samsum_stream.pipeline.lanes import fits_source
from samsum_stream.sources import Source
from samsum_stream.sources.faults import Window
from samsum_stream.values.counts import COUNTED, Counts, from_numbers, nonzero, to_numbers

VERSION = 3
"""Version 3: `waiting` counts examples, and the stats count rows apart from examples. Version 2 had rows for both."""

MAX_REPLAYED = 100_000_000
"""The most examples of a lane that can lie between its start and its cursor."""

MAX_EPOCH = 2**30
"""The epoch has 32 bits in the record of an example."""

Fingerprint = dict[str, Any]
State = dict[str, Any]


def to_state(progress: Progress, fingerprint: Fingerprint) -> State:
    """The progress as plain values."""
    return {
        "version": VERSION,
        "fingerprint": dict(fingerprint),
        "batch": progress.batch,
        "epoch_run": progress.run._asdict(),
        "lanes": {str(lane): _to_entry(progress.lanes[lane], progress.counted) for lane in sorted(progress.lanes)},
        "stats": nonzero(progress.counts),
    }


def from_state(state: State, *, lanes: Iterable[int], step: int, counted: tuple[str, ...] = COUNTED) -> Progress:
    """The progress of a rank that owns `lanes`, from a state that holds at least those.

    Raises:
        StateError: the state lacks one of them.
    """
    lanes = list(lanes)
    missing = [lane for lane in lanes if str(lane) not in state["lanes"]]
    if missing:
        raise StateError(
            f"the state holds {len(state['lanes'])} of {state['fingerprint']['lanes']} lanes, and this rank needs lane "
            f"{missing[0]} as well; merge the states of all ranks with merge_states([...])"
        )
    if too_long := [lane for lane in lanes if len(state["lanes"][str(lane)]["stats"]) > len(counted)]:
        raise StateError(f"the state is torn: lane {too_long[0]} has counted more than this stream counts")
    lane_states = {lane: _from_entry(state["lanes"][str(lane)], counted) for lane in lanes}
    return Progress(step, lane_states, counted, state["batch"], _run_of(state))


def merge_states(states: Sequence[State]) -> State:
    """One state from the states of all ranks. Any number of ranks that divides the number of lanes can load it.

    Raises:
        StateError: the states are not of one moment of one stream, share a lane, or lack a lane.
    """
    states = [require_form(state) for state in states or ()]
    if not states:
        raise StateError("merge_states: got no state; pass the state of each rank")
    first = states[0]
    for other in states[1:]:
        if differences := _differences(other["fingerprint"], first["fingerprint"]):
            raise StateError(f"merge_states: the states are of different streams: {differences}")
        for key in ("batch", "epoch_run"):
            if other[key] != first[key]:
                raise StateError(
                    f"merge_states: the states are of different moments: {key} {first[key]} and {other[key]}; every "
                    "rank must save after the same batch"
                )
    lanes: dict[str, Any] = {}
    for state in states:
        if both := sorted(lanes.keys() & state["lanes"].keys(), key=int):
            raise StateError(f"merge_states: lane {both[0]} is in two states; pass the state of each rank once")
        lanes |= state["lanes"]
    num_lanes = first["fingerprint"]["lanes"]
    if len(lanes) < num_lanes:
        missing = next(lane for lane in range(num_lanes) if str(lane) not in lanes)
        raise StateError(
            f"merge_states: lane {missing} is in no state ({num_lanes - len(lanes)} of {num_lanes} lanes are missing); "
            "pass the state of every rank"
        )
    stats = sum((Counts(state["stats"]) for state in states), Counts())
    return {**first, "lanes": {lane: lanes[lane] for lane in sorted(lanes, key=int)}, "stats": nonzero(stats)}


def require_form(state: object) -> State:
    """A copy of `state`, which has the form of a state.

    Raises:
        StateError: `state` is not a state, has another version, or is torn.
    """
    if not isinstance(state, Mapping) or "version" not in state:
        raise StateError(f"a state is the dict that loader.state_dict() returns; got {shown(state)}")
    if state["version"] != VERSION:
        raise StateError(_other_version(state["version"]))
    try:
        _require_numbers(state)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise StateError(f"the state is torn: {type(error).__name__}: {error}; use an older one") from None
    return dict(state)


def _other_version(version: object) -> str:
    reason = " (older versions count rows, and version 3 counts examples)" if version in (1, 2) else ""
    return (
        f"the state has version {shown(version)}, and this release reads version {VERSION}{reason}; finish the run "
        "with the release that wrote the state, or start a new run without it"
    )


def _require_numbers(state: Mapping[str, Any]) -> None:
    """Raises `ValueError`, or the error of a wrong type, if `to_state` cannot have written a value."""
    num_lanes, run = state["fingerprint"]["lanes"], state["epoch_run"]
    _require_naturals("the head", state["batch"], num_lanes, *_run_of(state), *state["stats"].values())
    if state["batch"] < run["batch"]:
        raise ValueError(f"batch {state['batch']} lies before its epoch run, which starts at {run['batch']}")
    if num_lanes == 0:
        raise ValueError("it has no lanes")
    for name, entry in state["lanes"].items():
        _require_naturals(f"lane {name}", *entry["stats"], *Window(*entry["window"]))
        _require_position(f"lane {name}", entry)
        if name != str(int(name)) or not 0 <= int(name) < num_lanes:
            raise ValueError(f"there is no lane {name!r}")


def _require_position(where: str, entry: Mapping[str, Any]) -> None:
    """The same for the position of a lane, or of a child of a mixture in it."""
    children, turns = entry.get("children", ()), entry.get("turns", ())
    _require_naturals(where, entry["epoch"], entry["shard"], entry["row"], *entry["waiting"], *turns)
    waiting = entry["waiting"]
    has_runs = all(waiting[1:]) and waiting != [0]  # only the first run may be 0, and it is never alone
    is_possible = entry["epoch"] <= MAX_EPOCH and has_runs and sum(waiting) <= MAX_REPLAYED
    if not is_possible or max(turns, default=-1) >= len(children):
        raise ValueError(f"{where} has numbers that no lane can have")
    for number, child in enumerate(children):
        _require_naturals(where, child["drawn"], child["ended"])
        _require_position(f"{where}, child {number}", child)


def _require_naturals(where: str, *numbers: object) -> None:
    for number in numbers:
        if type(number) is not int or not 0 <= number < 2**63:
            raise ValueError(f"{where}: {shown(number)} is no number of rows or batches")


def require_same_stream(state: State, fingerprint: Fingerprint, *, ignore: Sequence[str]) -> None:
    """Raises `StateError` that names every field in which the state's stream differs from this one.

    A stream that raised on bad rows has skipped none. Therefore it may continue and skip them. An older state does not
    name its eos.
    """
    if isinstance(ignore, str):
        ignore = [ignore]
    if unknown := [name for name in ignore if name not in fingerprint or name == "lanes"]:
        known = ", ".join(name for name in fingerprint if name != "lanes")
        raise StateError(f"ignore={list(ignore)}: {unknown[0]} cannot be ignored; known: {known}")
    saved = state["fingerprint"]
    if saved.get("faults", "raise") == "raise":
        ignore = [*ignore, "faults"]
    if "eos" not in saved:
        ignore = [*ignore, "eos"]
    if differences := _differences(saved, fingerprint, ignore=ignore):
        remedies = [] if saved["lanes"] == fingerprint["lanes"] else [f"set lanes: {saved['lanes']} in the config"]
        if _differences(saved, fingerprint, ignore=[*ignore, "lanes"]):
            remedies.append(
                "undo the change, or pass these names to load_state_dict as ignore=[...] (rows may then be lost or "
                "repeated)"
            )
        raise StateError(f"the state is of another stream: {differences}; {'; '.join(remedies)}")


def _differences(saved: Fingerprint, other: Fingerprint, *, ignore: Sequence[str] = ()) -> str:
    """The fields in which two fingerprints differ, as text."""
    names = [name for name in {**other, **saved} if name not in ignore and saved.get(name) != other.get(name)]
    return ", ".join(f"{name} was {saved.get(name)} and is {other.get(name)}" for name in names)


def require_positions(progress: Progress, source: Source, *, num_lanes: int) -> None:
    """Raises `StateError` if a lane has a position that the source does not have."""
    for lane, state in progress.lanes.items():
        row = state.position.start.row
        if source.num_rows is not None and row > lane_size(lane, num_rows=source.num_rows, num_lanes=num_lanes):
            raise StateError(
                f"the state is torn: lane {lane} is at row {row}, which the lane does not have; use an older one"
            )
        if not fits_source(source, state.position):
            raise StateError(f"the state is torn: lane {lane} has positions in unknown sources; use an older state")


def _run_of(state: Mapping[str, Any]) -> EpochRun:
    run = state["epoch_run"]
    return EpochRun(run["epoch"], run["batch"], run["min_batches"])


def _to_entry(lane: LaneState, counted: Sequence[str]) -> dict[str, Any]:
    return {
        **_to_position(lane.position),
        "stats": to_numbers(lane.counts, counted),
        "window": list(lane.window),
    }


def _from_entry(entry: Mapping[str, Any], counted: Sequence[str]) -> LaneState:
    return LaneState(_from_position(entry), from_numbers(entry["stats"], counted), Window(*entry["window"]))


def _to_position(position: LanePosition) -> dict[str, Any]:
    """A position; only one in a mixture has children."""
    entry = {**position.start._asdict(), "waiting": list(position.waiting)}
    if position.children:
        entry["turns"] = list(position.turns)
        entry["children"] = [
            {**_to_position(child.position), "drawn": child.drawn, "ended": int(child.ended)}
            for child in position.children
        ]
    return entry


def _from_position(entry: Mapping[str, Any]) -> LanePosition:
    children = (
        ChildPosition(_from_position(child), child["drawn"], bool(child["ended"]))
        for child in entry.get("children", ())
    )
    return LanePosition(
        Cursor(entry["epoch"], entry["shard"], entry["row"]),
        tuple(map(int, entry["waiting"])),
        tuple(children),
        tuple(entry.get("turns", ())),
    )
