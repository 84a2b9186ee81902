"""An epoch of a lane, partitioned over a number of batches that is the same for all lanes.

p = 7 packs, N = 3 batches    [0 1] [2 3] [4 5 6]     batch i has the packs floor(i p / N) up to floor((i + 1) p / N)
p = 2 packs, N = 3 batches    [0a] [0b] [1]           packs are split between examples until there are N
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from samsum_stream.errors import SourceError
from samsum_stream.errors.wording import counted
from samsum_stream.lanes.position import EpochRun

T = TypeVar("T")


@dataclass(frozen=True)
class EpochPlan:
    """The batches of one run over the epochs of a finite stream.

    Attributes:
        run: The start of the run.
        num_batches: The batches of a lane in an epoch, the same for all lanes.
        num_packs: The packs of each lane in each epoch of the run, `[epochs][V]`.
    """

    run: EpochRun
    num_batches: int
    num_packs: tuple[tuple[int, ...], ...]

    @property
    def num_lanes(self) -> int:
        """The number of lanes."""
        return len(self.num_packs[0])

    @property
    def end_batch(self) -> int:
        """The global batch after the last one of the run."""
        return self.run.batch + len(self.num_packs) * self.batches_in_epoch

    @property
    def batches_in_epoch(self) -> int:
        """The global batches of an epoch."""
        return self.num_lanes * self.num_batches

    def left_in_epoch(self, batch: int) -> int:
        """The global batches from `batch` to the end of its epoch."""
        return self.batches_in_epoch - (batch - self.run.batch) % self.batches_in_epoch

    def epochs_before(self, batch: int) -> float:
        """The epochs before `batch`, with the share of its own epoch."""
        return self.run.epoch + (batch - self.run.batch) / self.batches_in_epoch

    def share_filled(self, batch_size: int) -> float:
        """The share of the slots of all batches that hold a pack, 0 to 1. In fixed shapes, the rest is padding."""
        return sum(map(sum, self.num_packs)) / (len(self.num_packs) * self.batches_in_epoch * batch_size)

    @property
    def next_run(self) -> EpochRun:
        """The start of the next run."""
        return EpochRun(self.run.epoch + len(self.num_packs), self.end_batch, self.num_batches)


def partition(num_packs: int, num_batches: int) -> list[int]:
    """The number of packs of each batch, `[num_batches]`; the numbers differ by at most one."""
    ends = [index * num_packs // num_batches for index in range(num_batches + 1)]
    return [end - start for start, end in pairwise(ends)]


def split_packs(packs: Sequence[Sequence[T]], num_pieces: int) -> list[Sequence[T]]:
    """Split packs between examples into `num_pieces` pieces, in order. The pack with the most examples per piece is
    split next.

    Raises:
        SourceError: there are fewer examples than pieces.
    """
    num_examples = sum(map(len, packs))
    if num_examples < num_pieces:
        raise SourceError(
            f"a lane has {counted(num_examples, 'example')} in an epoch, and needs one for each of {num_pieces} "
            "batches, so that every rank gets the same number of batches; lower lanes, or make larger batches"
        )
    numbers = [1] * len(packs)
    largest: list[tuple[float, int]] = [(-len(pack), index) for index, pack in enumerate(packs)]
    heapq.heapify(largest)
    for _ in range(num_pieces - len(packs)):
        _, index = largest[0]
        numbers[index] += 1
        heapq.heapreplace(largest, (-len(packs[index]) / numbers[index], index))
    return [piece for pack, number in zip(packs, numbers, strict=True) for piece in _pieces(pack, number)]


def _pieces(pack: Sequence[T], number: int) -> Iterator[Sequence[T]]:
    ends = [index * len(pack) // number for index in range(number + 1)]
    return (pack[start:end] for start, end in pairwise(ends))
