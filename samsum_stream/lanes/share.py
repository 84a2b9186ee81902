"""The global batches and the lanes that each worker of each rank reads, as pure arithmetic.

global batch   0 1 2 3 4 5 6 7 8 ...     `V` lanes partition the rows; batch `m` is the next batch of lane `m mod V`
lane           0 1 2 3 0 1 2 3 0 ...     V = 4
rank           0 1 0 1 0 1 0 1 0 ...     2 ranks

Therefore the order of the batches does not depend on the number of ranks and workers.
"""

from collections.abc import Iterable
from itertools import count
from math import lcm
from typing import NamedTuple

from samsum_stream.errors import TopologyError

COMMON_TOPOLOGIES = 24
"""A number of lanes that 1, 2, 3, 4, 6, 8, 12 or 24 readers can share evenly."""

MIN_ROWS_PER_LANE = 512
"""The fewest rows of a lane with `lanes: auto`: with fewer rows, packs of the lane are less full."""


def choose_num_lanes(num_rows: int, num_readers: int) -> int:
    """The number of lanes for `lanes: auto`: the most lanes that suit common topologies and that can be packed well.

    This is the largest divisor of `lcm(24, num_readers)` that is a multiple of `num_readers` and leaves each lane at
    least 512 rows. If there is none, it is `num_readers`.

    Args:
        num_rows: The rows of an epoch.
        num_readers: The workers of all ranks together.
    """
    total = lcm(COMMON_TOPOLOGIES, num_readers)
    fitting = [
        lanes
        for lanes in range(num_readers, total + 1, num_readers)
        if total % lanes == 0 and num_rows >= lanes * MIN_ROWS_PER_LANE
    ]
    return max(fitting, default=num_readers)


def check_num_lanes(num_lanes: int, *, num_rows: int | None, ranks: int = 1, workers: int = 1) -> None:
    """Raise `TopologyError` if ranks and workers cannot share the lanes evenly, or if there are fewer rows than lanes.

    Args:
        num_lanes: The number of lanes.
        num_rows: The rows of an epoch; None if the number is unknown.
        ranks: The number of ranks.
        workers: The workers of each rank.
    """
    for number, readers, lanes in ((ranks, "ranks", num_lanes), (workers, "workers", num_lanes // ranks)):
        if lanes % number:
            valid = ", ".join(str(divisor) for divisor in range(1, lanes + 1) if lanes % divisor == 0)
            raise TopologyError(
                f"lanes: {lanes} lanes cannot be shared evenly by {number} {readers}; use {valid} {readers}, or set "
                "lanes: auto or another number in a new run"
            )
    if num_rows is not None and num_rows < num_lanes:
        raise TopologyError(
            f"lanes: {num_lanes} lanes need at least {num_lanes} rows, but the source has {num_rows}; use fewer lanes, "
            "or fewer ranks and workers"
        )


def fitting_workers(num_lanes: int, *, world_size: int, num_workers: int) -> int:
    """The largest number of workers per rank, up to `num_workers`, that can share the lanes evenly."""
    share = num_lanes // world_size
    return max((workers for workers in range(1, num_workers + 1) if share % workers == 0), default=0)


class Share(NamedTuple):
    """The global batches that one worker of one rank produces.

    A rank gets every `world_size`-th batch. A DataLoader takes the batches of its workers in turn. Therefore the ranks
    and workers together yield the global order.

    Attributes:
        start: The global batch at which all ranks start.
        rank: The rank.
        world_size: The number of ranks.
        worker: The number of the worker in its rank.
        num_workers: The workers of each rank.
    """

    start: int
    rank: int = 0
    world_size: int = 1
    worker: int = 0
    num_workers: int = 1

    @property
    def first(self) -> int:
        """The first global batch of the worker."""
        return self.start + (self.rank - self.start) % self.world_size + self.worker * self.world_size

    @property
    def step(self) -> int:
        """The number of global batches from one batch of the worker to its next one."""
        return self.world_size * self.num_workers

    def lanes(self, num_lanes: int) -> range:
        """The lanes of these batches. Each lane belongs to one worker of one rank."""
        return range(self.first % self.step, num_lanes, self.step)

    def batches(self, end: int | None) -> Iterable[int]:
        """The global batches of the worker, in order.

        Args:
            end: The global batch after the last one; None for an endless stream. If the ranks cannot share the batches
                before `end` evenly, some ranks continue after `end`, so that all ranks get the same number.
        """
        if end is None:
            return count(self.first, self.step)
        num_rounds = -(-(end - self.start) // self.world_size)
        return range(self.first, self.start + num_rounds * self.world_size, self.step)
