"""Lanes of a mixture: each has a lane of every child, and draws its examples from those."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from samsum_stream.lanes.order import Order
from samsum_stream.lanes.position import LanePosition, start_of
from samsum_stream.pipeline.lane import Lane, SourceLane
from samsum_stream.pipeline.mixture_lane import MixtureLane
from samsum_stream.pipeline.read_ahead import ReadAhead
from samsum_stream.pipeline.readers import Reader, make_reader, row_at
from samsum_stream.sources import Leaf, Mixture, Source
from samsum_stream.sources.faults import Faults
from samsum_stream.sources.mixture import Mix
from samsum_stream.tokenization import RowTokenizer
from samsum_stream.values.rows import RowPosition


class Lanes(Protocol):
    """The lanes of one worker, which share what reads their source."""

    def lane(self, lane: int, position: LanePosition) -> Lane:
        """A lane from where it stands."""

    def take_passed_over(self) -> int:
        """Rows that were read in vain since this was asked last."""


def open_lanes(
    source: Source,
    positions: Mapping[int, LanePosition],
    *,
    order: Order,
    tokenizer: RowTokenizer,
    faults: Faults,
    read_ahead: ReadAhead,
    leaves: Iterator[Leaf] | None = None,
) -> Lanes:
    """The lanes in `positions`, each of which will be read from there on, epoch after epoch; `leaves` is its own."""
    leaves = iter(source.leaves) if leaves is None else leaves
    if not isinstance(source, Mixture):
        starts = {lane: position.place for lane, position in positions.items()}
        reader = make_reader(source, order=order, starts=starts, read_ahead=read_ahead, faults=faults)
        return SourceLanes(reader, next(leaves), tokenizer)
    children = [
        open_lanes(
            child.source,
            {lane: position.of_children(len(source.children))[number].position for lane, position in positions.items()},
            order=order.of_child(number),
            tokenizer=tokenizer,
            faults=faults,
            read_ahead=read_ahead,
            leaves=leaves,
        )
        for number, child in enumerate(source.children)
    ]
    return MixtureLanes(children, source.mix, order)


def is_place_in(source: Source, position: LanePosition) -> bool:
    """Whether a lane of the source can stand there: at the start of an epoch, or in each child."""
    children = source.children if isinstance(source, Mixture) else ()
    if not position.children:
        return not position.turns
    return len(children) == len(position.children) and all(
        is_place_in(child.source, standing.position)
        for child, standing in zip(children, position.children, strict=True)
    )


def next_rows(source: Source, lane: int, position: LanePosition, *, order: Order) -> list[RowPosition]:
    """Where a lane reads on, in each child of a mixture."""
    if not isinstance(source, Mixture):
        return [row_at(source, lane, position.place, order=order)]
    standing = position.of_children(len(source.children))
    return [
        row
        for number, (child, each) in enumerate(zip(source.children, standing, strict=True))
        for row in next_rows(child.source, lane, each.position, order=order.of_child(number))
    ]


class SourceLanes:
    """Those of one source."""

    def __init__(self, reader: Reader, leaf: Leaf, tokenizer: RowTokenizer) -> None:
        self._reader, self._leaf, self._tokenizer = reader, leaf, tokenizer

    def lane(self, lane: int, position: LanePosition) -> Lane:
        return SourceLane(self._reader, lane, tokenizer=self._tokenizer, position=position, leaf=self._leaf)

    def take_passed_over(self) -> int:
        number, self._reader.num_passed_over = self._reader.num_passed_over, 0
        return number


class MixtureLanes:
    """Those of a mixture."""

    def __init__(self, children: Sequence[Lanes], mix: Mix, order: Order) -> None:
        self._children, self._mix, self._order = children, mix, order

    def lane(self, lane: int, position: LanePosition) -> Lane:
        standing = position.of_children(len(self._children))
        lanes = [child.lane(lane, each.position) for child, each in zip(self._children, standing, strict=True)]
        return MixtureLane(lanes, self._mix, position=position, standing=standing, order=self._order, lane=lane)

    def take_passed_over(self) -> int:
        return sum(child.take_passed_over() for child in self._children)


class EpochLanes:
    """The lanes of a stream with an end: those of one epoch share what reads it, and the next ones start anew.

    A child of a mixture may come to the same epoch of its own in several epochs of the stream.
    """

    def __init__(
        self, opened: Callable[[Mapping[int, LanePosition]], Lanes], positions: Mapping[int, LanePosition]
    ) -> None:
        self._opened, self._positions = opened, positions
        self._epochs: dict[int, Lanes] = {}

    def lane(self, lane: int, position: LanePosition) -> Lane:
        epoch = position.place.epoch
        if epoch not in self._epochs:
            # Lanes take turns, so that those before the last epoch are through.
            self._epochs = {each: lanes for each, lanes in self._epochs.items() if each >= epoch - 1}
            self._epochs[epoch] = self._opened(
                {each: at if at.place.epoch == epoch else start_of(epoch) for each, at in self._positions.items()}
            )
        return self._epochs[epoch].lane(lane, position)

    def take_passed_over(self) -> int:
        return sum(lanes.take_passed_over() for lanes in self._epochs.values())
