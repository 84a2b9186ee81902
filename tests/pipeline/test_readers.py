"""The rows of each lane: every row once in an epoch, in an order that depends on seed and epoch, from any cursor."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream.errors import SourceError
from samsum_stream.lanes.order import PLAIN_BLOCK, SHUFFLED_BLOCK, Order, ShardRange
from samsum_stream.lanes.position import Cursor
from samsum_stream.lanes.share import Share
from samsum_stream.pipeline.read_ahead import ReadAhead
from samsum_stream.pipeline.readers import Reader, make_reader
from samsum_stream.pipeline.readers.base import FIRST_CHUNK, MAX_CHUNK
from samsum_stream.pipeline.readers.indexed import BLOCK, IndexedReader
from samsum_stream.pipeline.readers.ranges import RangeReader
from samsum_stream.pipeline.readers.shared import SharedReader
from samsum_stream.sources import Block, SequentialSource, Shard, Source, as_source
from samsum_stream.values.rows import Instructions, Rows

KINDS = pytest.mark.parametrize("kind", ["indexed", "sequential", "shards", "sized shards", "many shards"])
READ_AHEAD = ReadAhead()
"""None of these sources is remote, so that nothing is read ahead."""

MANY = 48
"""With this number of shards, each of twelve lanes gets whole shards."""


def starts_of(num_lanes: int) -> dict[int, Cursor]:
    return dict.fromkeys(range(num_lanes), Cursor(0, 0, 0))


class Shards(SequentialSource):
    """A sequential source with shards of these sizes. Rows are numbered over all shards. Records each read."""

    def __init__(self, sizes: Sequence[int], *, are_known: bool = False) -> None:
        shards = tuple(Shard(str(index), size if are_known else None) for index, size in enumerate(sizes))
        super().__init__(name="rows", shards=shards)
        self.sizes, self.reads = sizes, []

    def blocks(self, shard: int, *, num_rows: int, start: int = 0) -> Iterator[Block]:
        self.reads.append((shard, start))
        offset = sum(self.sizes[:shard])
        for row in range(start, self.sizes[shard], num_rows):
            size = min(num_rows, self.sizes[shard] - row)
            yield Block(size, lambda indices, row=offset + row: rows_of(row + indices, shard))


def rows_of(numbers: np.ndarray, shard: int) -> Rows:
    texts = [str(number) for number in numbers.tolist()]
    return Rows(Instructions(texts, texts), np.full(len(numbers), shard, np.int32), numbers)


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
    starts: dict[int, Cursor] | None = None,
    seed: int = 0,
    shuffle: bool = True,
) -> Reader:
    """A reader of all lanes from the start, or of some lanes from other cursors."""
    order = Order(num_lanes, seed, shuffle)
    starts = dict.fromkeys(range(num_lanes), Cursor(0, 0, 0)) if starts is None else starts
    return make_reader(make_source(kind, num_rows), order=order, starts=starts, read_ahead=READ_AHEAD)


def numbers_of(chunks: Iterator[tuple[Cursor, Rows]]) -> list[int]:
    return [int(row) for _, rows in chunks for row in rows.rows]


def read(reader: Reader, *, lane: int = 0, epoch: int = 0) -> list[int]:
    return numbers_of(reader.epoch(lane, Cursor(epoch, 0, 0)))


def cursors_of(chunks: Iterator[tuple[Cursor, Rows]]) -> list[tuple[Cursor, int]]:
    """Every row with its cursor."""
    return [
        (cursor._replace(row=cursor.row + index), row)
        for cursor, rows in chunks
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
    """Block sizes that divide few numbers, so that few rows have several blocks."""
    with (
        mock.patch.multiple("samsum_stream.lanes.order", SHUFFLED_BLOCK=23, PLAIN_BLOCK=7),
        mock.patch("samsum_stream.pipeline.readers.indexed.BLOCK", 17),
        mock.patch("samsum_stream.pipeline.readers.indexed.MIN_BLOCK", 5),
    ):
        yield


@KINDS
@small_blocks()
@given(num_rows=st.integers(1, 300), num_lanes=st.integers(1, 12), shuffle=st.booleans(), epoch=st.integers(0, 3))
def test_numbers_are_the_rows_that_an_epoch_reads(
    kind: str, num_rows: int, num_lanes: int, shuffle: bool, epoch: int
) -> None:
    source, order = make_source(kind, num_rows), Order(num_lanes, 0, shuffle)
    reader = make_reader(source, order=order, starts=starts_of(num_lanes), read_ahead=READ_AHEAD)
    for lane in range(num_lanes):
        lane_reader = make_reader(source, order=order, starts={lane: Cursor(epoch, 0, 0)})
        numbers = lane_reader.numbers(lane, epoch=epoch, shard_sizes=shard_sizes(source, num_rows))
        assert [row for rows in numbers for row in rows.tolist()] == read(reader, lane=lane, epoch=epoch)


@KINDS
@small_blocks()
@given(num_rows=st.integers(1, 300), num_lanes=st.integers(1, 6), shuffle=st.booleans(), data=st.data())
def test_a_lane_continues_from_any_of_its_cursors(
    kind: str, num_rows: int, num_lanes: int, shuffle: bool, data: st.DataObject
) -> None:
    """Each lane has its own cursor in its own epoch, and continues into the next epochs."""
    epochs = [data.draw(st.integers(0, 2)) for _ in range(num_lanes)]
    reference = open_reader(kind, num_rows, num_lanes=num_lanes, shuffle=shuffle)
    whole = [
        [cursors_of(reference.epoch(lane, Cursor(epoch, 0, 0))) for epoch in range(epochs[lane] + 2)]
        for lane in range(num_lanes)
    ]
    cuts = [data.draw(st.integers(0, len(whole[lane][epoch]))) for lane, epoch in enumerate(epochs)]
    starts = {
        lane: [*(cursor for cursor, _ in whole[lane][epoch]), Cursor(epoch + 1, 0, 0)][cut]
        for lane, (epoch, cut) in enumerate(zip(epochs, cuts, strict=True))
    }
    reader = open_reader(kind, num_rows, num_lanes=num_lanes, shuffle=shuffle, starts=starts)
    for lane, start in starts.items():
        expected = [pair for pairs in whole[lane] for pair in pairs if pair[0] >= start]
        later = [Cursor(epoch, 0, 0) for epoch in range(start.epoch + 1, epochs[lane] + 2)]
        assert [pair for cursor in [start, *later] for pair in cursors_of(reader.epoch(lane, cursor))] == expected


@KINDS
@small_blocks()
@given(num_rows=st.integers(12, 300), num_lanes=st.integers(1, 12), shuffle=st.booleans(), epoch=st.integers(0, 3))
def test_row_at_gives_the_row_or_its_block(kind: str, num_rows: int, num_lanes: int, shuffle: bool, epoch: int) -> None:
    """The row itself for an indexed source, else the first row of the block that is read."""
    source, order = make_source(kind, num_rows), Order(num_lanes, 0, shuffle)
    reader = make_reader(source, order=order, starts=starts_of(num_lanes), read_ahead=READ_AHEAD)
    starts = np.cumsum([0, *shard_sizes(source, num_rows)[:-1]])
    offsets = {shard.name: int(start) for shard, start in zip(source.shards, starts, strict=True)}
    for lane in range(num_lanes):
        for cursor, row in cursors_of(reader.epoch(lane, Cursor(epoch, 0, 0)))[::5]:
            position = make_reader(source, order=order, starts={lane: cursor}).row_at(lane, cursor)
            first = offsets[position.shard] + position.row
            assert position.epoch == epoch
            assert first <= row < first + (1 if kind == "indexed" else order.block_size)


@KINDS
@pytest.mark.parametrize("num_workers", [1, 2, 3, 4, 6, 12])
def test_any_worker_reads_the_same_rows_of_a_lane(kind: str, num_workers: int) -> None:
    reference = open_reader(kind, 100, num_lanes=12)
    expected = [read(reference, lane=lane) for lane in range(12)]
    rows_of_lanes: dict[int, list[int]] = {}
    for worker in range(num_workers):
        lanes = Share(0, worker=worker, num_workers=num_workers).lanes(12)
        reader = open_reader(kind, 100, num_lanes=12, starts=dict.fromkeys(lanes, Cursor(0, 0, 0)))
        rows_of_lanes |= {lane: read(reader, lane=lane) for lane in lanes}
    assert [rows_of_lanes[lane] for lane in range(12)] == expected


@KINDS
def test_seed_and_epoch_determine_the_order(kind: str) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return read(open_reader(kind, 200, seed=seed), epoch=epoch)

    assert order(0, 0) == order(0, 0)
    orders = [order(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(rows) == list(range(200)) for rows in orders)
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
    # There are more rows than in a block, and the block size is not a multiple of three.
    lanes = open_reader(kind, 2000, num_lanes=3, shuffle=False)
    assert [read(lanes, lane=lane) for lane in range(3)] == [list(range(lane, 2000, 3)) for lane in range(3)]


def test_without_shuffling_shards_are_read_in_order() -> None:
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
    sizes = [len(rows) for _, rows in open_reader("indexed", BLOCK).epoch(0, Cursor(0, 0, 0))]
    assert sizes[0] == FIRST_CHUNK
    assert sizes[:6] == sorted(sizes[:6])
    assert sizes[5] == MAX_CHUNK == max(sizes[:-1])
    assert sum(sizes) == BLOCK


def test_lanes_that_share_shards_can_take_turns() -> None:
    reader = open_reader("sequential", 60, num_lanes=3)
    lanes = [reader.epoch(lane, Cursor(0, 0, 0)) for lane in range(3)]
    rows_of_lanes = [[] for _ in lanes]
    for _ in range(10):
        for rows, lane in zip(rows_of_lanes, lanes, strict=True):
            rows += numbers_of(chunk for chunk in [next(lane, None)] if chunk is not None)
    assert rows_of_lanes == [read(open_reader("sequential", 60, num_lanes=3), lane=lane) for lane in range(3)]


@pytest.mark.parametrize("kind", ["sequential", "shards"])
def test_a_lane_can_be_epochs_ahead_of_another(kind: str) -> None:
    reader = open_reader(kind, 60, num_lanes=2)
    ahead = [read(reader, lane=0, epoch=epoch) for epoch in range(3)]
    behind = [read(reader, lane=1, epoch=epoch) for epoch in range(3)]
    for rows, other_rows in zip(ahead, behind, strict=True):
        assert sorted(rows + other_rows) == list(range(60))
    assert isinstance(reader, SharedReader)
    assert reader._epochs == {}, "rows of finished epochs are still in memory"


def test_a_sequential_source_is_read_once_in_an_epoch_for_all_lanes_of_a_worker() -> None:
    num_reads = 0

    def rows() -> Iterator[dict[str, str]]:
        nonlocal num_reads
        num_reads += 1
        return ({"input": str(index), "response": "x"} for index in range(50))

    source = as_source(rows, name="rows", columns={})
    num_reads = 0
    reader = make_reader(
        source, order=Order(5, 0, True), starts=dict.fromkeys(range(5), Cursor(0, 0, 0)), read_ahead=ReadAhead()
    )
    for lane in range(5):
        read(reader, lane=lane)
    assert num_reads == 1


def test_the_reading_strategy_follows_from_the_source() -> None:
    assert isinstance(open_reader("indexed", 10), IndexedReader)
    assert isinstance(open_reader("sequential", 10), SharedReader)
    assert isinstance(open_reader("shards", 10), SharedReader)


def test_a_lane_reads_its_own_ranges_if_row_counts_are_known_or_shards_are_many() -> None:
    for kind in ("sized shards", "many shards"):
        reader = open_reader(kind, 960, num_lanes=12)
        assert isinstance(reader, RangeReader)
        lanes = [read(reader, lane=lane) for lane in range(12)]
        num_read = sum(map(len, lanes))
        assert num_read == 960
        assert reader.num_passed_over == 0 or kind == "sized shards"


def test_ranges_follow_each_other_through_shards_of_known_size() -> None:
    order = Order(3, 0, shuffle=False)
    ranges = [order.ranges(lane, epoch=0, sizes=[4, 0, 5, 1]) for lane in range(3)]
    assert ranges == [[ShardRange(0, 0, 4)], [ShardRange(2, 0, 3)], [ShardRange(2, 3, 5), ShardRange(3, 0, 1)]]


def test_a_shard_with_fewer_rows_than_announced_is_an_error() -> None:
    source = Shards([10, 10], are_known=True)
    source.sizes = [10, 7]
    reader = make_reader(source, order=Order(1, 0, shuffle=False), starts={0: Cursor(0, 0, 0)}, read_ahead=READ_AHEAD)
    with pytest.raises(SourceError, match=r"rows/1:7: the shard promised 10 rows and has 7; fetch or write it again"):
        read(reader)


# ---------------------------------------------------------------------------------------------- what a restart costs


def test_shards_and_blocks_before_all_starts_are_not_read_again() -> None:
    source = Shards([3 * PLAIN_BLOCK] * 4)
    # Each of two lanes has half of a shard. Row 600 of lane 0 comes after 1200 rows of its shard, in the third block.
    starts = {0: Cursor(0, 1, 600), 1: Cursor(0, 2, 0)}
    reader = make_reader(source, order=Order(2, 0, shuffle=False), starts=starts, read_ahead=READ_AHEAD)
    first = numbers_of(reader.epoch(0, starts[0]))
    assert source.reads == [(1, 2 * PLAIN_BLOCK), (2, 0), (3, 0)]
    assert first[0] // (3 * PLAIN_BLOCK) == 1
    assert len(first) == 3 * PLAIN_BLOCK // 2 * 3 - 600


def test_rows_of_the_lanes_of_other_workers_are_counted_as_passed_over() -> None:
    reader = open_reader("shards", 100, num_lanes=4, starts={1: Cursor(0, 0, 0)})
    num_read = len(read(reader, lane=1))
    assert reader.num_passed_over == 100 - num_read
    indexed = open_reader("indexed", 100, num_lanes=4, starts={1: Cursor(0, 0, 0)})
    read(indexed, lane=1)
    assert indexed.num_passed_over == 0


def test_rows_before_a_start_are_counted_as_passed_over() -> None:
    sizes = [3 * PLAIN_BLOCK, 100]
    reader = make_reader(
        Shards(sizes), order=Order(1, 0, shuffle=False), starts={0: Cursor(0, 0, 1200)}, read_ahead=ReadAhead()
    )
    assert len(numbers_of(reader.epoch(0, Cursor(0, 0, 1200)))) == sum(sizes) - 1200
    assert reader.num_passed_over == 1200


@given(
    num_lanes=st.integers(1, 12),
    rows_of_lane=st.integers(1, 60),
    odd=st.integers(0, 11),
    shuffle=st.booleans(),
    data=st.data(),
)
def test_orders_that_are_computed_in_blocks_of_all_lanes_are_those_of_each_lane(
    num_lanes: int, rows_of_lane: int, odd: int, shuffle: bool, data: st.DataObject
) -> None:
    num_rows = num_lanes * rows_of_lane + odd % num_lanes
    order = Order(num_lanes=num_lanes, seed=7, shuffle=shuffle)
    lanes = data.draw(st.lists(st.integers(0, num_lanes - 1), min_size=1, unique=True))
    source = make_source("indexed", num_rows)
    with mock.patch.multiple("samsum_stream.pipeline.readers.indexed", BLOCK=16, MIN_BLOCK=4, NUM_BLOCKS=2):
        reader = make_reader(source, order=order, starts=dict.fromkeys(lanes, Cursor(0, 0, 0)), read_ahead=READ_AHEAD)
    for lane, epoch in [(lane, epoch) for epoch in range(2) for lane in lanes]:
        indices = np.arange(rows_of_lane + (lane < odd % num_lanes))
        first = data.draw(st.integers(0, len(indices)))
        expected = order.rows(lane, indices[first:], epoch=epoch, num_rows=num_rows).tolist()
        assert cursors_of(reader.epoch(lane, Cursor(epoch, 0, first))) == [
            (Cursor(epoch, 0, first + index), row) for index, row in enumerate(expected)
        ]
