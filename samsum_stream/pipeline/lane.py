"""The examples of one lane, in order, and the position to resume from, after any example.

Examples have the indices of `encoder.py`, which count here from the row where the lane started, over all epochs.

rows         r0       r1        r2 (bad)   r3       r4
examples     0        1    2    3          4        5 ...
                                           ^ cursor: r0 to r2 are passed, and counted as rows
"""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from operator import length_hint
from typing import NamedTuple, Protocol

import numpy as np

from samsum_stream.errors import SourceError
from samsum_stream.lanes.position import Cursor, LanePosition, is_waiting, waiting_runs
from samsum_stream.pipeline.encoder import Encoder, Outcome
from samsum_stream.pipeline.readers import Reader
from samsum_stream.sources import Leaf
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.counts import Counts, counts_of_rows, why_none_is_left
from samsum_stream.values.examples import Item
from samsum_stream.values.rows import BadRow, Rows

MAX_ROWS_WITHOUT_EXAMPLES = 1_000_000
"""Consecutive rows that may all be left out. An endless source would be read for ever."""

MAX_EPOCHS_WITHOUT_EXAMPLES = 8
"""Consecutive epochs that may all be left out. A lane with few rows may have an epoch in which no row is kept."""


class RowsRead(NamedTuple):
    """Rows that were read together.

    Attributes:
        cursor: The cursor of the first row.
        first: The index of the first example.
        end: The index after the last example.
        offsets: The number of indices before each row, then of all rows, shape `[rows + 1]`; None if each row has one.
    """

    cursor: Cursor
    first: int
    end: int
    offsets: Int64Array | None

    def num_passed(self, index: int) -> int:
        """The number of rows whose examples all come before an index."""
        within = min(max(index, self.first), self.end) - self.first
        return within if self.offsets is None else int(np.searchsorted(self.offsets[1:], within, side="right"))

    def row_of(self, index: int) -> tuple[Cursor, int]:
        """The row of the example at an index, and the index of the row's first example; at the end, the next row."""
        row, first = index - self.first, index
        if self.offsets is not None:
            row = int(np.searchsorted(self.offsets, row, side="right")) - 1
            first = self.first + int(self.offsets[row])
        return self.cursor._replace(row=self.cursor.row + row), first


class Lane(Protocol):
    """The items of one lane, as a packer takes them."""

    def epoch(self) -> Iterator[Item]:
        """The items of an epoch, from the position of the lane on; the next call gives those of the next epoch."""

    def commit(self, packs: Iterable[Iterable[Item]]) -> tuple[LanePosition, Counts, list[BadRow]]:
        """The position of the lane after `packs`, and what happened to the rows that its cursor has passed since."""


