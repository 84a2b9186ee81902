"""Rows to batches for the lanes of one worker: the whole flow, read top to bottom.

reader ──rows──▶ lane ──examples──▶ packer ──packs──▶ batches, one lane after the other
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, islice
from typing import NamedTuple

from samsum_stream.batching.packing import Packer
from samsum_stream.errors import ConfigError, SourceError
from samsum_stream.lanes.epochs import Ends, dealt, split_packs
from samsum_stream.lanes.order import Order
from samsum_stream.lanes.position import LanePosition, start_of
from samsum_stream.lanes.share import Share, choose_num_lanes
from samsum_stream.pipeline.lane import Lane, nothing_left
from samsum_stream.pipeline.lanes import EpochLanes, Lanes, open_lanes
from samsum_stream.pipeline.read_ahead import ReadAhead
from samsum_stream.sources import Source
from samsum_stream.sources.faults import RAISE, Faults
from samsum_stream.tokenization import RowTokenizer
from samsum_stream.values.counts import Counts, num_rows_of
from samsum_stream.values.examples import Item
from samsum_stream.values.rows import BadRow

Packs = list[list[Item]]


class LaneBatch(NamedTuple):
    """A lane's next batch, where the lane stands after it, and what befell the rows that it passed on the way.

    `skipped` are the bad ones among them.
    """

    packs: Packs
    position: LanePosition
    counts: Counts
    skipped: Sequence[BadRow]


class Effort(NamedTuple):
    """Rows that were read only to reach others, and seconds that remote files were waited for."""

    num_passed_over: int
    seconds_waited: float


class Made(NamedTuple):
    """A batch by its global number, and what reading took since the last one."""

    batch: int
    made: LaneBatch
    effort: Effort


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

    def __post_init__(self) -> None:
        if self.epochs is not None and not self.source.has_end:
            raise ConfigError(
                f"{self.source.name}: stopping_strategy: endless has no end, and {self.epochs} epochs were asked for; "
                "write epochs: null (a Trainer: max_steps), or first_exhausted or all_exhausted"
            )

    def order(self, num_lanes: int) -> Order:
        return Order(num_lanes=num_lanes, seed=self.seed, shuffle=self.shuffle)

    @property
    def num_rows(self) -> int | None:
        """Rows of an epoch, where they are known without reading them."""
        return self.source.num_rows

    def lanes_for(self, num_readers: int) -> int:
        """How many lanes the config says; with `lanes: auto`, what suits so many workers of all ranks."""
        return self.num_lanes or choose_num_lanes(self.source.max_lanes or 0, num_readers)

    def batches(
        self, share: Share, positions: Mapping[int, LanePosition], *, order: Order, passes: Sequence[Ends] = ()
    ) -> Iterator[Made]:
        """The batches of a share, from where its lanes stand: to the end of the first of `passes`, if there are any.

        Raises:
            SourceError: a row is bad, none is left to train on, or the rows are not those that were counted.
        """
        positions = {lane: positions[lane] for lane in share.lanes(order.num_lanes)}
        runs: dict[int, Iterator[LaneBatch]] = {}
        with closing(ReadAhead()) as read_ahead:
            lanes = self._open(order, positions, read_ahead)
            for batch in share.batches(passes[0].end_batch if passes else None):
                lane = batch % order.num_lanes
                if lane not in runs:
                    runs[lane] = self._run(lanes, lane, positions[lane], batch, passes)
                made = next(runs[lane])
                yield Made(batch, made, Effort(lanes.take_passed_over(), read_ahead.take_seconds_waited()))

    def undealt(self, share: Share, *, order: Order, first_epoch: int) -> Iterator[LaneBatch]:
        """The same rows and packs without counting them first: at the end, lanes run out one after the other."""
        positions = dict.fromkeys(share.lanes(order.num_lanes), start_of(first_epoch))
        with closing(ReadAhead()) as read_ahead:
            lanes = self._open(order, positions, read_ahead)
            runs = deque(self._undealt(lanes, lane, first_epoch) for lane in positions)
            while runs:
                for batch in islice(runs[0], 1):
                    yield batch
                    runs.append(runs[0])
                runs.popleft()

    def _run(
        self, lanes: Lanes, lane: int, position: LanePosition, batch: int, passes: Sequence[Ends]
    ) -> Iterator[LaneBatch]:
        """The lane's batches, of which the first is global batch `batch`."""
        if not passes:
            yield from self._endless(lanes.lane(lane, position))
        for ends in passes:
            if batch < ends.end_batch:
                yield from self._finite(lanes, lane, position, batch, ends)
                batch, position = ends.end_batch, start_of(ends.next.epoch)

    def _endless(self, lane: Lane) -> Iterator[LaneBatch]:
        """Packing goes on from one epoch into the next."""
        packs = self.packer.pack(chain.from_iterable(lane.epoch() for _ in count()))
        while batch := list(islice(packs, self.batch_size)):
            yield LaneBatch(batch, *lane.hand_over(batch))

    def _finite(self, lanes: Lanes, lane: int, position: LanePosition, batch: int, ends: Ends) -> Iterator[LaneBatch]:
        """The rest of a pass, from the lane's first batch at or behind `batch` on: each epoch ends its last pack."""
        epoch, first = divmod((batch - ends.start.batch) // ends.num_lanes, ends.num_batches)
        for packs in ends.num_packs[epoch:]:
            deal = self._dealt if packs[lane] >= ends.num_batches else self._split
            yield from deal(lanes, lane, position, first, packs[lane], ends.num_batches)
            position, first = _next_epoch(position), 0

    def _dealt(
        self, lanes: Lanes, lane: int, position: LanePosition, first: int, num_packs: int, num_batches: int
    ) -> Iterator[LaneBatch]:
        own = lanes.lane(lane, position)
        packs = self.packer.pack(own.epoch())
        for index, size in enumerate(dealt(num_packs, num_batches)[first:], start=first):
            batch = list(islice(packs, size))
            is_last = index == num_batches - 1
            num_left = len(list(packs)) if is_last else 0
            if len(batch) != size or num_left:
                raise self._changed(lane, position)
            handed = LaneBatch(batch, *own.hand_over(batch))
            yield handed._replace(position=_next_epoch(position)) if is_last else handed

    def _split(
        self, lanes: Lanes, lane: int, position: LanePosition, first: int, num_packs: int, num_batches: int
    ) -> Iterator[LaneBatch]:
        """A lane with fewer packs than batches is small: wherever it stands, its epoch is packed from the start."""
        own = lanes.lane(lane, position)
        packs = list(self.packer.pack(own.epoch()))
        if len(packs) != num_packs:
            raise self._changed(lane, position)
        _, counts, skipped = own.hand_over(packs)
        for index, piece in enumerate(split_packs(packs, num_batches)[first:], start=first):
            stays = index < num_batches - 1
            after = position if stays else _next_epoch(position)
            yield LaneBatch([list(piece)], after, *((Counts(), ()) if index else (counts, skipped)))

    def _undealt(self, lanes: Lanes, lane: int, first_epoch: int) -> Iterator[LaneBatch]:
        if self.epochs is None:
            yield from self._endless(lanes.lane(lane, start_of(first_epoch)))
            return
        for epoch in range(first_epoch, first_epoch + self.epochs):
            own = lanes.lane(lane, start_of(epoch))
            packs, is_empty = self.packer.pack(own.epoch()), True
            while batch := list(islice(packs, self.batch_size)):
                is_empty = False
                yield LaneBatch(batch, *own.hand_over(batch))
            rest = LaneBatch([], *own.hand_over([]))
            if is_empty:
                raise nothing_left(f"{self.source.name}: lane {lane}", num_rows_of(rest.counts), rest.counts)
            yield rest

    def _open(self, order: Order, positions: Mapping[int, LanePosition], read_ahead: ReadAhead) -> Lanes:
        opened = partial(
            open_lanes, self.source, order=order, tokenizer=self.tokenizer, faults=self.faults, read_ahead=read_ahead
        )
        return opened(positions) if self.epochs is None else EpochLanes(opened, positions)

    def _changed(self, lane: int, position: LanePosition) -> SourceError:
        return SourceError(
            f"{self.source.name}: lane {lane} has other rows in epoch {position.place.epoch} than when they were "
            "counted; a source must give the same rows in the same order each time"
        )


def _next_epoch(position: LanePosition) -> LanePosition:
    return start_of(position.place.epoch + 1)
