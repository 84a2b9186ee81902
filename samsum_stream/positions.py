"""Where a lane stands: a place to read on from, and which of the rows before its cursor still wait for a pack.

rows of the lane   ... 40 41 42 43 44 45 46 47 | 48 ...
                        w  w  .  .  w  .  w  .   ^ cursor
place 40, runs (2, 2, 1, 1, 1, 1): two wait, two are done, one waits, ...
"""

from collections.abc import Sequence
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
    """

    place: Place
    runs: tuple[int, ...]


class PassStart(NamedTuple):
    """Where a pass over the epochs of a finite stream starts.

    `epoch` is its first one, `batch` its first global batch; `min_batches` is how many batches a lane has in an epoch
    at least. Before the pass is planned those are the ones of the pass before: passes grow where packs need it, and
    never shrink, so that their lengths hardly ever differ. Afterwards they are its own, so that it stays as it is.
    """

    epoch: int
    batch: int
    min_batches: int


START = LanePosition(Place(0, 0, 0), ())
FIRST_PASS = PassStart(0, 0, 0)


def runs_of(waiting: Sequence[int], *, cursor: int) -> tuple[int, ...]:
    """The runs from the first of `waiting`, which ascend, to `cursor`."""
    if not waiting:
        return ()
    waits = np.zeros(cursor - waiting[0], np.bool_)
    waits[np.array(waiting) - waiting[0]] = True
    borders = [0, *(np.flatnonzero(np.diff(waits)) + 1).tolist(), len(waits)]
    return tuple(np.diff(borders).tolist())


def waits_of(runs: Sequence[int]) -> NDArray[np.bool_]:
    """Whether each of the rows before the cursor waits, shape `[sum(runs)]`."""
    return np.repeat(np.arange(len(runs)) % 2 == 0, runs)
