"""Rows to batches for the lanes of one worker: the whole flow, read top to bottom.

reader ──rows──▶ lane ──examples──▶ packer ──packs──▶ batches, one lane after the other
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from typing import NamedTuple

from samsum_stream.dealing import dealt, split_packs
from samsum_stream.ends import Ends
from samsum_stream.errors import SourceError
from samsum_stream.faults import RAISE, Faults
from samsum_stream.lane import LaneItems
from samsum_stream.lanes import Share, choose_num_lanes
from samsum_stream.order import Order
from samsum_stream.packing import Item, Packer
from samsum_stream.positions import LanePosition, Place
from samsum_stream.reading import Chunks, Reader, make_reader
from samsum_stream.samples import BadRow
from samsum_stream.sources import Source
from samsum_stream.stats import Counts
from samsum_stream.tokenization import RowTokenizer

Packs = list[list[Item]]


class LaneBatch(NamedTuple):
    """A lane's next batch, where the lane stands after it, and what befell the rows that it passed on the way.

    `skipped` are the bad ones among them.
    """

    packs: Packs
    position: LanePosition
    counts: Counts
    skipped: Sequence[BadRow]


class Made(NamedTuple):
    """A batch by its global number, and rows that were read in vain since the last one."""

    batch: int
    made: LaneBatch
    num_passed_over: int


@dataclass
class Pipeline:
    """Everything that a worker needs to make batches; it pickles.

    `num_lanes` is None for `lanes: auto`; `epochs` is None for a stream without an end.
    """

    source: Source
    tokenizer: RowTokenizer
    packer: Packer
    batch_size: int
    shuffle: bool
    seed: int
    epochs: int | None
    num_lanes: int | None
    faults: Faults = RAISE

    def order(self, num_lanes: int) -> Order:
        return Order(num_lanes=num_lanes, seed=self.seed, shuffle=self.shuffle)

    @property
    def num_rows(self) -> int | None:
        """Rows of an epoch, where they are known without reading them."""
        return self.source.num_rows

    def lanes_for(self, num_readers: int) -> int:
        """How many lanes the config says; with `lanes: auto`, what suits so many workers of all ranks."""
        return self.num_lanes or choose_num_lanes(self.num_rows or 0, num_readers)

    def batches(
        self, share: Share, positions: Mapping[int, LanePosition], *, order: Order, passes: Sequence[Ends] = ()
    ) -> Iterator[Made]:
        """The batches of a share, from where its lanes stand: to the end of the first of `passes`, if there are any.

        Raises:
            SourceError: a row is bad, none is left to train on, or the rows are not those that were counted.
        """
        lanes = share.lanes(order.num_lanes)
        reader = self._reader(order, {lane: positions[lane].place for lane in lanes})
        runs: dict[int, Iterator[LaneBatch]] = {}
        for batch in share.batches(passes[0].end_batch if passes else None):
            lane = batch % order.num_lanes
            if lane not in runs:
                runs[lane] = self._run(reader, lane, positions[lane], batch, passes)
            made = next(runs[lane])
            num_passed_over, reader.num_passed_over = reader.num_passed_over, 0
            yield Made(batch, made, num_passed_over)

    def undealt(self, share: Share, *, order: Order, first_epoch: int) -> Iterator[LaneBatch]:
        """The same rows and packs without counting them first: at the end, lanes run out one after the other."""
        lanes = share.lanes(order.num_lanes)
        start = Place(first_epoch, 0, 0)
        reader = self._reader(order, dict.fromkeys(lanes, start))
        runs = deque(self._undealt(reader, lane, start) for lane in lanes)
        while runs:
            for batch in islice(runs[0], 1):
                yield batch
                runs.append(runs[0])
            runs.popleft()

    def _run(
        self, reader: Reader, lane: int, position: LanePosition, batch: int, passes: Sequence[Ends]
    ) -> Iterator[LaneBatch]:
        """The lane's batches, of which the first is global batch `batch`."""
        if not passes:
            yield from self._endless(reader, lane, position)
        for ends in passes:
            if batch < ends.end_batch:
                yield from self._finite(reader, lane, position, batch, ends)
                batch, position = ends.end_batch, LanePosition(Place(ends.next.epoch, 0, 0), ())

    def _endless(self, reader: Reader, lane: int, position: LanePosition) -> Iterator[LaneBatch]:
        """Packing goes on from one epoch into the next."""
        later = (Place(epoch, 0, 0) for epoch in count(position.place.epoch + 1))
        chunks = (self._epoch(reader, lane, place) for place in chain([position.place], later))
        items = self._items(chain.from_iterable(chunks), lane, position)
        packs = self.packer.pack(items)
        while batch := list(islice(packs, self.batch_size)):
            yield LaneBatch(batch, *items.hand_over(batch))

    def _finite(self, reader: Reader, lane: int, position: LanePosition, batch: int, ends: Ends) -> Iterator[LaneBatch]:
        """The rest of a pass, from the lane's first batch at or behind `batch` on: each epoch ends its last pack."""
        epoch, first = divmod((batch - ends.start.batch) // ends.num_lanes, ends.num_batches)
        for packs in ends.num_packs[epoch:]:
            deal = self._dealt if packs[lane] >= ends.num_batches else self._split
            yield from deal(reader, lane, position, first, packs[lane], ends.num_batches)
            position, first = _next_epoch(position), 0

    def _dealt(
        self, reader: Reader, lane: int, position: LanePosition, first: int, num_packs: int, num_batches: int
    ) -> Iterator[LaneBatch]:
        items = self._items(self._epoch(reader, lane, position.place), lane, position)
        packs = self.packer.pack(items)
        for index, size in enumerate(dealt(num_packs, num_batches)[first:], start=first):
            batch = list(islice(packs, size))
            is_last = index == num_batches - 1
            num_left = len(list(packs)) if is_last else 0
            if len(batch) != size or num_left:
                raise self._changed(lane, position)
            handed = LaneBatch(batch, *items.hand_over(batch))
            yield handed._replace(position=_next_epoch(position)) if is_last else handed

    def _split(
        self, reader: Reader, lane: int, position: LanePosition, first: int, num_packs: int, num_batches: int
    ) -> Iterator[LaneBatch]:
        """A lane with fewer packs than batches is small: wherever it stands, its epoch is packed from the start."""
        items = self._items(self._epoch(reader, lane, position.place), lane, position)
        packs = list(self.packer.pack(items))
        if len(packs) != num_packs:
            raise self._changed(lane, position)
        _, counts, skipped = items.hand_over(packs)
        for index, piece in enumerate(split_packs(packs, num_batches)[first:], start=first):
            stays = index < num_batches - 1
            after = position if stays else _next_epoch(position)
            yield LaneBatch([list(piece)], after, *((Counts(), ()) if index else (counts, skipped)))

    def _undealt(self, reader: Reader, lane: int, start: Place) -> Iterator[LaneBatch]:
        if self.epochs is None:
            yield from self._endless(reader, lane, LanePosition(start, ()))
            return
        for epoch in range(start.epoch, start.epoch + self.epochs):
            position = LanePosition(Place(epoch, 0, 0), ())
            items = self._items(self._epoch(reader, lane, position.place), lane, position)
            packs = self.packer.pack(items)
            while batch := list(islice(packs, self.batch_size)):
                yield LaneBatch(batch, *items.hand_over(batch))
            yield LaneBatch([], *items.hand_over([]))

    def _reader(self, order: Order, starts: Mapping[int, Place]) -> Reader:
        return make_reader(self.source, order=order, starts=starts, faults=self.faults)

    def _items(self, chunks: Chunks, lane: int, position: LanePosition) -> LaneItems:
        name = f"{self.source.name}: lane {lane}"
        return LaneItems(chunks, tokenizer=self.tokenizer, position=position, name=name)

    def _epoch(self, reader: Reader, lane: int, place: Place) -> Chunks:
        """The rest of an epoch; a whole one without rows would never make a batch."""
        is_empty = place == Place(place.epoch, 0, 0)
        for chunk in reader.epoch(lane, place):
            is_empty = False
            yield chunk
        if is_empty:
            raise SourceError(
                f"{self.source.name}: lane {lane} has no rows: the source has fewer than lanes; lower lanes"
            )

    def _changed(self, lane: int, position: LanePosition) -> SourceError:
        return SourceError(
            f"{self.source.name}: lane {lane} has other rows in epoch {position.place.epoch} than when they were "
            "counted; a source must give the same rows in the same order each time"
        )


def _next_epoch(position: LanePosition) -> LanePosition:
    return LanePosition(Place(position.place.epoch + 1, 0, 0), ())
