"""Sequences of different lengths in one array."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Int32Array = NDArray[np.int32]


Int64Array = NDArray[np.int64]


class Ragged(NamedTuple):
    """Sequences of different lengths, end to end: sequence `i` is `ids[offsets[i]:offsets[i + 1]]`."""

    ids: Int32Array
    offsets: Int64Array

    @property
    def lengths(self) -> Int64Array:
        return self.offsets[1:] - self.offsets[:-1]

    @classmethod
    def of(cls, sequences: Sequence[Int32Array]) -> "Ragged":
        ids = np.concatenate(sequences) if sequences else np.empty(0, np.int32)
        return cls(ids, offsets_of([len(sequence) for sequence in sequences]))

    def replace(self, sequences: Mapping[int, Int32Array]) -> "Ragged":
        """A copy in which the sequences at some indices are others."""
        if not sequences:
            return self
        return Ragged.of([sequences.get(index, sequence) for index, sequence in enumerate(self.split())])

    def split(self) -> list[Int32Array]:
        """One view per sequence."""
        ends = self.offsets.tolist()
        return [self.ids[start:end] for start, end in pairwise(ends)]


def offsets_of(lengths: Sequence[int] | Int64Array | Int32Array) -> Int64Array:
    """`[0, l0, l0 + l1, ...]`: where sequences of these lengths start, and where the last one ends."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
