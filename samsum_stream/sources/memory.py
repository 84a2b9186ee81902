"""Rows in memory and rows from an iterator: lists of dicts, generators, callables."""

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np

from samsum_stream.errors import SamsumStreamError, SourceError
from samsum_stream.errors.redaction import explain
from samsum_stream.sources.base import Block, IndexedSource, SequentialSource, Shard
from samsum_stream.sources.rows.columns import Columns
from samsum_stream.sources.rows.gather import from_rows
from samsum_stream.sources.rows.locator import Locator
from samsum_stream.sources.rows.validation import one_shard, validated
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import Rows


class ListSource(IndexedSource):
    """A sequence of mappings, such as a list of dicts."""

    def __init__(self, rows: Sequence[Any], *, name: str, columns: Columns) -> None:
        if len(rows) == 0:
            raise SourceError(f"{name}: there are no rows; pass a sequence with at least one")
        super().__init__(name=name, shards=(Shard("", len(rows)),))
        self._rows = rows
        self._columns = columns

    def take(self, indices: Int64Array) -> Rows:
        """The rows at `indices`, `[n]`, in the order asked for."""
        shards, numbers = one_shard(len(indices)), indices.astype(np.int64)
        locate = Locator(self, shards, numbers)
        raw = from_rows(self._picked(indices), columns=self._columns, locate=locate)
        return validated(raw, columns=self._columns, locate=locate, shards=shards, rows=numbers)

    def _picked(self, indices: Int64Array) -> list[Any]:
        picked: list[Any] = []
        try:
            picked.extend(map(self._rows.__getitem__, indices.tolist()))  # up to where it fails
        except SamsumStreamError:
            raise
        except Exception as error:
            raise _broken(self.name, f"reading row {indices[len(picked)]:,}", error) from error
        return picked


class IterableSource(SequentialSource):
    """Mappings from an iterable that starts anew on each pass, or from a callable that returns a new one.

    Rows that come from one iterator (a generator, or whatever hands out the same iterator again) are read once, in
    this process: a forked worker has a copy, which shares its open files with all others.
    """

    def __init__(self, rows: Iterable[Any] | Callable[[], Iterable[Any]], *, name: str, columns: Columns) -> None:
        super().__init__(name=name, shards=(Shard("", None),))
        self._rows = rows
        self._columns = columns
        self._home = os.getpid()
        # Held until the next one starts: only a living object can be told to come again.
        self._last: _Pass | None = None

    def blocks(self, shard: int, *, num_rows: int, start: int = 0) -> Iterator[Block]:
        """A fresh pass, from row `start` on, in blocks of `num_rows` rows."""
        rows = self._next_pass()
        row = rows.drop(start)
        while block := rows.take(num_rows):
            yield Block(len(block), functools.partial(self._picked, block, row))
            row += len(block)
        if row == 0:
            raise self._no_rows(rows)

    def first_block(self, num_rows: int) -> Block:
        """The first rows; the next pass goes on with the same iterator, and gives them again."""
        rows = self._next_pass()
        if not (head := rows.peek(num_rows)):
            raise self._no_rows(rows)
        return Block(len(head), functools.partial(self._picked, head, 0))

    def _picked(self, block: list[Any], start: int, indices: Int64Array) -> Rows:
        shards, numbers = one_shard(len(indices)), start + indices
        locate = Locator(self, shards, numbers)
        raw = from_rows([block[index] for index in indices.tolist()], columns=self._columns, locate=locate)
        return validated(raw, columns=self._columns, locate=locate, shards=shards, rows=numbers)

    def _next_pass(self) -> "_Pass":
        """The pass that was only peeked at, else a new one; an error where its iterator cannot give all rows."""
        is_home, last = os.getpid() == self._home, self._last
        if is_home and last is not None and last.is_waiting:
            return last
        if not is_home and last is None:
            last = self._open()
        self._last = self._open()
        if last is not None and self._last.iterator is last.iterator:
            self._check_again(last, is_home=is_home)
            self._last.is_again = True
        return self._last

    def _check_again(self, last: "_Pass", *, is_home: bool) -> None:
        """An iterator may come again once it has ended: some objects rewind theirs, and a spent one gives no rows."""
        if not is_home:
            raise SourceError(f"{self.name}: a worker process has only a copy of the iterator; {_ONE_PASS}")
        if not last.is_ended:
            raise SourceError(f"{self.name}: {_ONE_PASS}")

    def _open(self) -> "_Pass":
        with telling(self.name, "starting a pass over the rows"):
            rows = self._rows() if callable(self._rows) else self._rows
            # An iterator's own `iter` is left to the pass, which calls it once: it may rewind.
            return _Pass(rows if isinstance(rows, Iterator) else iter(rows), name=self.name)

    def _no_rows(self, rows: "_Pass") -> SourceError:
        if rows.is_again:
            return SourceError(f"{self.name}: {_ONE_PASS}")
        return SourceError(f"{self.name}: a pass has no rows; return a new iterable with rows from each call")

    def __getstate__(self) -> dict[str, Any]:
        if isinstance(self._rows, Iterator):
            raise SourceError(f"{self.name}: a {type(self._rows).__name__} cannot be sent to a process; {_ONE_PASS}")
        return {**self.__dict__, "_last": None}


_DROPPED_AT_ONCE = 1024
_ONE_PASS = "an iterator can be read once only; pass a callable that returns a new one, or a list"


class _Pass:
    """One pass over an iterator, which can be peeked at before it is read."""

    def __init__(self, iterator: Iterator[Any], *, name: str) -> None:
        self.iterator = iterator
        self.is_waiting = self.is_ended = self.is_again = False
        self._rows = _numbered_errors(iterator, name=name)
        self._head: list[Any] = []

    def peek(self, num_rows: int) -> list[Any]:
        """The first rows, which `take` gives again."""
        self.is_waiting = False
        self._head += self._advance(num_rows - len(self._head))
        self.is_waiting = True
        return self._head[:num_rows]

    def take(self, num_rows: int) -> list[Any]:
        """The next rows; none at the end."""
        self.is_waiting = False
        block, self._head = self._head[:num_rows], self._head[num_rows:]
        return block + self._advance(num_rows - len(block))

    def drop(self, num_rows: int) -> int:
        """Read past rows; how many there were."""
        dropped = 0
        while dropped < num_rows and (rows := self.take(min(num_rows - dropped, _DROPPED_AT_ONCE))):
            dropped += len(rows)
        return dropped

    def _advance(self, num_rows: int) -> list[Any]:
        rows = list(islice(self._rows, max(num_rows, 0)))
        self.is_ended |= len(rows) < num_rows
        return rows


def _numbered_errors(rows: Iterable[Any], *, name: str) -> Iterator[Any]:
    """The rows; an error says which row was next."""
    number = 0
    try:
        for row in rows:
            yield row
            number += 1
    except SamsumStreamError:
        raise
    except Exception as error:
        raise _broken(name, f"reading row {number:,}", error) from error


@contextmanager
def telling(name: str, doing: str) -> Iterator[None]:
    """Errors of the user's own code become a `SourceError` that says what was going on."""
    try:
        yield
    except SamsumStreamError:
        raise
    except Exception as error:
        raise _broken(name, doing, error) from error


def _broken(name: str, doing: str, error: Exception) -> SourceError:
    return SourceError(f"{name}: {doing} failed: {explain(error)}; fix the code that gives the rows")
