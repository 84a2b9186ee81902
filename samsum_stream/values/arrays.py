"""Sequences of different lengths in one array."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]


class Ragged(NamedTuple):
    """Sequences of different lengths, end to end: sequence `i` is `ids[offsets[i]:offsets[i + 1]]`.

    Attributes:
        ids: The elements of all `n` sequences, shape `[sum of lengths]`.
        offsets: The start of each sequence, then the end of the last one, shape `[n + 1]`.
    """

    ids: Int32Array
    offsets: Int64Array

    @property
    def lengths(self) -> Int64Array:
        """The length of each sequence, shape `[n]`."""
        return self.offsets[1:] - self.offsets[:-1]

    @classmethod
    def of(cls, sequences: Sequence[Int32Array]) -> "Ragged":
        """The sequences, copied into one array."""
        ids = np.concatenate(sequences) if sequences else np.empty(0, np.int32)
        return cls(ids, offsets_of([len(sequence) for sequence in sequences]))

    def joined(self, groups: "Ragged") -> "Ragged":
        """The sequences of each group, joined; a group lists the indices of sequences, which may repeat."""
        lengths = self.lengths[groups.ids]
        offsets = offsets_of(lengths)
        starts = np.repeat(self.offsets[groups.ids] - offsets[:-1], lengths)
        return Ragged(self.ids[starts + np.arange(offsets[-1])], offsets[groups.offsets])

    def replace(self, sequences: Mapping[int, Int32Array]) -> "Ragged":
        """A copy in which `sequences` replace the sequences at their indices."""
        if not sequences:
            return self
        return Ragged.of([sequences.get(index, sequence) for index, sequence in enumerate(self.split())])

    def split(self) -> list[Int32Array]:
        """One view for each sequence."""
        return [self.ids[start:end] for start, end in pairwise(self.offsets.tolist())]


def offsets_of(lengths: Sequence[int] | Int64Array | Int32Array) -> Int64Array:
    """`[0, l0, l0 + l1, ...]`: the start of each sequence, then the end of the last one, shape `[n + 1]`."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def sums_of(values: BoolArray | Int64Array | Int32Array, lengths: Int64Array | Int32Array) -> Int64Array:
    """The sum of each sequence, for sequences end to end with the given lengths, shape `[n]`."""
    sums = offsets_of(values.astype(np.int64))[offsets_of(lengths)]
    return sums[1:] - sums[:-1]
