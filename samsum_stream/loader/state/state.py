"""Where a stream stands: positions folded from the batches that were handed over, and their form as plain JSON.

    {"version": 2, "fingerprint": {...}, "batch": 96,
     "pass": {"epoch": 0, "batch": 0, "min_batches": 0},
     "lanes": {"17": {"epoch": 0, "shard": 0, "row": 41, "waiting": [2, 1, 7], "stats": [52, 9811, ...],
                      "window": [52, 0]}, ...},
     "stats": {"examples": 1248, ...}}

A lane of a mixture has `turns` as well, and `children` with a position, what was `drawn` and whether it has `ended`.

`batch` is the global batch that all ranks go on with. Every lane has a position and counts of its own, both of which
follow from its batches alone, so that the states of ranks are put together by joining their lanes.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from samsum_stream.errors import StateError
from samsum_stream.errors.wording import shown
from samsum_stream.lanes.position import FIRST_PASS, START, ChildPosition, LanePosition, PassStart, Place
from samsum_stream.sources.faults import Window
from samsum_stream.values.counts import COUNTED, Counts, listed, named, unlisted

VERSION = 2
MAX_REPLAYED = 100_000_000
"""Rows of a lane that could at most lie between its oldest waiting row and its cursor."""

MAX_EPOCH = 2**30
"""A row's epoch is 32 bits of its record."""

NUM_REMEMBERED = 16
"""How many of the last batches a state can be asked for."""

Fingerprint = dict[str, Any]
State = dict[str, Any]


class LaneState(NamedTuple):
    """Where a lane stands, what it has counted so far, and what its last rows were like."""

    position: LanePosition
    counts: Counts
    window: Window


@dataclass
class Progress:
    """What one rank has handed over.

    Attributes:
        batch: The global batch that all ranks go on with.
        step: Global batches from one of the rank's to the next, which is the number of ranks.
        passed: Where the pass started that `batch` belongs to, or is the end of.
        lanes: The rank's own lanes.
        counted: What is counted, in the order in which a lane lists it.
    """

    step: int
    lanes: dict[int, LaneState]
    counted: tuple[str, ...] = COUNTED
    batch: int = 0
    passed: PassStart = FIRST_PASS
    _undo: deque[tuple[int, LaneState, PassStart]] = field(default_factory=lambda: deque(maxlen=NUM_REMEMBERED))

    @classmethod
    def at_start(cls, lanes: Iterable[int], *, step: int, counted: tuple[str, ...] = COUNTED) -> "Progress":
        return cls(step, {lane: LaneState(START, Counts(), Window()) for lane in lanes}, counted)

    def fold(self, lane: int, position: LanePosition, counts: Counts, window: Window) -> None:
        """One more batch is handed over."""
        before = self.lanes[lane]
        self._undo.append((lane, before, self.passed))
        self.lanes[lane] = LaneState(position, before.counts + counts, window)
        self.batch += self.step

    def as_of(self, batch: int) -> "Progress":
        """The progress as it was when `batch` was the batch to go on with.

        Raises:
            StateError: that is longer ago than is remembered, or never was.
        """
        steps, rest = divmod(self.batch - batch, self.step) if type(batch) is int else (0, 1)
        if rest or not 0 <= steps <= len(self._undo):
            known = [self.batch - self.step * ago for ago in reversed(range(len(self._undo) + 1))]
            raise StateError(
                f"state_dict(batch={batch!r}): only the last {NUM_REMEMBERED} batches are remembered; this rank knows "
                f"the state at batch {', '.join(map(str, known))}"
            )
        past = copy(self)
        past.lanes, past.batch = dict(self.lanes), batch
        undo = list(self._undo)
        for lane, before, passed in undo[len(undo) - steps :][::-1]:
            past.lanes[lane], past.passed = before, passed
        if 0 < steps < len(undo):
            past.passed = undo[-steps - 1][2]  # at the end of a pass, that of the batch before
        return past

    @property
    def counts(self) -> Counts:
        """What all lanes have counted."""
        return sum((lane.counts for lane in self.lanes.values()), Counts())


def to_state(progress: Progress, fingerprint: Fingerprint) -> State:
    """The progress as plain values."""
    return {
        "version": VERSION,
        "fingerprint": dict(fingerprint),
        "batch": progress.batch,
        "pass": progress.passed._asdict(),
        "lanes": {str(lane): _to_entry(progress.lanes[lane], progress.counted) for lane in sorted(progress.lanes)},
        "stats": named(progress.counts),
    }


def from_state(state: State, *, lanes: Iterable[int], step: int, counted: tuple[str, ...] = COUNTED) -> Progress:
    """The progress of a rank that owns `lanes`, from a state that holds at least those.

    Raises:
        StateError: the state lacks one of them.
    """
    own = list(lanes)
    missing = [lane for lane in own if str(lane) not in state["lanes"]]
    if missing:
        raise StateError(
            f"the state holds {len(state['lanes'])} of {state['fingerprint']['lanes']} lanes, and this rank needs lane "
            f"{missing[0]} as well; put the states of all ranks together with merge_states([...])"
        )
    if too_long := [lane for lane in own if len(state["lanes"][str(lane)]["stats"]) > len(counted)]:
        raise StateError(f"the state is torn: lane {too_long[0]} has counted more than this stream counts")
    found = {lane: _from_entry(state["lanes"][str(lane)], counted) for lane in own}
    return Progress(step, found, counted, state["batch"], _pass_of(state))


