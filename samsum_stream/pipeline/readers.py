"""The rows of each lane from any place on: by number, by pieces of its own, or in one pass that lanes share."""

from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from samsum_stream.lanes.order import Order, Piece
from samsum_stream.lanes.permutation import lane_size
from samsum_stream.lanes.position import Place
from samsum_stream.pipeline.read_ahead import ReadAhead
from samsum_stream.sources.base import Block, IndexedSource, SequentialSource, Source
from samsum_stream.sources.faults import RAISE, Faults
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import RowPosition, Rows

FIRST_CHUNK = 64
MAX_CHUNK = 256
"""Rows that a lane gets at a time, but for the last ones: half as many more come with them."""

BLOCK, MIN_BLOCK = 8192, 256
"""Rows of an indexed source whose order is worked out at a time, for all lanes together, and for each at least."""

NUM_BLOCKS = 8
"""So many of those are kept: lanes that pack longer rows fall behind the others by and by."""

Chunks = Iterator[tuple[Place, Rows]]
"""Rows that follow each other in a lane's order, with the place of the first."""


Hand = tuple[int, Place, Rows]
"""What a lane gets of a block: the lane, the place of the first row, and the rows."""


class Reader(ABC):
    """Reads the rows of some lanes.

    Attributes:
        num_passed_over: Rows that were read because others could not be reached without them.
    """

    num_passed_over = 0

    def __init__(self) -> None:
        self._sizes: defaultdict[int, int] = defaultdict(lambda: FIRST_CHUNK)

    @abstractmethod
    def epoch(self, lane: int, place: Place) -> Chunks:
        """The lane's rows from `place` to the end of its epoch."""

    def _stretches(self, lane: int, num_rows: int) -> Iterator[tuple[int, int]]:
        """So many rows as chunks: the first ones that a lane asks for are small, so that a batch comes at once."""
        start = 0
        while start < num_rows:
            size = self._sizes[lane]
            end = start + size if num_rows - start > 1.5 * size else num_rows
            yield start, end
            start, self._sizes[lane] = end, min(size + size // 2, MAX_CHUNK)


def make_reader(
    source: Source, *, order: Order, starts: Mapping[int, Place], read_ahead: ReadAhead, faults: Faults = RAISE
) -> Reader:
    """The reader for the lanes in `starts`, each of which will be read from its place on, epoch after epoch."""
    if isinstance(source, IndexedSource):
        return IndexedReader(source, order=order, lanes=[*starts], faults=faults)
    assert isinstance(source, SequentialSource)
    if order.has_pieces(_sizes(source)):
        return PieceReader(source, order=order, read_ahead=read_ahead, faults=faults)
    return SequentialReader(source, order=order, starts=starts, read_ahead=read_ahead, faults=faults)


class Deal:
    """Which rows of an indexed source some lanes get: worked out for all of them together, a block at a time."""

    def __init__(self, order: Order, lanes: Sequence[int], *, num_rows: int) -> None:
        self.order, self.num_rows = order, num_rows
        self.lanes = np.array(lanes, np.int64)
        self.sizes = np.array([lane_size(lane, num_rows=num_rows, num_lanes=order.num_lanes) for lane in lanes])
        self.block_size = max(BLOCK // len(lanes), MIN_BLOCK)
        self._block = lru_cache(NUM_BLOCKS)(self._rows_of_block)

    def rows(self, lane: int, *, epoch: int, first: int = 0) -> Iterator[tuple[int, Int64Array]]:
        """The lane's rows from its row `first` on, in stretches, each with the number of its first."""
        while len(rows := self._block(epoch, first // self.block_size)[lane][first % self.block_size :]):
            yield first, rows
            first += len(rows)

    def _rows_of_block(self, epoch: int, number: int) -> dict[int, Int64Array]:
        start = number * self.block_size
        kept = start + np.arange(self.block_size) < self.sizes[:, None]
        seats, ordinals = np.nonzero(kept)
        rows = self.order.rows(self.lanes[seats], start + ordinals, epoch=epoch, num_rows=self.num_rows)
        each = np.split(rows, np.cumsum(kept.sum(axis=1))[:-1])
        return dict(zip(self.lanes.tolist(), each, strict=True))


class IndexedReader(Reader):
    """Deals rows by their place in a permutation of all rows."""

    def __init__(self, source: IndexedSource, *, order: Order, lanes: Sequence[int], faults: Faults) -> None:
        super().__init__()
        self.source, self.faults = source, faults
        self.deal = Deal(order, lanes, num_rows=source.num_rows)

    def epoch(self, lane: int, place: Place) -> Chunks:
        for first, rows in self.deal.rows(lane, epoch=place.epoch, first=place.row):
            for start, end in self._stretches(lane, len(rows)):
                yield place._replace(row=first + start), self.faults.take(self.source.take, rows[start:end])


class PieceBlock(NamedTuple):
    """A block of a lane's piece: its place in the lane, how many of its rows are the piece's, and rows read in vain."""

    at: Place
    piece: Piece
    num_rows: int
    num_passed_over: int


class PieceReader(Reader):
    """Reads the pieces of each lane, from any row of them on; nobody else reads those."""

    def __init__(self, source: SequentialSource, *, order: Order, read_ahead: ReadAhead, faults: Faults) -> None:
        super().__init__()
        self.source, self.order, self.read_ahead, self.faults = source, order, read_ahead, faults

    def epoch(self, lane: int, place: Place) -> Chunks:
        for (at, piece, num_rows, num_passed_over), block in self.read_ahead.of(self.source, self._blocks(lane, place)):
            self.num_passed_over += num_passed_over
            rows = self.order.rows_of_block(piece, at.row // self.order.block_size, num_rows, epoch=at.epoch)
            done = place.row - at.row if place > at else 0
            for low, high in self._stretches(lane, num_rows - done):
                taken = self.faults.take(block.take, rows[done + low : done + high])
                yield at._replace(row=at.row + done + low), taken

    def _blocks(self, lane: int, place: Place) -> Iterator[tuple[PieceBlock, Block]]:
        """The blocks of an epoch, from the one on that holds the place."""
        size = self.order.block_size
        pieces = self.order.pieces(lane, epoch=place.epoch, sizes=_sizes(self.source))
        for number, piece in enumerate(pieces[place.shard :], start=place.shard):
            first = place.row // size * size if number == place.shard else 0
            yield from self._piece(Place(place.epoch, number, first), piece)

    def _piece(self, at: Place, piece: Piece) -> Iterator[tuple[PieceBlock, Block]]:
        """The blocks of a piece, from the one at a place on."""
        start = piece.start + at.row
        if start == piece.end:
            return
        num_passed_over = 0 if self.source.seeks else start
        for block in self.source.blocks(piece.shard, num_rows=self.order.block_size, start=start):
            num_rows = block.num_rows if piece.end is None else min(block.num_rows, piece.end - start)
            yield PieceBlock(at, piece, num_rows, num_passed_over), block
            at, start, num_passed_over = at._replace(row=at.row + num_rows), start + num_rows, 0
            if start == piece.end:
                return
        if piece.end is not None:
            raise self.source.ended_early(piece.shard, start)


class Visit(NamedTuple):
    """A shard that lanes share, at its place: from which block on, and each lane's seat and first row there."""

    here: Place
    shard: int
    first_block: int
    seats: Mapping[int, int]
    firsts: Mapping[int, int]


class SequentialReader(Reader):
    """Reads the source once an epoch for all lanes of the worker; rows of other workers' lanes are passed over."""

    def __init__(
        self,
        source: SequentialSource,
        *,
        order: Order,
        starts: Mapping[int, Place],
        read_ahead: ReadAhead,
        faults: Faults,
    ) -> None:
        super().__init__()
        self.source, self.order, self.starts, self.read_ahead, self.faults = source, order, starts, read_ahead, faults
        self.passes: dict[int, _Pass] = {}

    def epoch(self, lane: int, place: Place) -> Chunks:
        epoch = place.epoch
        if epoch not in self.passes:
            starts = {lane: max(start, Place(epoch, 0, 0)) for lane, start in self.starts.items()}
            starts = {lane: start for lane, start in starts.items() if start.epoch == epoch}
            self.passes[epoch] = _Pass(self._deal(epoch, starts), lanes=list(starts))
        try:
            yield from self.passes[epoch].chunks(lane)
        finally:  # a mixture may leave an epoch before its end
            self.passes[epoch].waiting.pop(lane, None)
            if not self.passes[epoch].waiting:
                del self.passes[epoch]

    def _deal(self, epoch: int, starts: Mapping[int, Place]) -> Iterator[list[Hand]]:
        """Each step reads one block and deals it to the lanes, less the rows before their starts."""
        for (visit, number), block in self.read_ahead.of(self.source, self._blocks(epoch, starts)):
            hands = []
            for lane, seat in visit.seats.items():
                row, rows = self.order.hand(seat, epoch=epoch, shard=visit.shard, block=number, num_rows=block.num_rows)
                num_done = max(visit.firsts[lane] - row, 0)
                if len(rows) > num_done:
                    taken = self.faults.take(block.take, rows[num_done:])
                    hands.append((lane, visit.here._replace(row=row + num_done), taken))
            if number == visit.first_block:
                self.num_passed_over += number * self.order.block_size
            self.num_passed_over += block.num_rows - sum(len(rows) for _, _, rows in hands)
            yield hands

    def _blocks(self, epoch: int, starts: Mapping[int, Place]) -> Iterator[tuple[tuple[Visit, int], Block]]:
        """The blocks of an epoch, each with its number in the shard that is visited."""
        size = self.order.block_size
        for visit in self._visits(epoch, starts):
            first = visit.first_block
            for number, block in enumerate(self.source.blocks(visit.shard, num_rows=size, start=first * size), first):
                yield (visit, number), block

    def _visits(self, epoch: int, starts: Mapping[int, Place]) -> Iterator[Visit]:
        """The shards, each for the lanes that are not past it."""
        order, shards = self.order, self.order.shards(len(self.source.shards), epoch=epoch)
        for number in range(min(start.shard for start in starts.values()), len(shards)):
            here = Place(epoch, number, 0)
            firsts = {lane: max(start, here).row for lane, start in starts.items() if start.shard <= number}
            seats = {lane: order.seat(lane, epoch=epoch, visit=number) for lane in firsts}
            first_block = min(order.block_of(seats[lane], first) for lane, first in firsts.items())
            yield Visit(here, shards[number], first_block, seats, firsts)


class _Pass:
    """One pass over a sequential source, and what it dealt to lanes that have not asked for it yet."""

    def __init__(self, steps: Iterator[list[Hand]], *, lanes: Sequence[int]) -> None:
        self.steps = steps
        self.waiting: dict[int, deque[tuple[Place, Rows]]] = {lane: deque() for lane in lanes}

    def chunks(self, lane: int) -> Chunks:
        waiting = self.waiting[lane]
        yield from _drained(waiting)
        for dealt in self.steps:
            for owner, place, rows in dealt:
                if owner in self.waiting:
                    self.waiting[owner].append((place, rows))
            yield from _drained(waiting)


def rows_in_order(
    source: Source, lane: int, *, order: Order, epoch: int, shard_sizes: Sequence[int]
) -> Iterator[Int64Array]:
    """The rows that a reader gives a lane in an epoch, as numbers that count on from shard to shard."""
    if isinstance(source, IndexedSource):
        return (rows for _, rows in Deal(order, [lane], num_rows=source.num_rows).rows(lane, epoch=epoch))
    if order.has_pieces(_sizes(source)):
        return _piece_rows(order, lane, epoch=epoch, sizes=_sizes(source), shard_sizes=shard_sizes)
    return _sequential_rows(order, lane, epoch=epoch, shard_sizes=shard_sizes)


def row_at(source: Source, lane: int, place: Place, *, order: Order) -> RowPosition:
    """Where a lane reads on from a place; of a source that is read in blocks, the first row of the block there."""
    if isinstance(source, IndexedSource):
        num_rows = source.num_rows
        if place.row == lane_size(lane, num_rows=num_rows, num_lanes=order.num_lanes):
            place = Place(place.epoch + 1, 0, 0)
        number = int(order.rows(lane, np.array([place.row]), epoch=place.epoch, num_rows=num_rows)[0])
        starts = np.cumsum([0, *(each.num_rows or 0 for each in source.shards)])
        shard = int(np.searchsorted(starts, number, side="right")) - 1
        row = number - int(starts[shard])
    elif order.has_pieces(_sizes(source)):
        piece = order.pieces(lane, epoch=place.epoch, sizes=_sizes(source))[place.shard]
        shard, row = piece.shard, piece.start + place.row // order.block_size * order.block_size
    else:
        shard = order.shards(len(source.shards), epoch=place.epoch)[place.shard]
        row = order.block_of(order.seat(lane, epoch=place.epoch, visit=place.shard), place.row) * order.block_size
    return source.position(shard, row, place.epoch)


def _piece_rows(
    order: Order, lane: int, *, epoch: int, sizes: Sequence[int | None], shard_sizes: Sequence[int]
) -> Iterator[Int64Array]:
    offsets = np.cumsum([0, *shard_sizes])
    for piece in order.pieces(lane, epoch=epoch, sizes=sizes):
        end = shard_sizes[piece.shard] if piece.end is None else piece.end
        for block, start in enumerate(range(piece.start, end, order.block_size)):
            rows = order.rows_of_block(piece, block, min(order.block_size, end - start), epoch=epoch)
            yield offsets[piece.shard] + start + rows


def _sequential_rows(order: Order, lane: int, *, epoch: int, shard_sizes: Sequence[int]) -> Iterator[Int64Array]:
    offsets = np.cumsum([0, *shard_sizes])
    for visit, shard in enumerate(order.shards(len(shard_sizes), epoch=epoch)):
        seat = order.seat(lane, epoch=epoch, visit=visit)
        for block, start in enumerate(range(0, shard_sizes[shard], order.block_size)):
            num_rows = min(order.block_size, shard_sizes[shard] - start)
            _, rows = order.hand(seat, epoch=epoch, shard=shard, block=block, num_rows=num_rows)
            yield offsets[shard] + start + rows


def _sizes(source: Source) -> list[int | None]:
    return [shard.num_rows for shard in source.shards]


def _drained(queue: deque[tuple[Place, Rows]]) -> Chunks:
    while queue:
        yield queue.popleft()
