"""An epoch of a lane dealt over a number of batches that is the same for all lanes.

p = 7 packs, N = 3 batches    [0 1] [2 3] [4 5 6]     batch i takes packs floor(i p / N) up to floor((i + 1) p / N)
p = 2 packs, N = 3 batches    [0a] [0b] [1]           packs are split between examples until there are N
"""

import heapq
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

from samsum_stream.errors import SourceError

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
