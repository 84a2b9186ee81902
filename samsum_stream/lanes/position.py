"""Where a lane stands: a place to read on from, and which of the rows before its cursor still wait for a pack.

rows of the lane   ... 40 41 42 43 44 45 46 47 | 48 ...
                        w  w  .  .  w  .  w  .   ^ cursor
place 40, runs (2, 2, 1, 1, 1, 1): two wait, two are done, one waits, ...
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Place(NamedTuple):
    """A row of a lane's order; places compare as the lane reads them.

    `shard` counts the shards in the epoch's order, and `row` the lane's own rows there. An indexed source counts as
    one shard.
    """

    epoch: int
    shard: int
    row: int


class LanePosition(NamedTuple):
    """Where reading on starts, and how the rows from there to the cursor are used up.

    `runs` are lengths of runs of rows, alternately of rows that wait and of rows that are done; the first run waits.

    In a mixture it is the children that have places and runs, and `place` says the epoch alone. `turns` are the
    children whose rows wait, in the order in which they were drawn. At the start of an epoch there are no `children`.
    """

    place: Place
    runs: tuple[int, ...]
    children: tuple["ChildPosition", ...] = ()
    turns: tuple[int, ...] = ()

    def of_children(self, number: int) -> tuple["ChildPosition", ...]:
        """Where each of so many children stands."""
        return self.children or (ChildPosition(start_of(self.place.epoch), 0, False),) * number


class ChildPosition(NamedTuple):
    """Where a child of a mixture stands in a lane.

    `drawn` are its rows or tokens since the epoch of the stream began, which its share is kept by; `ended` is whether
    it has come to an end in this epoch of the mixture.
    """

    position: LanePosition
    drawn: int
    ended: bool


class PassStart(NamedTuple):
    """Where a pass over the epochs of a finite stream starts.

    `epoch` is its first one, `batch` its first global batch; `min_batches` is how many batches a lane has in an epoch
    at least. Before the pass is planned those are the ones of the pass before: passes grow where packs need it, and
    never shrink, so that their lengths hardly ever differ. Afterwards they are its own, so that it stays as it is.
    """

    epoch: int
    batch: int
    min_batches: int


def start_of(epoch: int) -> LanePosition:
    """Where every lane stands at the start of an epoch."""
    return LanePosition(Place(epoch, 0, 0), ())


START = start_of(0)
FIRST_PASS = PassStart(0, 0, 0)


def runs_of(waiting: Sequence[int], *, cursor: int) -> tuple[int, ...]:
    """The runs from the first of `waiting`, which ascend, to `cursor`."""
    runs: list[int] = []
    for row, following in pairwise([*waiting, cursor]):
        if len(runs) % 2:
            runs[-1] += 1
        else:
            runs.append(1)
        if following > row + 1:
            runs.append(following - row - 1)
    return tuple(runs)


def waits_of(runs: Sequence[int]) -> NDArray[np.bool_]:
    """Whether each of the rows before the cursor waits, shape `[sum(runs)]`."""
    return np.repeat(np.arange(len(runs)) % 2 == 0, runs)