class SourceLane(Lane):
    """A lane of one source. Of the examples before the position's cursor, it gives only those that wait.

    Args:
        reader: Reads the rows of the lane.
        lane: The number of the lane.
        encoder: Rows to examples.
        position: Where the lane starts.
        leaf: The source.
    """

    def __init__(self, reader: Reader, lane: int, *, encoder: Encoder, position: LanePosition, leaf: Leaf) -> None:
        self._reader, self._lane, self._encoder, self._leaf = reader, lane, encoder, leaf
        self._next_epoch = position.start
        self._restored = is_waiting(position.waiting)
        self._cursor = self._counted = len(self._restored)  # counted: the cursor up to which rows are counted
        self._num_read = 0
        self._rows_without_examples = self._epochs_without_examples = 0
        self._waiting: list[int] = []
        self._items: Iterator[Item] = iter(())  # of the current chunk; the packer takes items from it directly
        self._untaken: list[int] = []  # the indices of its items that were not taken when last looked at
        self._read = deque([RowsRead(position.start, 0, 0, np.zeros(1, np.int64))])
        self._outcomes: deque[Outcome] = deque()

    def epoch(self) -> Iterator[Item]:
        """The rest of an epoch; if examples of the epoch before still wait, the rest of both."""
        return chain.from_iterable(self._chunks())

    def commit(self, packs: Iterable[Iterable[Item]]) -> tuple[LanePosition, Counts, list[BadRow]]:
        self._note_taken()
        if self._waiting:
            self._cursor = max(self._cursor, self._waiting[-1] + 1)
        packed = {item[-1] for pack in packs for item in pack}
        self._waiting = [index for index in self._waiting if index not in packed]
        counts, skipped = counts_of_rows(self._count_rows(), child=self._leaf.name), []
        while self._outcomes and self._outcomes[0].example < self._cursor:
            outcome = self._outcomes.popleft()
            counts[outcome.name] += 1
            skipped += [outcome.bad] if outcome.bad else []
        return self._position(), counts, skipped

    def _chunks(self) -> Iterator[Iterator[Item]]:
        yield from self._rest_of_epoch()
        while self._num_read < len(self._restored):
            yield from self._rest_of_epoch()

    def _rest_of_epoch(self) -> Iterator[Iterator[Item]]:
        start, self._next_epoch = self._next_epoch, Cursor(self._next_epoch.epoch + 1, 0, 0)
        is_empty = start == Cursor(start.epoch, 0, 0)
        for cursor, rows in self._reader.epoch(self._lane, start):
            is_empty = False
            items = self._encode(cursor, rows.of_shards_from(self._leaf.first_shard))
            self._items, self._untaken = iter(items), [item[-1] for item in items]
            yield self._items
            self._note_taken()
            self._epochs_without_examples = 0 if items else self._epochs_without_examples
            self._require_items(0 if items else self._rows_without_examples + rows.num_read)
        if is_empty:
            raise SourceError(f"{self._name} has no rows: the source has fewer rows than lanes; lower lanes")
        self._epochs_without_examples += 1
        self._require_items(self._rows_without_examples)
        self._cursor = max(self._cursor, self._num_read)

    def _encode(self, cursor: Cursor, rows: Rows) -> list[Item]:
        """The items of rows. Of the examples before a restored cursor, only those that wait."""
        chunk, indices, offsets, outcomes = self._encoder.encode(rows, epoch=cursor.epoch)
        first, num_restored = self._num_read, len(self._restored)
        self._num_read += int(offsets[-1])
        has_one_each = int(offsets[-1]) == rows.num_read
        self._read.append(RowsRead(cursor, first, self._num_read, None if has_one_each else offsets))
        for index, name, bad in outcomes:
            if first + index >= num_restored:  # earlier events are already counted
                self._outcomes.append(Outcome(first + index, name, bad and _in_epoch(bad, cursor.epoch)))
        starts_row = repeat(1, len(chunk)) if has_one_each else (np.diff(chunk.rows, prepend=-1) > 0).tolist()
        columns = starts_row, chunk.ids, chunk.span_bytes(), chunk.record_bytes(), (first + indices).tolist()
        items: list[Item] = list(zip(chunk.records["length"].tolist(), *columns, strict=True))
        if first >= num_restored:
            return items
        return [item for item in items if item[-1] >= num_restored or self._restored[item[-1]]]

    def _note_taken(self) -> None:
        """Note which items of the current chunk were taken."""
        num_taken = len(self._untaken) - length_hint(self._items)
        self._waiting += self._untaken[:num_taken]
        del self._untaken[:num_taken]

    def _count_rows(self) -> int:
        """The rows that the cursor has passed since this was called last."""
        before, self._counted = self._counted, self._cursor
        passed = [read for read in self._read if read.end > before and read.first < self._cursor]
        return sum(read.num_passed(self._cursor) - read.num_passed(before) for read in passed)

    def _position(self) -> LanePosition:
        """The position that starts at the row of the oldest example that waits, or at the next row."""
        oldest = self._waiting[0] if self._waiting else self._cursor
        while len(self._read) > 1 and self._read[1].first <= oldest:
            self._read.popleft()
        start, first = self._read[0].row_of(oldest)
        return LanePosition(start, waiting_runs(self._waiting, start=first, end=self._cursor))

    @property
    def _name(self) -> str:
        return f"{self._leaf.source.name}: lane {self._lane}"

    def _require_items(self, num_rows: int) -> None:
        """Raises `SourceError` if too many consecutive rows or epochs had no example: there would never be a batch."""
        self._rows_without_examples = num_rows
        if num_rows > MAX_ROWS_WITHOUT_EXAMPLES or self._epochs_without_examples > MAX_EPOCHS_WITHOUT_EXAMPLES:
            raise nothing_left(self._name, num_rows, Counts(outcome.name for outcome in self._outcomes))


def nothing_left(name: str, num_rows: int, counts: Counts) -> SourceError:
    """The error of rows that are all left out."""
    return SourceError(f"{name} has no row to train on: its last {num_rows:,} rows {why_none_is_left(counts)}")


def _in_epoch(bad: BadRow, epoch: int) -> BadRow:
    return bad._replace(position=bad.position._replace(epoch=epoch))
