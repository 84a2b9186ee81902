"""The rows of each lane: every row once an epoch, in an order of (seed, epoch) alone."""

from collections.abc import Iterator
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream.lanes import lanes_of_worker
from samsum_stream.reading import BLOCK, FIRST_CHUNK, MAX_CHUNK, IndexedReader, Reader, SequentialReader
from samsum_stream.samples import Rows
from samsum_stream.sources import IndexedSource, SequentialSource, as_source

KINDS = pytest.mark.parametrize("kind", ["indexed", "sequential"])


def make_source(kind: str, num_rows: int) -> IndexedSource | SequentialSource:
    rows = [{"input": str(index), "response": "x"} for index in range(num_rows)]
    return as_source(rows if kind == "indexed" else lambda: iter(rows), name="rows", columns={})


def make_reader(
    kind: str, num_rows: int, *, num_lanes: int = 1, lanes: range | None = None, seed: int = 0, shuffle: bool = True
) -> Reader:
    source = make_source(kind, num_rows)
    if isinstance(source, IndexedSource):
        return IndexedReader(source, num_lanes=num_lanes, seed=seed, shuffle=shuffle)
    lanes = range(num_lanes) if lanes is None else lanes
    return SequentialReader(source, lanes=lanes, num_lanes=num_lanes, seed=seed, shuffle=shuffle)


def numbers(chunks: Iterator[Rows]) -> list[int]:
    return [int(row) for chunk in chunks for row in chunk.rows]


def read(reader: Reader, *, lane: int = 0, epoch: int = 0) -> list[int]:
    return numbers(reader.chunks(lane, epoch=epoch))


@KINDS
@given(num_rows=st.integers(1, 300), num_lanes=st.integers(1, 12), shuffle=st.booleans(), seed=st.integers(0, 99))
def test_every_row_is_in_exactly_one_lane(kind: str, num_rows: int, num_lanes: int, shuffle: bool, seed: int) -> None:
    reader = make_reader(kind, num_rows, num_lanes=num_lanes, seed=seed, shuffle=shuffle)
    lanes = [read(reader, lane=lane) for lane in range(num_lanes)]
    assert sorted(chain.from_iterable(lanes)) == list(range(num_rows))
    assert max(map(len, lanes)) - min(map(len, lanes)) <= 1


@KINDS
@pytest.mark.parametrize("num_workers", [1, 2, 3, 4, 6, 12])
def test_workers_read_the_same_lanes_whoever_owns_them(kind: str, num_workers: int) -> None:
    alone = make_reader(kind, 100, num_lanes=12)
    expected = [read(alone, lane=lane) for lane in range(12)]
    found: dict[int, list[int]] = {}
    for worker in range(num_workers):
        lanes = lanes_of_worker(worker, num_workers=num_workers, num_lanes=12)
        reader = make_reader(kind, 100, num_lanes=12, lanes=lanes)
        found |= {lane: read(reader, lane=lane) for lane in lanes}
    assert [found[lane] for lane in range(12)] == expected


@KINDS
def test_the_order_follows_from_seed_and_epoch_alone(kind: str) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return read(make_reader(kind, 200, seed=seed), epoch=epoch)

    assert order(0, 0) == order(0, 0)
    orders = [order(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(each) == list(range(200)) for each in orders)
    assert len(set(map(tuple, orders))) == 4


@KINDS
def test_global_random_state_is_neither_used_nor_changed(kind: str) -> None:
    np.random.seed(3)
    before = np.random.get_state()[1].tolist()
    first = read(make_reader(kind, 200))
    assert np.random.get_state()[1].tolist() == before
    np.random.seed(4)
    assert read(make_reader(kind, 200)) == first


@KINDS
def test_without_shuffling_the_rows_keep_their_order(kind: str) -> None:
    assert read(make_reader(kind, 2000, shuffle=False)) == list(range(2000))
    # More rows than a block, whose size is no multiple of three: the next block goes on where the last one ended.
    lanes = make_reader(kind, 2000, num_lanes=3, shuffle=False)
    assert [read(lanes, lane=lane) for lane in range(3)] == [list(range(lane, 2000, 3)) for lane in range(3)]


@KINDS
def test_more_rows_than_a_block_are_all_read(kind: str) -> None:
    num_rows = 2 * BLOCK + 17
    reader = make_reader(kind, num_rows, num_lanes=2)
    assert sorted(read(reader) + read(reader, lane=1)) == list(range(num_rows))


def test_an_indexed_reader_starts_with_a_small_chunk_and_grows() -> None:
    sizes = [len(chunk) for chunk in make_reader("indexed", BLOCK).chunks(0, epoch=0)]
    assert sizes[:6] == [FIRST_CHUNK, 64, 128, 256, MAX_CHUNK, MAX_CHUNK]
    assert sum(sizes) == BLOCK


def test_lanes_of_one_sequential_pass_may_be_read_in_turn() -> None:
    reader = make_reader("sequential", 60, num_lanes=3)
    lanes = [reader.chunks(lane, epoch=0) for lane in range(3)]
    found = [[] for _ in lanes]
    for _ in range(10):
        for rows, lane in zip(found, lanes, strict=True):
            rows += numbers(chunk for chunk in [next(lane, None)] if chunk is not None)
    assert found == [read(make_reader("sequential", 60, num_lanes=3), lane=lane) for lane in range(3)]


def test_a_lane_may_run_an_epoch_ahead_of_another() -> None:
    reader = make_reader("sequential", 60, num_lanes=2)
    ahead = [read(reader, lane=0, epoch=epoch) for epoch in range(3)]
    behind = [read(reader, lane=1, epoch=epoch) for epoch in range(3)]
    for one, other in zip(ahead, behind, strict=True):
        assert sorted(one + other) == list(range(60))
    assert reader.passes == {}, "rows of finished epochs are still held"


def test_a_sequential_source_is_read_once_an_epoch_for_all_lanes_of_a_worker() -> None:
    num_passes = 0

    def rows() -> Iterator[dict[str, str]]:
        nonlocal num_passes
        num_passes += 1
        return ({"input": str(index), "response": "x"} for index in range(50))

    source = as_source(rows, name="rows", columns={})
    num_passes = 0
    reader = SequentialReader(source, lanes=range(5), num_lanes=5, seed=0, shuffle=True)
    for lane in range(5):
        read(reader, lane=lane)
    assert num_passes == 1
