"""Rows to batches for the lanes of one worker: the whole flow, from top to bottom.

reader ──rows──▶ renderer ──renderings──▶ tokenizer ──examples──▶ lane ──items──▶ packer ──packs──▶ batches
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
from samsum_stream.lanes.epochs import EpochPlan, partition, split_packs
from samsum_stream.lanes.order import Order
from samsum_stream.lanes.position import START, LanePosition, start_of
from samsum_stream.lanes.share import Share, choose_num_lanes
from samsum_stream.pipeline.encoder import Encoder
from samsum_stream.pipeline.lane import Lane, nothing_left
from samsum_stream.pipeline.lanes import EpochLanes, Lanes, open_lanes
from samsum_stream.pipeline.read_ahead import ReadAhead
from samsum_stream.sources import Leaf, Source
from samsum_stream.sources.faults import RAISE, Faults
from samsum_stream.values.batches import Batch, Pack
from samsum_stream.values.counts import Counts
from samsum_stream.values.examples import Item
from samsum_stream.values.rows import BadRow

Packs = Sequence[Sequence[Item]]


class ProducedBatch(NamedTuple):
    """A batch, with everything that the training process counts when the batch is delivered.

    Attributes:
        batch: The packs.
        position: The position of the batch's lane after the batch.
        counts: What happened to the rows that the lane passed on the way.
        skipped: The bad rows among them.
        number: The global number of the batch.
        num_passed_over: The rows that were read since the last batch only because others could not be reached.
        seconds_waited: The seconds that remote files were waited for since the last batch.
    """

    batch: Batch
    position: LanePosition
    counts: Counts
    skipped: Sequence[BadRow]
    number: int = 0
    num_passed_over: int = 0
    seconds_waited: float = 0.0


@dataclass
class Pipeline:
    """Everything that a worker needs to produce batches; it pickles.

    Attributes:
        source: The rows.
        encoder: Rows to examples.
        packer: Examples to packs.
        batch_size: The packs of a batch.
        shuffle: Whether every epoch permutes the rows.
        seed: The seed of the order.
        epochs: The epochs of a run; None for an endless stream.
        num_lanes: The number of lanes; None for `lanes: auto`.
        faults: What happens to bad rows.
        fills_batches: Whether a batch with fewer packs is filled with empty ones, for layouts of fixed shape.
    """

    source: Source
    encoder: Encoder
    packer: Packer
    batch_size: int
    shuffle: bool
    seed: int
    epochs: int | None
    num_lanes: int | None
    faults: Faults = RAISE
    fills_batches: bool = False

    def __post_init__(self) -> None:
        if self.epochs is not None and not self.source.has_end:
            raise ConfigError(
                f"{self.source.name}: stopping_strategy: endless has no end, and epochs is {self.epochs}; write "
                "epochs: null (a Trainer: max_steps), or first_exhausted or all_exhausted"
            )

    def order(self, num_lanes: int) -> Order:
        """The order of the rows over a number of lanes."""
        return Order(num_lanes=num_lanes, seed=self.seed, shuffle=self.shuffle)

    @property
    def num_rows(self) -> int | None:
        """The rows of an epoch; None if the number is not known before reading."""
        return self.source.num_rows

    @property
    def backend(self) -> str:
        """The name of the backend that encodes the texts; of the backends, if tasks differ in it."""
        return " and ".join(dict.fromkeys(encoder.tokenizer.runs.backend.name for encoder in self.encoder.each))

    def lanes_for(self, num_readers: int) -> int:
        """The number of lanes of the config; for `lanes: auto`, the number that suits all workers of all ranks."""
        return self.num_lanes or choose_num_lanes(self.source.max_lanes or 0, num_readers)

    def batches(
        self, share: Share, positions: Mapping[int, LanePosition], *, order: Order, plans: Sequence[EpochPlan] = ()
    ) -> Iterator[ProducedBatch]:
        """The batches of a share, from the positions of its lanes on. With plans, to the end of the first plan.

        Raises:
            SourceError: a row is bad, no row is left to train on, or the rows are not those that were counted.
        """
        positions = {lane: positions[lane] for lane in share.lanes(order.num_lanes)}
        producers: dict[int, Iterator[ProducedBatch]] = {}
        with closing(ReadAhead()) as read_ahead:
            lanes = self._open(order, positions, read_ahead)
            for number in share.batches(plans[0].end_batch if plans else None):
                lane = number % order.num_lanes
                if lane not in producers:
                    producers[lane] = self._lane_batches(lanes, lane, positions[lane], number, plans)
                yield next(producers[lane])._replace(
                    number=number,
                    num_passed_over=lanes.take_passed_over(),
                    seconds_waited=read_ahead.take_seconds_waited(),
                )

    def interleaved(self, share: Share, *, order: Order, first_epoch: int) -> Iterator[tuple[int, ProducedBatch]]:
        """The same packs without a plan, each batch with its lane. At the end, some lanes finish earlier."""
        positions = dict.fromkeys(share.lanes(order.num_lanes), start_of(first_epoch))
        with closing(ReadAhead()) as read_ahead:
            lanes = self._open(order, positions, read_ahead)
            producers = deque((lane, self._uncounted(lanes, lane, first_epoch)) for lane in positions)
            while producers:
                lane, producer = producers.popleft()
                for produced in islice(producer, 1):
                    yield lane, produced
                    producers.append((lane, producer))

    def peek(self, num_packs: int, *, leaf: Leaf | None = None) -> tuple[list[Pack], Counts]:
        """The first packs of an epoch, and what happened to rows on the way. Lane 0 comes first, as in a run.

        Args:
            num_packs: The number of packs; an epoch may have fewer.
            leaf: Read one source of a mixture only.

        Raises:
            SourceError: a row is bad, or no row is left to train on.
        """
        source, leaves = (leaf.source, [leaf]) if leaf else (self.source, self.source.leaves)
        positions = dict.fromkeys(range(self.lanes_for(1)), START)
        order, packs, counts = self.order(len(positions)), list[list[Item]](), Counts()
        with closing(ReadAhead()) as read_ahead:
            lanes = self._open_lanes(source, positions, order=order, read_ahead=read_ahead, leaves=iter(leaves))
            for lane in (lanes.lane(number, START) for number in positions):
                new_packs = list(islice(self.packer.pack(lane.epoch()), num_packs - len(packs)))
                packs += new_packs
                counts += lane.commit(new_packs)[1]
                if len(packs) == num_packs:
                    break
        if not packs:
            raise nothing_left(source.name, counts["rows"], counts)
        return Batch.of_items(packs).packs(self.source.position), counts

    def _lane_batches(
        self, lanes: Lanes, lane: int, position: LanePosition, number: int, plans: Sequence[EpochPlan]
    ) -> Iterator[ProducedBatch]:
        """The batches of a lane, from global batch `number` on."""
        if not plans:
            yield from self._endless(lanes.lane(lane, position))
        for plan in plans:
            if number < plan.end_batch:
                yield from self._finite(lanes, lane, position, number, plan)
                number, position = plan.end_batch, start_of(plan.next_run.epoch)

    def _endless(self, lane: Lane) -> Iterator[ProducedBatch]:
        """Packing continues from one epoch into the next."""
        packs = self.packer.pack(chain.from_iterable(lane.epoch() for _ in count()))
        while batch := list(islice(packs, self.batch_size)):
            yield self._produced(batch, lane)

    def _finite(
        self, lanes: Lanes, lane: int, position: LanePosition, number: int, plan: EpochPlan
    ) -> Iterator[ProducedBatch]:
        """The rest of a run, from the lane's first batch at or after `number` on. Each epoch closes its last pack."""
        epoch, first = divmod((number - plan.run.batch) // plan.num_lanes, plan.num_batches)
        for num_packs in plan.num_packs[epoch:]:
            produce = self._partitioned if num_packs[lane] >= plan.num_batches else self._split
            yield from produce(lanes, lane, position, first, num_packs[lane], plan.num_batches)
            position, first = _next_epoch(position), 0

    def _partitioned(
        self, lanes: Lanes, lane: int, position: LanePosition, first: int, num_packs: int, num_batches: int
    ) -> Iterator[ProducedBatch]:
        """The batches of an epoch from index `first` on, of a lane with at least one pack for each batch."""
        reading = lanes.lane(lane, position)
        packs = self.packer.pack(reading.epoch())
        for index, size in enumerate(partition(num_packs, num_batches)[first:], start=first):
            batch = list(islice(packs, size))
            is_last = index == num_batches - 1
            if len(batch) != size or (is_last and next(packs, None) is not None):
                raise self._changed(lane, position)
            produced = self._produced(batch, reading)
            yield produced._replace(position=_next_epoch(position)) if is_last else produced

    def _split(
        self, lanes: Lanes, lane: int, position: LanePosition, first: int, num_packs: int, num_batches: int
    ) -> Iterator[ProducedBatch]:
        """The same for a lane with fewer packs than batches. The lane is small: its whole epoch is packed again."""
        reading = lanes.lane(lane, position)
        packs = list(self.packer.pack(reading.epoch()))
        if len(packs) != num_packs:
            raise self._changed(lane, position)
        _, counts, skipped = reading.commit(packs)
        for index, piece in enumerate(split_packs(packs, num_batches)[first:], start=first):
            after = position if index < num_batches - 1 else _next_epoch(position)
            yield ProducedBatch(self._batch([piece]), after, *((Counts(), ()) if index else (counts, skipped)))

    def _uncounted(self, lanes: Lanes, lane: int, first_epoch: int) -> Iterator[ProducedBatch]:
        if self.epochs is None:
            yield from self._endless(lanes.lane(lane, start_of(first_epoch)))
            return
        for epoch in range(first_epoch, first_epoch + self.epochs):
            reading = lanes.lane(lane, start_of(epoch))
            packs, is_empty = self.packer.pack(reading.epoch()), True
            while batch := list(islice(packs, self.batch_size)):
                is_empty = False
                yield ProducedBatch(Batch.of_items(batch), *reading.commit(batch))
            rest = ProducedBatch(Batch.of_items([]), *reading.commit([]))
            if is_empty:
                raise nothing_left(f"{self.source.name}: lane {lane}", rest.counts["rows"], rest.counts)
            yield rest

    def _produced(self, packs: Packs, lane: Lane) -> ProducedBatch:
        return ProducedBatch(self._batch(packs), *lane.commit(packs))

    def _batch(self, packs: Packs) -> Batch:
        return Batch.of_items(packs, num_packs=self.batch_size if self.fills_batches else 0)

    def _open(self, order: Order, positions: Mapping[int, LanePosition], read_ahead: ReadAhead) -> Lanes:
        open_epoch = partial(self._open_lanes, self.source, order=order, read_ahead=read_ahead)
        return open_epoch(positions) if self.epochs is None else EpochLanes(open_epoch, positions)

    def _open_lanes(
        self,
        source: Source,
        positions: Mapping[int, LanePosition],
        *,
        order: Order,
        read_ahead: ReadAhead,
        leaves: Iterator[Leaf] | None = None,
    ) -> Lanes:
        return open_lanes(
            source,
            positions,
            order=order,
            encoder=self.encoder,
            faults=self.faults,
            read_ahead=read_ahead,
            leaves=leaves,
        )

    def _changed(self, lane: int, position: LanePosition) -> SourceError:
        return SourceError(
            f"{self.source.name}: lane {lane} has other rows in epoch {position.start.epoch} than when the rows were "
            "counted; a source must give the same rows in the same order each time"
        )


def _next_epoch(position: LanePosition) -> LanePosition:
    return start_of(position.start.epoch + 1)
