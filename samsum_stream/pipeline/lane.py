"""The examples of one lane, in order, and at any moment where reading on would have to start.

Rows are numbered by ordinals that count from where the lane started, over dropped rows and epochs alike.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import length_hint
from typing import NamedTuple, Protocol

import numpy as np

from samsum_stream.errors import SourceError
from samsum_stream.lanes.position import LanePosition, Place, runs_of, waits_of
from samsum_stream.pipeline.readers import Reader
from samsum_stream.sources import Leaf
from samsum_stream.tokenization import RowTokenizer
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.counts import Counts, all_dropped, left_out_of_child
from samsum_stream.values.examples import Item
from samsum_stream.values.rows import BadRow, Rows

MAX_ROWS_FOR_NOTHING = 1_000_000
"""Rows that may be left out in a row: an endless source would be read for ever."""

MAX_EPOCHS_FOR_NOTHING = 8
"""Epochs that may be left out in a row: of few rows in a lane, it may chance to have none that is kept."""


class Event(NamedTuple):
    """What befell the row of an ordinal: a name of `COUNTED`, and the row itself where it was skipped."""

    ordinal: int
    name: str
    bad: BadRow | None = None


class Lane(Protocol):
    """The items of one lane, as a packer takes them."""

    def epoch(self) -> Iterator[Item]:
        """The items of an epoch from where the lane stands; each further call gives those of the next one."""

    def hand_over(self, packs: Iterable[Iterable[Item]]) -> tuple[LanePosition, Counts, list[BadRow]]:
        """Where the lane stands once `packs` are gone, and what befell the rows that its cursor has passed since."""


class SourceLane(Lane):
    """A lane of one source; of the rows before the position's cursor, it gives only those that wait.

    Args:
        reader: Reads the lane's rows.
        lane: Its number.
        tokenizer: Rows to examples.
        position: Where the lane stands.
        leaf: The source.
    """

    def __init__(
        self, reader: Reader, lane: int, *, tokenizer: RowTokenizer, position: LanePosition, leaf: Leaf
    ) -> None:
        self._reader, self._lane, self._tokenizer, self._leaf = reader, lane, tokenizer, leaf
        self._next = position.place
        self._waits = waits_of(position.runs)
        self._cursor = len(self._waits)
        self._num_read = self._first_for_nothing = self._epochs_for_nothing = 0
        self._held: list[int] = []
        self._given: Iterator[Item] = iter(())  # of the chunk under way: who packs takes from it without us
        self._coming: list[int] = []  # the ordinals of its items that were not taken yet when last looked at
        self._marks = deque([(0, position.place)])
        self._events: deque[Event] = deque()

    def epoch(self) -> Iterator[Item]:
        """The rest of an epoch; where rows of it wait that were read in the one before, the rest of both."""
        return chain.from_iterable(self._chunks())

    def _chunks(self) -> Iterator[Iterator[Item]]:
        yield from self._rest_of_epoch()
        while self._num_read < len(self._waits):
            yield from self._rest_of_epoch()

    def _rest_of_epoch(self) -> Iterator[Iterator[Item]]:
        place, self._next = self._next, Place(self._next.epoch + 1, 0, 0)
        is_empty = place == Place(place.epoch, 0, 0)
        for here, rows in self._reader.epoch(self._lane, place):
            is_empty = False
            items = self._encode(here, rows.of_shards_from(self._leaf.first_shard))
            self._given, self._coming = iter(items), [item[3] for item in items]
            yield self._given
            self._hold()
            if items:
                self._first_for_nothing, self._epochs_for_nothing = items[-1][3] + 1, 0
            self._require_items()
        if is_empty:
            raise SourceError(f"{self._name} has no rows: the source has fewer than lanes; lower lanes")
        self._epochs_for_nothing += 1
        self._require_items()
        self._cursor = max(self._cursor, self._num_read)

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
        return list(zip(chunk.records["length"].tolist(), chunk.ids, chunk.record_bytes(), kept, strict=True))

    def _note(self, events: Sequence[Event], *, epoch: int) -> None:
        """What befell rows of a chunk, less those before the cursor, of which it was told already."""
        for ordinal, name, bad in sorted(events, key=lambda event: event[:2]):
            if ordinal >= len(self._waits):
                placed = bad and bad._replace(position=bad.position._replace(epoch=epoch))
                self._events.append(Event(ordinal, name, placed))

    def hand_over(self, packs: Iterable[Iterable[Item]]) -> tuple[LanePosition, Counts, list[BadRow]]:
        self._hold()
        if self._held:
            self._cursor = max(self._cursor, self._held[-1] + 1)
        gone = {item[3] for pack in packs for item in pack}
        self._held = [ordinal for ordinal in self._held if ordinal not in gone]
        counts, skipped = Counts(), []
        while self._events and self._events[0].ordinal < self._cursor:
            event = self._events.popleft()
            counts[event.name] += 1
            skipped += [event.bad] if event.bad else []
        counts += left_out_of_child(self._leaf.name, counts)
        return LanePosition(self._place_of_oldest(), runs_of(self._held, cursor=self._cursor)), counts, skipped

    def _hold(self) -> None:
        """Note which items of the chunk under way were taken."""
        num_taken = len(self._coming) - length_hint(self._given)
        self._held += self._coming[:num_taken]
        del self._coming[:num_taken]

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

    @property
    def _name(self) -> str:
        return f"{self._leaf.source.name}: lane {self._lane}"

    def _require_items(self) -> None:
        """Rows that are all left out never make a batch."""
        num_rows = self._num_read - max(self._first_for_nothing, len(self._waits))
        if num_rows > MAX_ROWS_FOR_NOTHING or self._epochs_for_nothing > MAX_EPOCHS_FOR_NOTHING:
            counts = Counts(event.name for event in self._events if event.ordinal >= self._first_for_nothing)
            raise nothing_left(self._name, num_rows, counts)


def nothing_left(name: str, num_rows: int, counts: Counts) -> SourceError:
    """What is raised where rows would be read for ever, or a whole epoch of them for nothing."""
    return SourceError(f"{name} has no row to train on: its last {num_rows:,} rows {all_dropped(counts)}")
