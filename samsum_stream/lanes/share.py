"""Who reads which row, and in which order, as pure arithmetic.

The rows are divided into `V` lanes. Lane `v` reads the rows at `v, v + V, v + 2V, ...` of the epoch's
permutation, and global batch `m` is the next batch of lane `m mod V`: the order is a function of
(seed, epoch, number of lanes) alone, whoever reads it.
"""

from collections.abc import Iterable
from itertools import count
from math import lcm
from typing import NamedTuple

from samsum_stream.errors import TopologyError

COMMON_TOPOLOGIES = 24
"""Its divisors 1, 2, 3, 4, 6, 8, 12, 24 are the numbers of readers that one number of lanes should serve."""


MIN_ROWS_PER_LANE = 512


def choose_num_lanes(num_rows: int, num_readers: int) -> int:
    """What `lanes: auto` means: the most lanes that suit common topologies and have rows enough to pack well.

    It is the largest divisor of `lcm(24, num_readers)` that is a multiple of `num_readers` and leaves each lane
    at least 512 rows, else `num_readers`.
    """
    total = lcm(COMMON_TOPOLOGIES, num_readers)
    fitting = [
        lanes
        for lanes in range(num_readers, total + 1, num_readers)
        if total % lanes == 0 and num_rows >= lanes * MIN_ROWS_PER_LANE
    ]
    return max(fitting, default=num_readers)


def check_num_lanes(num_lanes: int, *, num_rows: int | None, ranks: int = 1, workers: int = 1) -> None:
    """Raises `TopologyError` where ranks and workers cannot share the lanes evenly, or a lane would be empty."""
    for number, readers, lanes in ((ranks, "ranks", num_lanes), (workers, "workers", num_lanes // ranks)):
        if lanes % number:
            valid = ", ".join(str(divisor) for divisor in range(1, lanes + 1) if lanes % divisor == 0)
            raise TopologyError(
                f"lanes: {lanes} lanes cannot be shared evenly by {number} {readers}; use {valid} {readers}, or in "
                "a new run lanes: auto or another number"
            )
    if num_rows is not None and num_rows < num_lanes:
        raise TopologyError(
            f"lanes: {num_lanes} lanes need as many rows, but the source has {num_rows}; use fewer lanes, or fewer "
            "ranks and workers"
        )


def fitting_workers(num_lanes: int, *, world_size: int, num_workers: int) -> int:
    """The most workers of a rank, up to `num_workers`, that share the lanes evenly."""
    share = num_lanes // world_size
    return max((workers for workers in range(1, num_workers + 1) if share % workers == 0), default=0)


class Share(NamedTuple):
    """The global batches that one worker of one rank makes, when all ranks start at global batch `start`.

    A rank makes every `world_size`-th batch, and a DataLoader asks its workers in turn, so that together they give
    the global order.
    """

    start: int
    rank: int = 0
    world_size: int = 1
    worker: int = 0
    num_workers: int = 1

    @property
    def first(self) -> int:
        """The worker's first global batch."""
        return self.start + (self.rank - self.start) % self.world_size + self.worker * self.world_size

    @property
    def step(self) -> int:
        """How many global batches lie from one of the worker's to the next."""
        return self.world_size * self.num_workers

    def lanes(self, num_lanes: int) -> range:
        """The lanes that these batches come from; all workers of all ranks together have each lane once."""
        return range(self.first % self.step, num_lanes, self.step)

    def batches(self, end: int | None) -> Iterable[int]:
        """The worker's global batches in order: to `end`, and for ever without one.

        Where the ranks cannot share those before `end` evenly, some go on behind it, so that all make as many.
        """
        if end is None:
            return count(self.first, self.step)
        num_rounds = -(-(end - self.start) // self.world_size)
        return range(self.first, self.start + num_rounds * self.world_size, self.step)
