"""Sets of row numbers that need little memory: `select` gives the members by index, and `rank` is its inverse.

listed 2, 5 of 7 rows      select    2 5              rank    0 0 0 1 1 1 2
all others                 select    0 1 3 4 6        rank    0 1 2 2 3 4 4
"""

from abc import ABC, abstractmethod

import numpy as np

from samsum_stream.values.arrays import Int64Array


class Numbers(ABC):
    """Some of the numbers from 0 to `num_rows - 1`."""

    num_rows: int

    def __len__(self) -> int:
        return int(self.rank(np.array([self.num_rows]))[0])

    @abstractmethod
    def select(self, indices: Int64Array) -> Int64Array:
        """The members at `indices` of the ascending order, `[n]`."""

    @abstractmethod
    def rank(self, numbers: Int64Array) -> Int64Array:
        """How many members are below each number, `[n]`."""


class Listed(Numbers):
    """The numbers of a list, or all others.

    Args:
        numbers: The numbers, ascending and different, shape `[h]`.
        num_rows: The numbers go from 0 to `num_rows - 1`.
        others: Whether the members are the numbers that are not in the list.
    """

    def __init__(self, numbers: Int64Array, *, num_rows: int, others: bool = False) -> None:
        self.num_rows = num_rows
        self._numbers, self._others = numbers, others
        self._before = numbers - np.arange(len(numbers))  # the members below each number, if it is left out

    def select(self, indices: Int64Array) -> Int64Array:
        if self._others:
            return indices + np.searchsorted(self._before, indices, side="right")
        return self._numbers[indices]

    def rank(self, numbers: Int64Array) -> Int64Array:
        listed = np.searchsorted(self._numbers, numbers).astype(np.int64)
        return numbers - listed if self._others else listed


class Sliced(Numbers):
    """The numbers of a slice that are below `num_rows`."""

    def __init__(self, chosen: range, *, num_rows: int) -> None:
        self.num_rows = num_rows
        self._range = range(chosen.start, min(chosen.stop, num_rows), chosen.step)

    def select(self, indices: Int64Array) -> Int64Array:
        return self._range.start + self._range.step * indices

    def rank(self, numbers: Int64Array) -> Int64Array:
        step = self._range.step
        return np.clip((numbers - self._range.start + step - 1) // step, 0, len(self._range))
