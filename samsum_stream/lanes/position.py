"""The position of a lane: a row to start at, and which examples from there to the cursor wait for a pack.

examples of the lane   ... 40 41 42 43 44 45 46 47 | 48 ...
                            w  w  .  .  w  .  w  .   ^ cursor: the next example
start: the row of example 40, waiting: (2, 2, 1, 1, 1, 1) = two wait, two are done, one waits, ...
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from samsum_stream.values.arrays import BoolArray


class Cursor(NamedTuple):
    """A row in the order of a lane. Cursors compare in reading order.

    Attributes:
        epoch: The epoch of the source.
        shard: The index of the shard in the order of the epoch; 0 for an indexed source.
        row: The number of the row among the rows of the lane in this shard.
    """

    epoch: int
    shard: int
    row: int


class LanePosition(NamedTuple):
    """The position of a lane.

    Attributes:
        start: The row at which reading starts. In a mixture only its epoch counts, and the children have rows.
        waiting: Lengths of runs of examples, from the first example of the row at `start` to the cursor of the lane.
            The runs alternate between examples that wait and examples that are done. The first run is of examples that
            wait, and its length may be 0.
        children: The positions of the children of a mixture; empty at the start of an epoch.
        turns: The children whose examples wait, in the order in which the examples were drawn.
    """

    start: Cursor
    waiting: tuple[int, ...]
    children: tuple["ChildPosition", ...] = ()
    turns: tuple[int, ...] = ()

    @property
    def num_waiting(self) -> int:
        """The number of examples that wait, those of children included."""
        return sum(self.waiting[::2]) + sum(child.position.num_waiting for child in self.children)

    def of_children(self, number: int) -> tuple["ChildPosition", ...]:
        """The position of each of `number` children."""
        return self.children or (ChildPosition(start_of(self.start.epoch), 0, False),) * number


class ChildPosition(NamedTuple):
    """The position of a mixture's child in a lane.

    Attributes:
        position: The position.
        drawn: The rows or tokens that were drawn since the first epoch of the stream. They determine the next draws.
        ended: Whether the child has ended in this epoch of the mixture.
    """

    position: LanePosition
    drawn: int
    ended: bool


class EpochRun(NamedTuple):
    """The start of a run over the epochs of a finite stream.

    Attributes:
        epoch: The first epoch of the run.
        batch: The first global batch of the run.
        min_batches: A lower bound for the batches of a lane in an epoch. At the start of a run, it is the number of the
            previous run, because runs never shrink. During a run, it is the number of this run.
    """

    epoch: int
    batch: int
    min_batches: int


def start_of(epoch: int) -> LanePosition:
    """The position of every lane at the start of an epoch."""
    return LanePosition(Cursor(epoch, 0, 0), ())


START = start_of(0)
FIRST_RUN = EpochRun(0, 0, 0)


def waiting_runs(waiting: Sequence[int], *, start: int, end: int) -> tuple[int, ...]:
    """The run lengths of `LanePosition.waiting`.

    Args:
        waiting: The indices of the examples that wait, ascending, in `[start, end)`.
        start: The index of the first example.
        end: The index of the lane's cursor.
    """
    runs: list[int] = []
    index = start
    for example in (*waiting, end):
        if example > index:
            runs += [example - index] if runs else [0, example - index]
        if example < end:
            if len(runs) % 2:
                runs[-1] += 1
            else:
                runs.append(1)
        index = example + 1
    return tuple(runs)


def is_waiting(runs: Sequence[int]) -> BoolArray:
    """Whether each of the examples before the lane's cursor waits, shape `[sum(runs)]`."""
    return np.repeat(np.arange(len(runs)) % 2 == 0, runs)