def merge_states(states: Sequence[State]) -> State:
    """One state of all ranks' states, which any number of ranks that divides the lanes can load.

    Raises:
        StateError: they are not of one moment of one stream, overlap, or leave a lane out.
    """
    states = [require_form(state) for state in states or ()]
    if not states:
        raise StateError("merge_states: got no state; pass the state of each rank")
    first = states[0]
    for other in states[1:]:
        if other["fingerprint"] != first["fingerprint"]:
            raise StateError(f"merge_states: the states are of different streams: {_differences(other, first)}")
        for key in ("batch", "pass"):
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
    return {**first, "lanes": {lane: lanes[lane] for lane in sorted(lanes, key=int)}, "stats": named(stats)}


def require_form(state: object) -> State:
    """`state`, where it is one.

    Raises:
        StateError: it is no state, one of another version, or torn.
    """
    if not isinstance(state, Mapping) or "version" not in state:
        raise StateError(f"a state is the dict that loader.state_dict() returns; got {shown(state)}")
    if state["version"] != VERSION:
        raise StateError(f"the state has version {shown(state['version'])}, and this package reads version {VERSION}")
    try:
        _require_numbers(state)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise StateError(f"the state is torn: {type(error).__name__}: {error}; use an older one") from None
    return dict(state)


def _require_numbers(state: Mapping[str, Any]) -> None:
    """Raises `ValueError`, or what a wrong type raises, where a value cannot have been written by `to_state`."""
    num_lanes, passed = state["fingerprint"]["lanes"], state["pass"]
    _require_naturals("the head", state["batch"], num_lanes, *_pass_of(state), *state["stats"].values())
    if state["batch"] < passed["batch"]:
        raise ValueError(f"batch {state['batch']} lies before its pass, which starts at {passed['batch']}")
    if num_lanes == 0:
        raise ValueError("it has no lanes")
    for name, entry in state["lanes"].items():
        _require_naturals(f"lane {name}", *entry["stats"], *Window(*entry["window"]))
        _require_position(f"lane {name}", entry)
        if name != str(int(name)) or not 0 <= int(name) < num_lanes:
            raise ValueError(f"there is no lane {name!r}")


def _require_position(where: str, entry: Mapping[str, Any]) -> None:
    """The same for where a lane stands, or a child of a mixture in it."""
    children, turns = entry.get("children", ()), entry.get("turns", ())
    _require_naturals(where, entry["epoch"], entry["shard"], entry["row"], *entry["waiting"], *turns)
    is_possible = entry["epoch"] <= MAX_EPOCH and all(entry["waiting"]) and sum(entry["waiting"]) <= MAX_REPLAYED
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

    Where bad rows raised, none was left out so far, and one may go on and skip them.
    """
    if isinstance(ignore, str):
        ignore = [ignore]
    if unknown := [name for name in ignore if name not in fingerprint or name == "lanes"]:
        known = ", ".join(name for name in fingerprint if name != "lanes")
        raise StateError(f"ignore={list(ignore)}: {unknown[0]} cannot be ignored; known: {known}")
    saved, own = state["fingerprint"], {"fingerprint": fingerprint}
    if saved.get("faults", "raise") == "raise":
        ignore = [*ignore, "faults"]
    if differences := _differences(state, own, ignore=ignore):
        remedies = [] if saved["lanes"] == fingerprint["lanes"] else [f"set lanes: {saved['lanes']} in the config"]
        if _differences(state, own, ignore=[*ignore, "lanes"]):
            remedies.append(
                "undo the change, or go on regardless with ignore=[...] and these names, which gives up that no row is "
                "lost or repeated"
            )
        raise StateError(f"the state is of another stream: {differences}; {'; '.join(remedies)}")


def _differences(state: Mapping[str, Any], other: Mapping[str, Any], *, ignore: Sequence[str] = ()) -> str:
    saved, own = state["fingerprint"], other["fingerprint"]
    names = [name for name in {**own, **saved} if name not in ignore and saved.get(name) != own.get(name)]
    return ", ".join(f"{name} was {saved.get(name)} and is {own.get(name)}" for name in names)


def _pass_of(state: Mapping[str, Any]) -> PassStart:
    passed = state["pass"]
    return PassStart(passed["epoch"], passed["batch"], passed["min_batches"])


def _to_entry(lane: LaneState, counted: Sequence[str]) -> dict[str, Any]:
    return {
        **_to_place(lane.position),
        "stats": listed(lane.counts, counted),
        "window": list(lane.window),
    }


def _from_entry(entry: Mapping[str, Any], counted: Sequence[str]) -> LaneState:
    return LaneState(_from_place(entry), unlisted(entry["stats"], counted), Window(*entry["window"]))


def _to_place(position: LanePosition) -> dict[str, Any]:
    """A position; only one in a mixture has children."""
    place = {**position.place._asdict(), "waiting": list(position.runs)}
    if position.children:
        place["turns"] = list(position.turns)
        place["children"] = [
            {**_to_place(child.position), "drawn": child.drawn, "ended": int(child.ended)}
            for child in position.children
        ]
    return place


def _from_place(entry: Mapping[str, Any]) -> LanePosition:
    children = (
        ChildPosition(_from_place(child), child["drawn"], bool(child["ended"])) for child in entry.get("children", ())
    )
    return LanePosition(
        Place(entry["epoch"], entry["shard"], entry["row"]),
        tuple(map(int, entry["waiting"])),
        tuple(children),
        tuple(entry.get("turns", ())),
    )
