"""The lanes of one worker: of one source, of a mixture, and of a finite stream, epoch by epoch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from samsum_stream.lanes.order import Order
from samsum_stream.lanes.position import LanePosition, start_of
from samsum_stream.pipeline.encoder import Encoder
from samsum_stream.pipeline.lane import Lane, SourceLane
from samsum_stream.pipeline.mixture_lane import MixtureLane
from samsum_stream.pipeline.read_ahead import ReadAhead
from samsum_stream.pipeline.readers import Reader, make_reader
from samsum_stream.sources import Leaf, Mixture, Source
from samsum_stream.sources.faults import Faults
from samsum_stream.sources.mixture import Mix
from samsum_stream.values.rows import RowPosition


class Lanes(Protocol):
    """The lanes of one worker. They share one reader of their source."""

    def lane(self, lane: int, position: LanePosition) -> Lane:
        """A lane from a position on."""

    def take_passed_over(self) -> int:
        """The number of rows that were read only to reach other rows, since the last call."""


def open_lanes(
    source: Source,
    positions: Mapping[int, LanePosition],
    *,
    order: Order,
    encoder: Encoder,
    faults: Faults,
    read_ahead: ReadAhead,
    leaves: Iterator[Leaf] | None = None,
) -> Lanes:
    """The lanes in `positions`; each is read from its position on, epoch after epoch.

    Args:
        leaves: The leaves of the source; by default `source.leaves`, whose shards count from 0.
    """
    leaves = iter(source.leaves) if leaves is None else leaves
    if not isinstance(source, Mixture):
        starts = {lane: position.start for lane, position in positions.items()}
        reader = make_reader(source, order=order, starts=starts, read_ahead=read_ahead, faults=faults)
        return SourceLanes(reader, next(leaves), encoder)
    children = [
        open_lanes(
            child.source,
            {lane: position.of_children(len(source.children))[number].position for lane, position in positions.items()},
            order=order.of_child(number),
            encoder=encoder,
            faults=faults,
            read_ahead=read_ahead,
            leaves=leaves,
        )
        for number, child in enumerate(source.children)
    ]
    return MixtureLanes(children, source.mix, order)


def fits_source(source: Source, position: LanePosition) -> bool:
    """Whether a lane of the source can have a position: the start of an epoch, or one position for each child."""
    children = source.children if isinstance(source, Mixture) else ()
    if not position.children:
        return not position.turns
    return len(children) == len(position.children) and all(
        fits_source(child.source, child_position.position)
        for child, child_position in zip(children, position.children, strict=True)
    )


def next_rows(source: Source, lane: int, position: LanePosition, *, order: Order) -> list[RowPosition]:
    """The row at which a lane starts to read; in a mixture, one row for each child."""
    if not isinstance(source, Mixture):
        reader = make_reader(source, order=order, starts={lane: position.start})
        return [reader.row_at(lane, position.start)]
    child_positions = position.of_children(len(source.children))
    return [
        row
        for number, (child, child_position) in enumerate(zip(source.children, child_positions, strict=True))
        for row in next_rows(child.source, lane, child_position.position, order=order.of_child(number))
    ]


class SourceLanes(Lanes):
    """The lanes of one source."""

    def __init__(self, reader: Reader, leaf: Leaf, encoder: Encoder) -> None:
        self._reader, self._leaf, self._encoder = reader, leaf, encoder

    def lane(self, lane: int, position: LanePosition) -> Lane:
        return SourceLane(self._reader, lane, encoder=self._encoder, position=position, leaf=self._leaf)

    def take_passed_over(self) -> int:
        number, self._reader.num_passed_over = self._reader.num_passed_over, 0
        return number


class MixtureLanes(Lanes):
    """The lanes of a mixture."""

    def __init__(self, children: Sequence[Lanes], mix: Mix, order: Order) -> None:
        self._children, self._mix, self._order = children, mix, order

    def lane(self, lane: int, position: LanePosition) -> Lane:
        child_positions = position.of_children(len(self._children))
        lanes = [
            child.lane(lane, child_position.position)
            for child, child_position in zip(self._children, child_positions, strict=True)
        ]
        order = self._order
        return MixtureLane(lanes, self._mix, position=position, child_positions=child_positions, order=order, lane=lane)

    def take_passed_over(self) -> int:
        return sum(child.take_passed_over() for child in self._children)


class EpochLanes(Lanes):
    """The lanes of a finite stream: the lanes of one epoch share a reader, and each epoch starts with new lanes.

    A child of a mixture may read the same epoch of its source in several epochs of the stream.
    """

    def __init__(
        self, open_epoch: Callable[[Mapping[int, LanePosition]], Lanes], positions: Mapping[int, LanePosition]
    ) -> None:
        self._open_epoch, self._positions = open_epoch, positions
        self._epochs: dict[int, Lanes] = {}

    def lane(self, lane: int, position: LanePosition) -> Lane:
        epoch = position.start.epoch
        if epoch not in self._epochs:
            # Lanes take turns, so all lanes have left the epochs before the last one.
            self._epochs = {number: lanes for number, lanes in self._epochs.items() if number >= epoch - 1}
            positions = {
                number: position if position.start.epoch == epoch else start_of(epoch)
                for number, position in self._positions.items()
            }
            self._epochs[epoch] = self._open_epoch(positions)
        return self._epochs[epoch].lane(lane, position)

    def take_passed_over(self) -> int:
        return sum(lanes.take_passed_over() for lanes in self._epochs.values())
