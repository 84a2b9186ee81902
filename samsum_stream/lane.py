"""The examples of one lane, in order, and at any moment where reading on would have to start.

Rows are numbered by ordinals that count from where the lane started, over dropped rows and epochs alike.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from samsum_stream.errors import SourceError
from samsum_stream.packing import Item
from samsum_stream.positions import LanePosition, Place, runs_of, waits_of
from samsum_stream.reading import Chunks
from samsum_stream.samples import BadRow, Int64Array, Rows
from samsum_stream.stats import Counts, all_dropped
from samsum_stream.tokenization import RowTokenizer

MAX_ROWS_FOR_NOTHING = 1_000_000
"""Rows that may be dropped before the first one of an epoch is kept: an endless source would be read for ever."""


class Event(NamedTuple):
    """What befell the row of an ordinal: a name of `COUNTED`, and the row itself where it was skipped."""

    ordinal: int
    name: str
    bad: BadRow | None = None


class LaneItems:
    """Iterates over the items that a packer takes; of the rows before the position's cursor, only those that wait.

    Args:
        chunks: The lane's rows from the position's place on.
        tokenizer: Rows to examples.
        position: Where the lane stands.
        name: What errors call the lane.
    """

    def __init__(self, chunks: Chunks, *, tokenizer: RowTokenizer, position: LanePosition, name: str) -> None:
        self._chunks, self._tokenizer, self._name = chunks, tokenizer, name
        self._start = position.place
        self._waits = waits_of(position.runs)
        self._cursor = len(self._waits)
        self._num_read = 0
        self._held: list[int] = []
        self._marks = deque([(0, position.place)])
        self._events: deque[Event] = deque()

    def __iter__(self) -> Iterator[Item]:
        epoch = self._start.epoch
        num_rows, num_items = 0, int(self._start > Place(epoch, 0, 0))
        for place, rows in self._chunks:
            if place.epoch != epoch:
                self._require_items(num_items, num_rows)
                epoch, num_rows, num_items = place.epoch, 0, 0
            is_replayed = self._num_read < len(self._waits)
            items = self._encode(place, rows)
            # Rows before the cursor that do not wait are gone already: they were not dropped.
            num_rows, num_items = num_rows + rows.num_asked, num_items + len(items) + is_replayed
            if num_rows > MAX_ROWS_FOR_NOTHING:
                self._require_items(num_items, num_rows)
            for item in items:
                self._held.append(item[3])
                yield item
        self._require_items(num_items, num_rows)
        self._cursor = self._num_read

    def _encode(self, place: Place, rows: Rows) -> list[Item]:
        first = self._num_read
        skipped = [Event(first + number, f"skipped.{bad.reason}", bad) for number, bad in rows.skipped]
        rows, ordinals = self._number(place, rows)
        if not len(rows):
            self._note(skipped, epoch=place.epoch)
            return []
        chunk = self._tokenizer.encode(rows, epoch=place.epoch)
        self._note([*skipped, *(Event(int(ordinals[row]), name) for row, name in chunk.events)], epoch=place.epoch)
        kept = ordinals[chunk.rows].tolist()
        return list(zip(chunk.tokens.lengths.tolist(), chunk.tokens.split(), chunk.record_words, kept, strict=True))

    def _note(self, events: Sequence[Event], *, epoch: int) -> None:
        """What befell rows of a chunk, less those before the cursor, of which it was told already."""
        for ordinal, name, bad in sorted(events, key=lambda event: event[:2]):
            if ordinal >= len(self._waits):
                placed = bad and bad._replace(position=bad.position._replace(epoch=epoch))
                self._events.append(Event(ordinal, name, placed))

    def hand_over(self, packs: Iterable[Iterable[Item]]) -> tuple[LanePosition, Counts, list[BadRow]]:
        """Where the lane stands once `packs` are gone, and what befell the rows that its cursor has passed since."""
        if self._held:
            self._cursor = max(self._cursor, self._held[-1] + 1)
        gone = {item[3] for pack in packs for item in pack}
        self._held = [ordinal for ordinal in self._held if ordinal not in gone]
        counts, skipped = Counts(), []
        while self._events and self._events[0].ordinal < self._cursor:
            event = self._events.popleft()
            counts[event.name] += 1
            skipped += [event.bad] if event.bad else []
        return LanePosition(self._place_of_oldest(), runs_of(self._held, cursor=self._cursor)), counts, skipped

    def _number(self, place: Place, rows: Rows) -> tuple[Rows, Int64Array]:
        """The rows of a chunk that are to be encoded, and their ordinals."""
        first = self._num_read
        ordinals = first + rows.places
        self._marks.append((first, place))
        self._num_read += rows.num_asked
        if first >= len(self._waits):
            return rows, ordinals
        is_new = ordinals >= len(self._waits)
        kept = np.flatnonzero(is_new | self._waits[np.where(is_new, 0, ordinals)])
        return rows.select(kept), ordinals[kept]

    def _place_of_oldest(self) -> Place:
        """The place of the oldest row that waits, or of the next row."""
        oldest = self._held[0] if self._held else self._cursor
        while len(self._marks) > 1 and self._marks[1][0] <= oldest:
            self._marks.popleft()
        first, place = self._marks[0]
        return place._replace(row=place.row + oldest - first)

    def _require_items(self, num_items: int, num_rows: int) -> None:
        """An epoch whose rows were all dropped never makes a batch."""
        if not num_items:
            counts = Counts(event.name for event in self._events if event.ordinal >= self._num_read - num_rows)
            raise SourceError(f"{self._name} has no row to train on: its first {num_rows:,} rows {all_dropped(counts)}")
