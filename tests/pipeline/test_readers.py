"""The rows of each lane: every row once an epoch, in an order of (seed, epoch) alone, from any place on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream.errors import SourceError
from samsum_stream.lanes.order import PLAIN_BLOCK, SHUFFLED_BLOCK, Order, Piece
from samsum_stream.lanes.position import Place
from samsum_stream.lanes.share import Share
from samsum_stream.pipeline.read_ahead import ReadAhead
from samsum_stream.pipeline.readers import (
    BLOCK,
    FIRST_CHUNK,
    MAX_CHUNK,
    Deal,
    IndexedReader,
    PieceReader,
    Reader,
    SequentialReader,
    make_reader,
    row_at,
    rows_in_order,
)
from samsum_stream.sources import Block, SequentialSource, Shard, Source, as_source
from samsum_stream.values.rows import Rows

KINDS = pytest.mark.parametrize("kind", ["indexed", "sequential", "shards", "sized shards", "many shards"])
READ_AHEAD = ReadAhead()
"""None of these sources is remote, so it has nothing to do."""

MANY = 48
"""Shards that are enough for twelve lanes to get whole ones."""


def starts_of(num_lanes: int) -> dict[int, Place]:
    return dict.fromkeys(range(num_lanes), Place(0, 0, 0))


class Shards(SequentialSource):
    """A sequential source of shards of these sizes, whose rows count on from shard to shard; remembers its passes."""

    def __init__(self, sizes: Sequence[int], *, are_known: bool = False) -> None:
        shards = tuple(Shard(str(index), size if are_known else None) for index, size in enumerate(sizes))
        super().__init__(name="rows", shards=shards)
        self.sizes, self.passes = sizes, []

    def blocks(self, shard: int, *, num_rows: int, start: int = 0) -> Iterator[Block]:
        self.passes.append((shard, start))
        offset = sum(self.sizes[:shard])
        for row in range(start, self.sizes[shard], num_rows):
            size = min(num_rows, self.sizes[shard] - row)
            yield Block(size, lambda indices, row=offset + row: rows_of(row + indices, shard))


def rows_of(numbers: np.ndarray, shard: int) -> Rows:
    texts = [str(number) for number in numbers.tolist()]
    return Rows(texts, texts, None, np.full(len(numbers), shard, np.int32), numbers)


def make_source(kind: str, num_rows: int) -> Source:
    rows = [{"input": str(index), "response": "x"} for index in range(num_rows)]
    if "shards" in kind:
        few = [num_rows // 2, num_rows - num_rows // 2 - num_rows // 5, num_rows // 5]
        many = [(num_rows + shard) // MANY for shard in range(MANY)]
        return Shards(many if kind == "many shards" else few, are_known=kind == "sized shards")
    return as_source(rows if kind == "indexed" else lambda: iter(rows), name="rows", columns={})


def shard_sizes(source: Source, num_rows: int) -> Sequence[int]:
    return source.sizes if isinstance(source, Shards) else [num_rows]


def open_reader(
    kind: str,
    num_rows: int,
    *,
    num_lanes: int = 1,
    starts: dict[int, Place] | None = None,
    seed: int = 0,
    shuffle: bool = True,
) -> Reader:
    """A reader of all lanes from the start, or of some from other places."""
    order = Order(num_lanes, seed, shuffle)
    starts = dict.fromkeys(range(num_lanes), Place(0, 0, 0)) if starts is None else starts
    return make_reader(make_source(kind, num_rows), order=order, starts=starts, read_ahead=READ_AHEAD)


def numbers(chunks: Iterator[tuple[Place, Rows]]) -> list[int]:
    return [int(row) for _, rows in chunks for row in rows.rows]


def read(reader: Reader, *, lane: int = 0, epoch: int = 0) -> list[int]:
    return numbers(reader.epoch(lane, Place(epoch, 0, 0)))


def places(chunks: Iterator[tuple[Place, Rows]]) -> list[tuple[Place, int]]:
    """Every row by the place that it has in the lane."""
    return [
        (place._replace(row=place.row + index), row)
        for place, rows in chunks
        for index, row in enumerate(rows.rows.tolist())
    ]


@KINDS
@given(num_rows=st.integers(1, 300), num_lanes=st.integers(1, 12), shuffle=st.booleans(), seed=st.integers(0, 99))
def test_every_row_is_in_exactly_one_lane(kind: str, num_rows: int, num_lanes: int, shuffle: bool, seed: int) -> None:
    reader = open_reader(kind, num_rows, num_lanes=num_lanes, seed=seed, shuffle=shuffle)
    lanes = [read(reader, lane=lane) for lane in range(num_lanes)]
    assert sorted(chain.from_iterable(lanes)) == list(range(num_rows))
    if kind != "many shards":
        assert max(map(len, lanes)) - min(map(len, lanes)) <= (3 if kind == "shards" else 1)


@contextmanager
def small_blocks() -> Iterator[None]:
    """Blocks of sizes that divide next to nothing, so that few rows are several of them."""
    with (
        mock.patch.multiple("samsum_stream.lanes.order", SHUFFLED_BLOCK=23, PLAIN_BLOCK=7),
        mock.patch("samsum_stream.pipeline.readers.BLOCK", 17),
    ):
        yield


@KINDS
@small_blocks()
@given(num_rows=st.integers(1, 300), num_lanes=st.integers(1, 12), shuffle=st.booleans(), epoch=st.integers(0, 3))
def test_the_rows_can_be_told_without_reading_them(
    kind: str, num_rows: int, num_lanes: int, shuffle: bool, epoch: int
) -> None:
    source, order = make_source(kind, num_rows), Order(num_lanes, 0, shuffle)
    reader = make_reader(
        source, order=order, starts=dict.fromkeys(range(num_lanes), Place(0, 0, 0)), read_ahead=ReadAhead()
    )
    for lane in range(num_lanes):
        told = rows_in_order(source, lane, order=order, epoch=epoch, shard_sizes=shard_sizes(source, num_rows))
        assert [row for rows in told for row in rows.tolist()] == read(reader, lane=lane, epoch=epoch)


@KINDS
@small_blocks()
@given(num_rows=st.integers(1, 300), num_lanes=st.integers(1, 6), shuffle=st.booleans(), data=st.data())
def test_a_lane_goes_on_from_any_of_its_places(
    kind: str, num_rows: int, num_lanes: int, shuffle: bool, data: st.DataObject
) -> None:
    """Each lane from a place of its own, in epochs of their own, and on into the next ones."""
    epochs = [data.draw(st.integers(0, 2)) for _ in range(num_lanes)]
    alone = open_reader(kind, num_rows, num_lanes=num_lanes, shuffle=shuffle)
    whole = [
        [places(alone.epoch(lane, Place(epoch, 0, 0))) for epoch in range(epochs[lane] + 2)]
        for lane in range(num_lanes)
    ]
    cuts = [data.draw(st.integers(0, len(whole[lane][epoch]))) for lane, epoch in enumerate(epochs)]
    starts = {
        lane: [*(place for place, _ in whole[lane][epoch]), Place(epoch + 1, 0, 0)][cut]
        for lane, (epoch, cut) in enumerate(zip(epochs, cuts, strict=True))
    }
    reader = open_reader(kind, num_rows, num_lanes=num_lanes, shuffle=shuffle, starts=starts)
    for lane, start in starts.items():
        expected = [pair for pairs in whole[lane] for pair in pairs if pair[0] >= start]
        later = [Place(epoch, 0, 0) for epoch in range(start.epoch + 1, epochs[lane] + 2)]
        assert [pair for place in [start, *later] for pair in places(reader.epoch(lane, place))] == expected


@KINDS
@small_blocks()
@given(num_rows=st.integers(12, 300), num_lanes=st.integers(1, 12), shuffle=st.booleans(), epoch=st.integers(0, 3))
def test_a_place_of_a_lane_can_be_told_as_a_row(
    kind: str, num_rows: int, num_lanes: int, shuffle: bool, epoch: int
) -> None:
    """Of an indexed source the very row, of another one the first of the block that is read for it."""
    source, order = make_source(kind, num_rows), Order(num_lanes, 0, shuffle)
    reader = make_reader(
        source, order=order, starts=dict.fromkeys(range(num_lanes), Place(0, 0, 0)), read_ahead=ReadAhead()
    )
    starts = np.cumsum([0, *shard_sizes(source, num_rows)[:-1]])
    offsets = {shard.name: int(start) for shard, start in zip(source.shards, starts, strict=True)}
    for lane in range(num_lanes):
        for place, row in places(reader.epoch(lane, Place(epoch, 0, 0)))[::5]:
            told = row_at(source, lane, place, order=order)
            first = offsets[told.shard] + told.row
            assert told.epoch == epoch
            assert first <= row < first + (1 if kind == "indexed" else order.block_size)


@KINDS
@pytest.mark.parametrize("num_workers", [1, 2, 3, 4, 6, 12])
def test_workers_read_the_same_lanes_whoever_owns_them(kind: str, num_workers: int) -> None:
    alone = open_reader(kind, 100, num_lanes=12)
    expected = [read(alone, lane=lane) for lane in range(12)]
    found: dict[int, list[int]] = {}
    for worker in range(num_workers):
        lanes = Share(0, worker=worker, num_workers=num_workers).lanes(12)
        reader = open_reader(kind, 100, num_lanes=12, starts=dict.fromkeys(lanes, Place(0, 0, 0)))
        found |= {lane: read(reader, lane=lane) for lane in lanes}
    assert [found[lane] for lane in range(12)] == expected


@KINDS
def test_the_order_follows_from_seed_and_epoch_alone(kind: str) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return read(open_reader(kind, 200, seed=seed), epoch=epoch)

    assert order(0, 0) == order(0, 0)
    orders = [order(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(each) == list(range(200)) for each in orders)
    assert len(set(map(tuple, orders))) == 4


@KINDS
def test_global_random_state_is_neither_used_nor_changed(kind: str) -> None:
    np.random.seed(3)
    before = np.random.get_state()[1].tolist()
    first = read(open_reader(kind, 200))
    assert np.random.get_state()[1].tolist() == before
    np.random.seed(4)
    assert read(open_reader(kind, 200)) == first


@pytest.mark.parametrize("kind", ["indexed", "sequential"])
def test_without_shuffling_the_rows_keep_their_order(kind: str) -> None:
    assert read(open_reader(kind, 2000, shuffle=False)) == list(range(2000))
    # More rows than a block, whose size is no multiple of three: the next block goes on where the last one ended.
    lanes = open_reader(kind, 2000, num_lanes=3, shuffle=False)
    assert [read(lanes, lane=lane) for lane in range(3)] == [list(range(lane, 2000, 3)) for lane in range(3)]


def test_without_shuffling_shards_are_read_in_their_order() -> None:
    assert read(open_reader("shards", 2000, shuffle=False)) == list(range(2000))
    lanes = open_reader("shards", 2000, num_lanes=3, shuffle=False)
    assert all(rows == sorted(rows) for rows in (read(lanes, lane=lane) for lane in range(3)))


@KINDS
@pytest.mark.parametrize("shuffle", [True, False])
def test_more_rows_than_a_block_are_all_read(kind: str, shuffle: bool) -> None:
    num_rows = 2 * max(BLOCK, SHUFFLED_BLOCK) + 17
    reader = open_reader(kind, num_rows, num_lanes=2, shuffle=shuffle)
    assert sorted(read(reader) + read(reader, lane=1)) == list(range(num_rows))


def test_an_indexed_reader_starts_with_a_small_chunk_and_grows() -> None:
    sizes = [len(rows) for _, rows in open_reader("indexed", BLOCK).epoch(0, Place(0, 0, 0))]
    assert sizes[0] == FIRST_CHUNK
    assert sizes[:6] == sorted(sizes[:6])
    assert sizes[5] == MAX_CHUNK == max(sizes[:-1])
    assert sum(sizes) == BLOCK


def test_lanes_of_one_sequential_pass_may_be_read_in_turn() -> None:
    reader = open_reader("sequential", 60, num_lanes=3)
    lanes = [reader.epoch(lane, Place(0, 0, 0)) for lane in range(3)]
    found = [[] for _ in lanes]
    for _ in range(10):
        for rows, lane in zip(found, lanes, strict=True):
            rows += numbers(chunk for chunk in [next(lane, None)] if chunk is not None)
    assert found == [read(open_reader("sequential", 60, num_lanes=3), lane=lane) for lane in range(3)]


@pytest.mark.parametrize("kind", ["sequential", "shards"])
def test_a_lane_may_run_an_epoch_ahead_of_another(kind: str) -> None:
    reader = open_reader(kind, 60, num_lanes=2)
    ahead = [read(reader, lane=0, epoch=epoch) for epoch in range(3)]
    behind = [read(reader, lane=1, epoch=epoch) for epoch in range(3)]
    for one, other in zip(ahead, behind, strict=True):
        assert sorted(one + other) == list(range(60))
    assert isinstance(reader, SequentialReader)
    assert reader.passes == {}, "rows of finished epochs are still held"


def test_a_sequential_source_is_read_once_an_epoch_for_all_lanes_of_a_worker() -> None:
    num_passes = 0

    def rows() -> Iterator[dict[str, str]]:
        nonlocal num_passes
        num_passes += 1
        return ({"input": str(index), "response": "x"} for index in range(50))

    source = as_source(rows, name="rows", columns={})
    num_passes = 0
    reader = make_reader(
        source, order=Order(5, 0, True), starts=dict.fromkeys(range(5), Place(0, 0, 0)), read_ahead=ReadAhead()
    )
    for lane in range(5):
        read(reader, lane=lane)
    assert num_passes == 1


def test_a_source_that_reads_any_row_is_read_by_number_and_another_one_in_passes() -> None:
    assert isinstance(open_reader("indexed", 10), IndexedReader)
    assert isinstance(open_reader("sequential", 10), SequentialReader)
    assert isinstance(open_reader("shards", 10), SequentialReader)


def test_a_lane_reads_pieces_of_its_own_where_rows_are_counted_or_shards_are_many() -> None:
    for kind in ("sized shards", "many shards"):
        reader = open_reader(kind, 960, num_lanes=12)
        assert isinstance(reader, PieceReader)
        lanes = [read(reader, lane=lane) for lane in range(12)]
        num_read = sum(map(len, lanes))
        assert num_read == 960
        assert reader.num_passed_over == 0 or kind == "sized shards"


def test_pieces_of_known_size_follow_each_other_through_the_shards() -> None:
    order = Order(3, 0, shuffle=False)
    pieces = [order.pieces(lane, epoch=0, sizes=[4, 0, 5, 1]) for lane in range(3)]
    assert pieces == [[Piece(0, 0, 4)], [Piece(2, 0, 3)], [Piece(2, 3, 5), Piece(3, 0, 1)]]


def test_a_shard_with_fewer_rows_than_it_promised_is_an_error() -> None:
    source = Shards([10, 10], are_known=True)
    source.sizes = [10, 7]
    reader = make_reader(source, order=Order(1, 0, shuffle=False), starts={0: Place(0, 0, 0)}, read_ahead=READ_AHEAD)
    with pytest.raises(SourceError, match=r"rows/1:7: the shard promised 10 rows and has 7; fetch or write it again"):
        read(reader)


# ---------------------------------------------------------------------------------------------- what a restart costs


def test_shards_and_blocks_before_every_start_are_not_read_again() -> None:
    source = Shards([3 * PLAIN_BLOCK] * 4)
    # Of two lanes each has half of a shard: the row 600 of lane 0 is behind 1200 rows of its shard, in the third block.
    starts = {0: Place(0, 1, 600), 1: Place(0, 2, 0)}
    reader = make_reader(source, order=Order(2, 0, shuffle=False), starts=starts, read_ahead=READ_AHEAD)
    first = numbers(reader.epoch(0, starts[0]))
    assert source.passes == [(1, 2 * PLAIN_BLOCK), (2, 0), (3, 0)]
    assert first[0] // (3 * PLAIN_BLOCK) == 1
    assert len(first) == 3 * PLAIN_BLOCK // 2 * 3 - 600


def test_rows_of_lanes_that_others_read_are_counted_as_passed_over() -> None:
    reader = open_reader("shards", 100, num_lanes=4, starts={1: Place(0, 0, 0)})
    num_read = len(read(reader, lane=1))
    assert reader.num_passed_over == 100 - num_read
    indexed = open_reader("indexed", 100, num_lanes=4, starts={1: Place(0, 0, 0)})
    read(indexed, lane=1)
    assert indexed.num_passed_over == 0


def test_rows_before_a_start_are_counted_as_passed_over() -> None:
    sizes = [3 * PLAIN_BLOCK, 100]
    reader = make_reader(
        Shards(sizes), order=Order(1, 0, shuffle=False), starts={0: Place(0, 0, 1200)}, read_ahead=ReadAhead()
    )
    assert len(numbers(reader.epoch(0, Place(0, 0, 1200)))) == sum(sizes) - 1200
    assert reader.num_passed_over == 1200


@given(
    num_lanes=st.integers(1, 12),
    rows_of_lane=st.integers(1, 60),
    odd=st.integers(0, 11),
    shuffle=st.booleans(),
    data=st.data(),
)
def test_blocks_of_all_lanes_together_give_each_lane_its_own_order(
    num_lanes: int, rows_of_lane: int, odd: int, shuffle: bool, data: st.DataObject
) -> None:
    num_rows = num_lanes * rows_of_lane + odd % num_lanes
    order = Order(num_lanes=num_lanes, seed=7, shuffle=shuffle)
    lanes = data.draw(st.lists(st.integers(0, num_lanes - 1), min_size=1, unique=True))
    with mock.patch.multiple("samsum_stream.pipeline.readers", BLOCK=16, MIN_BLOCK=4, NUM_BLOCKS=2):
        deal = Deal(order, lanes, num_rows=num_rows)
    for lane, epoch in [(lane, epoch) for epoch in range(2) for lane in lanes]:
        own = np.arange(rows_of_lane + (lane < odd % num_lanes))
        first = data.draw(st.integers(0, len(own)))
        expected = order.rows(lane, own[first:], epoch=epoch, num_rows=num_rows).tolist()
        found = list(deal.rows(lane, epoch=epoch, first=first))
        assert [row for _, rows in found for row in rows.tolist()] == expected
        assert [start for start, _ in found] == np.cumsum([first, *(len(rows) for _, rows in found)])[:-1].tolist()
