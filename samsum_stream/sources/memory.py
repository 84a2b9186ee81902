"""Rows in memory and rows from an iterator: lists of dicts, generators, callables."""

import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np

from samsum_stream.errors import SamsumStreamError, SourceError
from samsum_stream.errors.redaction import explain
from samsum_stream.sources.base import Block, IndexedSource, SequentialSource, Shard
from samsum_stream.sources.rows.columns import Columns
from samsum_stream.sources.rows.locator import Locator
from samsum_stream.sources.rows.validation import rows_from_mappings
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import Rows

NUM_SAMPLED_ROWS = 256
"""The rows of a list from which the memory of all rows is estimated."""

PAGE = 4096
"""Bytes of a page of memory."""


class ListSource(IndexedSource):
    """A sequence of mappings, such as a list of dicts."""

    def __init__(self, rows: Sequence[Any], *, name: str, columns: Columns) -> None:
        if len(rows) == 0:
            raise SourceError(f"{name}: there are no rows; pass a sequence with at least one row")
        super().__init__(name=name, shards=(Shard("", len(rows)),))
        self._rows = rows
        self.columns = columns

    def take(self, indices: Int64Array) -> Rows:
        """The rows at `indices`, `[n]`, in the given order."""
        locate = Locator.in_shard(self, 0, indices.astype(np.int64))
        return rows_from_mappings(self._items(indices), columns=self.columns, locate=locate)

    @property
    def num_object_bytes(self) -> int:
        """The memory of the Python objects of all rows, estimated from some rows; 0 if each read makes new objects."""
        if not isinstance(self._rows, list | tuple):
            return 0
        step = -(-len(self._rows) // NUM_SAMPLED_ROWS)
        sizes = [_object_bytes(self._rows[index]) for index in range(0, len(self._rows), step)]
        return len(self._rows) * sum(sizes) // len(sizes)

    def _items(self, indices: Int64Array) -> list[Any]:
        items: list[Any] = []
        with wrap_errors(self.name, lambda: f"reading row {indices[len(items)]:,}"):
            items.extend(map(self._rows.__getitem__, indices.tolist()))  # keeps the items before a failure
        return items


def _object_bytes(value: object) -> int:
    """The bytes of a value that a forked process copies when it reads the value.

    The count of references at the start of an object changes. So the first page of a long text is copied, and the
    others are not.
    """
    num_bytes = min(sys.getsizeof(value), PAGE)
    if isinstance(value, Mapping):
        return num_bytes + sum(map(_object_bytes, value.values()))
    if isinstance(value, list | tuple):
        return num_bytes + sum(map(_object_bytes, value))
    return num_bytes


class IterableSource(SequentialSource):
    """Mappings from an iterable that starts again for each pass, or from a callable that returns a new iterable.

    Rows from a single iterator (a generator, or an object that returns the same iterator again) are read once, in
    this process only: a forked worker has a copy of the iterator, and the copies share their open files.
    """

    def __init__(self, rows: Iterable[Any] | Callable[[], Iterable[Any]], *, name: str, columns: Columns) -> None:
        super().__init__(name=name, shards=(Shard("", None),))
        self._rows = rows
        self.columns = columns
        self._home = os.getpid()
        # Kept until the next pass starts: the identity of an iterator is only valid while the iterator is alive.
        self._last: _RowIterator | None = None

    def blocks(self, shard: int, *, num_rows: int, start: int = 0) -> Iterator[Block]:
        """A new pass from row `start` on, in blocks of `num_rows` rows."""
        rows = self._next_pass()
        row = rows.drop(start)
        while block := rows.take(num_rows):
            yield Block(len(block), functools.partial(self._take, block, row))
            row += len(block)
        if row == 0:
            raise self._no_rows(rows)

    def first_block(self, num_rows: int) -> Block:
        """The first rows; the next pass continues with the same iterator, and yields these rows again."""
        rows = self._next_pass()
        if not (head := rows.peek(num_rows)):
            raise self._no_rows(rows)
        return Block(len(head), functools.partial(self._take, head, 0))

    def _take(self, block: list[Any], start: int, indices: Int64Array) -> Rows:
        locate = Locator.in_shard(self, 0, start + indices)
        return rows_from_mappings([block[index] for index in indices.tolist()], columns=self.columns, locate=locate)

    def _next_pass(self) -> "_RowIterator":
        """The last iterator if it was only peeked at, else a new one; an error if the new one cannot yield all rows."""
        is_home, last = os.getpid() == self._home, self._last
        if is_home and last is not None and last.is_only_peeked:
            return last
        if not is_home and last is None:
            last = self._open()
        self._last = self._open()
        if last is not None and self._last.iterator is last.iterator:
            self._check_reuse(last, is_home=is_home)
            self._last.is_reused = True
        return self._last

    def _check_reuse(self, last: "_RowIterator", *, is_home: bool) -> None:
        """An exhausted iterator may be used again: some objects rewind their iterator; others then yield no rows."""
        if not is_home:
            raise SourceError(f"{self.name}: a worker process has only a copy of the iterator; {_READ_ONCE}")
        if not last.is_exhausted:
            raise SourceError(f"{self.name}: {_READ_ONCE}")

    def _open(self) -> "_RowIterator":
        with wrap_errors(self.name, lambda: "starting to read the rows"):
            rows = self._rows() if callable(self._rows) else self._rows
            # `iter` of an iterator is not called here: it may rewind, and the `for` of the pass calls it once.
            return _RowIterator(rows if isinstance(rows, Iterator) else iter(rows), name=self.name)

    def _no_rows(self, rows: "_RowIterator") -> SourceError:
        if rows.is_reused:
            return SourceError(f"{self.name}: {_READ_ONCE}")
        return SourceError(f"{self.name}: the iterable has no rows; return a new iterable with rows from each call")

    def __getstate__(self) -> dict[str, Any]:
        if isinstance(self._rows, Iterator):
            raise SourceError(f"{self.name}: a {type(self._rows).__name__} cannot be sent to a process; {_READ_ONCE}")
        return {**self.__dict__, "_last": None}


_DROPPED_AT_ONCE = 1024
_READ_ONCE = "an iterator can be read only once; pass a callable that returns a new one, or a list"


class _RowIterator:
    """An iterator over rows that can be peeked at before it is read."""

    def __init__(self, iterator: Iterator[Any], *, name: str) -> None:
        self.iterator = iterator
        self.is_only_peeked = self.is_exhausted = self.is_reused = False
        self._rows = _with_row_in_errors(iterator, name=name)
        self._head: list[Any] = []

    def peek(self, num_rows: int) -> list[Any]:
        """The first rows; `take` returns them again."""
        self.is_only_peeked = False
        self._head += self._advance(num_rows - len(self._head))
        self.is_only_peeked = True
        return self._head[:num_rows]

    def take(self, num_rows: int) -> list[Any]:
        """The next rows; none at the end."""
        self.is_only_peeked = False
        block, self._head = self._head[:num_rows], self._head[num_rows:]
        return block + self._advance(num_rows - len(block))

    def drop(self, num_rows: int) -> int:
        """Read and discard up to `num_rows` rows; returns their number."""
        dropped = 0
        while dropped < num_rows and (rows := self.take(min(num_rows - dropped, _DROPPED_AT_ONCE))):
            dropped += len(rows)
        return dropped

    def _advance(self, num_rows: int) -> list[Any]:
        rows = list(islice(self._rows, max(num_rows, 0)))
        self.is_exhausted |= len(rows) < num_rows
        return rows


def _with_row_in_errors(rows: Iterable[Any], *, name: str) -> Iterator[Any]:
    """The rows; an error names the row that was read."""
    number = 0
    with wrap_errors(name, lambda: f"reading row {number:,}"):
        for row in rows:
            yield row
            number += 1


@contextmanager
def wrap_errors(name: str, action: Callable[[], str]) -> Iterator[None]:
    """Turn an error of the user's code into a `SourceError` that names the action."""
    try:
        yield
    except SamsumStreamError:
        raise
    except Exception as error:
        raise SourceError(f"{name}: {action()} failed: {explain(error)}; fix the code that gives the rows") from error
