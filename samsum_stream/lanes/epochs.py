"""An epoch of a lane dealt over a number of batches that is the same for all lanes.

p = 7 packs, N = 3 batches    [0 1] [2 3] [4 5 6]     batch i takes packs floor(i p / N) up to floor((i + 1) p / N)
p = 2 packs, N = 3 batches    [0a] [0b] [1]           packs are split between examples until there are N
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from samsum_stream.errors import SourceError
from samsum_stream.lanes.position import PassStart


@dataclass(frozen=True)
class Ends:
    """How the epochs of one pass are dealt.

    Attributes:
        start: Where the pass starts.
        num_batches: Batches of a lane in an epoch, the same for all.
        num_packs: Packs of each epoch of the pass in each lane, `[epochs][V]`.
    """

    start: PassStart
    num_batches: int
    num_packs: tuple[tuple[int, ...], ...]

    @property
    def num_lanes(self) -> int:
        return len(self.num_packs[0])

    @property
    def end_batch(self) -> int:
        """The global batch behind the last one."""
        return self.start.batch + len(self.num_packs) * self.batches_in_epoch

    @property
    def batches_in_epoch(self) -> int:
        """Global batches of an epoch."""
        return self.num_lanes * self.num_batches

    def left_in_epoch(self, batch: int) -> int:
        """Global batches from `batch` to the end of its epoch."""
        return self.batches_in_epoch - (batch - self.start.batch) % self.batches_in_epoch

    def epochs_before(self, batch: int) -> float:
        """Epochs that end before `batch`, and the share of its own."""
        return self.start.epoch + (batch - self.start.batch) / self.batches_in_epoch

    def share_filled(self, batch_size: int) -> float:
        """The share of places for a pack that have one; in a layout of fixed shape, the others are padding."""
        return sum(map(sum, self.num_packs)) / (len(self.num_packs) * self.batches_in_epoch * batch_size)

    @property
    def next(self) -> PassStart:
        """Where the next pass starts."""
        return PassStart(self.start.epoch + len(self.num_packs), self.end_batch, self.num_batches)


T = TypeVar("T")


def dealt(num_packs: int, num_batches: int) -> list[int]:
    """How many packs each batch takes, `[num_batches]`: they differ by one at most."""
    ends = [index * num_packs // num_batches for index in range(num_batches + 1)]
    return [end - start for start, end in pairwise(ends)]


def split_packs(packs: Sequence[Sequence[T]], num_pieces: int) -> list[Sequence[T]]:
    """`packs`, cut between examples into `num_pieces` pieces, in order; the packs with most examples are cut most.

    Raises:
        SourceError: there are fewer examples than pieces.
    """
    num_examples = sum(map(len, packs))
    if num_examples < num_pieces:
        raise SourceError(
            f"a lane has {num_examples} examples in an epoch, and needs one for each of {num_pieces} batches, so that "
            "every rank gets as many batches as the others; lower lanes, or make larger batches"
        )
    cuts = [1] * len(packs)
    largest: list[tuple[float, int]] = [(-len(pack), index) for index, pack in enumerate(packs)]
    heapq.heapify(largest)
    for _ in range(num_pieces - len(packs)):
        _, index = largest[0]
        cuts[index] += 1
        heapq.heapreplace(largest, (-len(packs[index]) / cuts[index], index))
    return [piece for pack, number in zip(packs, cuts, strict=True) for piece in _pieces(pack, number)]


def _pieces(pack: Sequence[T], number: int) -> Iterator[Sequence[T]]:
    ends = [index * len(pack) // number for index in range(number + 1)]
    return (pack[start:end] for start, end in pairwise(ends))
