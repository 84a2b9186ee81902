"""What one rank has delivered: the position and the counts of each of its lanes, and the last few of both."""

from collections import deque
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, field
from typing import NamedTuple

from samsum_stream.errors import StateError
from samsum_stream.lanes.position import FIRST_RUN, START, EpochRun, LanePosition
from samsum_stream.sources.faults import Window
from samsum_stream.values.counts import COUNTED, Counts, by_reason

NUM_REMEMBERED = 16
"""The number of last batches for which a state can be returned."""


class LaneState(NamedTuple):
    """The state of one lane.

    Attributes:
        position: The position of the lane.
        counts: What the lane has counted.
        window: Its last rows, for the rate of bad rows.
    """

    position: LanePosition
    counts: Counts
    window: Window


@dataclass
class Progress:
    """What one rank has delivered.

    Attributes:
        step: The global batches from one batch of the rank to the next, which is the number of ranks.
        lanes: The lanes of the rank.
        counted: The names of the counts, in the order in which a lane lists their numbers.
        batch: The next global batch of all ranks.
        run: The start of the run that `batch` belongs to, or that ends at `batch`.
    """

    step: int
    lanes: dict[int, LaneState]
    counted: tuple[str, ...] = COUNTED
    batch: int = 0
    run: EpochRun = FIRST_RUN
    _undo: deque[tuple[int, LaneState, EpochRun]] = field(default_factory=lambda: deque(maxlen=NUM_REMEMBERED))

    @classmethod
    def at_start(cls, lanes: Iterable[int], *, step: int, counted: tuple[str, ...] = COUNTED) -> "Progress":
        """The progress before the first batch."""
        return cls(step, {lane: LaneState(START, Counts(), Window()) for lane in lanes}, counted)

    def advance(self, lane: int, position: LanePosition, counts: Counts, window: Window) -> None:
        """Add one delivered batch."""
        before = self.lanes[lane]
        self._undo.append((lane, before, self.run))
        self.lanes[lane] = LaneState(position, before.counts + counts, window)
        self.batch += self.step

    def as_of(self, batch: int) -> "Progress":
        """The progress when `batch` was the next batch.

        Raises:
            StateError: the batch is older than the remembered ones, or was never the next batch of this rank.
        """
        steps, rest = divmod(self.batch - batch, self.step) if type(batch) is int else (0, 1)
        if rest or not 0 <= steps <= len(self._undo):
            known = [self.batch - self.step * ago for ago in reversed(range(len(self._undo) + 1))]
            raise StateError(
                f"state_dict(batch={batch!r}): only the last {NUM_REMEMBERED} batches are remembered; pass one of the "
                f"batches that this rank remembers: {', '.join(map(str, known))}"
            )
        past = copy(self)
        past.lanes, past.batch = dict(self.lanes), batch
        undo = list(self._undo)
        for lane, before, run in undo[len(undo) - steps :][::-1]:
            past.lanes[lane], past.run = before, run
        if 0 < steps < len(undo):
            past.run = undo[-steps - 1][2]  # at the end of a run, the run of the batch before
        return past

    @property
    def rows_delivered(self) -> float:
        """The rows that the lanes have passed, without the share of those whose examples wait for a pack."""
        counts = self.counts
        waiting = sum(lane.position.num_waiting for lane in self.lanes.values())
        left_out = by_reason(counts, "dropped").total() + by_reason(counts, "skipped").total()
        passed = counts["examples"] + left_out + waiting
        return counts["rows"] * (1 - waiting / passed) if passed else 0.0

    @property
    def counts(self) -> Counts:
        """What all lanes have counted."""
        return sum((lane.counts for lane in self.lanes.values()), Counts())
