"""Which rows of a shard a view has: computed from row numbers alone, before the shard is read."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from samsum_stream.sources.base import Shard
from samsum_stream.sources.views.numbers import Numbers
from samsum_stream.values.arrays import BoolArray, Int64Array, offsets_of

SCANNED = 1 << 16
"""Rows whose membership is computed at one time to find the row at an index."""


class RowSet(ABC):
    """Some of the rows of each shard of a source. Rows count from 0 in each shard."""

    @abstractmethod
    def num_rows(self, shard: int) -> int | None:
        """The number of members in a shard; None if the shard has an unknown number of rows."""

    @abstractmethod
    def contains(self, shard: int, rows: Int64Array) -> BoolArray:
        """Whether each row of a shard is a member, `[n]`."""

    @abstractmethod
    def end_of(self, shard: int, number: int) -> int:
        """The row after the first `number` members of a shard, which must have as many; 0 for none."""

    @abstractmethod
    def stop(self, shard: int) -> int | None:
        """A row from which on a shard has no members; None if it is unknown."""


class CountedRows(RowSet):
    """Members by their number over all shards, which have known numbers of rows."""

    def __init__(self, numbers: Numbers, shards: Sequence[Shard]) -> None:
        self._numbers, self._starts = numbers, starts_of(shards)
        self._ranks = numbers.rank(self._starts)

    def num_rows(self, shard: int) -> int:
        return int(self._ranks[shard + 1] - self._ranks[shard])

    def contains(self, shard: int, rows: Int64Array) -> BoolArray:
        numbers = self._starts[shard] + rows
        return self._numbers.rank(numbers + 1) > self._numbers.rank(numbers)

    def end_of(self, shard: int, number: int) -> int:
        if not number:
            return 0
        last = self._numbers.select(self._ranks[shard : shard + 1] + number - 1)
        return int(last[0] - self._starts[shard]) + 1

    def stop(self, shard: int) -> int:
        return self.end_of(shard, self.num_rows(shard))


class HashedRows(RowSet):
    """A share of the rows of shards of any size, by a keyed hash of the name of the shard and the number of the row.

    A shard that is added later does not change the members of the others.

    Args:
        shards: The shards.
        share: The share, above 0 and below 1.
        key: Each key gives another set.
        others: Whether the members are the rows outside this share.
    """

    def __init__(self, shards: Sequence[Shard], *, share: float, key: int, others: bool = False) -> None:
        self._keys = [_key(shard.name, key) for shard in shards]
        self._limit, self._others = np.uint64(round(share * 2**32)), others

    def num_rows(self, shard: int) -> None:
        return None

    def contains(self, shard: int, rows: Int64Array) -> BoolArray:
        is_in_share = _hash(rows.astype(np.uint64) + self._keys[shard]) < self._limit
        return ~is_in_share if self._others else is_in_share

    def end_of(self, shard: int, number: int) -> int:
        start = 0
        while number:
            members = np.flatnonzero(self.contains(shard, start + np.arange(SCANNED)))
            if len(members) >= number:
                return start + int(members[number - 1]) + 1
            start, number = start + SCANNED, number - len(members)
        return start

    def stop(self, shard: int) -> None:
        return None


class SlicedRows(RowSet):
    """A slice of each shard, of shards of unknown size; the slice may end after the shard."""

    def __init__(self, slices: Sequence[range]) -> None:
        self._slices = slices

    def num_rows(self, shard: int) -> None:
        return None

    def contains(self, shard: int, rows: Int64Array) -> BoolArray:
        chosen = self._slices[shard]
        is_inside = (rows >= chosen.start) & (rows < chosen.stop)
        is_member: BoolArray = is_inside & ((rows - chosen.start) % chosen.step == 0)
        return is_member

    def end_of(self, shard: int, number: int) -> int:
        chosen = self._slices[shard]
        return chosen.start + (number - 1) * chosen.step + 1 if number else 0

    def stop(self, shard: int) -> int:
        return self._slices[shard].stop


def starts_of(shards: Sequence[Shard]) -> Int64Array:
    """The number of the first row of each shard over all shards, then the number of rows, shape `[shards + 1]`."""
    return offsets_of([shard.num_rows or 0 for shard in shards])


def _key(name: str, key: int) -> np.uint64:
    digest = hashlib.sha256(f"{key}\0{name}".encode(errors="surrogatepass")).digest()
    return np.uint64(int.from_bytes(digest[:8], "little"))


def _hash(x: "np.ndarray[tuple[int], np.dtype[np.uint64]]") -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    """32 bits, each of which depends on every bit of `x` (the finalizer of SplitMix64, Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x >> np.uint64(32)
