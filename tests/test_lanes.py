"""Who reads which row: a keyed permutation, and lanes that divide it evenly."""

from math import lcm

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream.errors import TopologyError
from samsum_stream.lanes import check_num_lanes, choose_num_lanes, lane_size, lanes_of_worker, permute

KEYS = st.tuples(st.integers(0, 2**31), st.integers(0, 1000))


def test_a_permutation_holds_every_row_once_for_every_length() -> None:
    for length in range(1, 5001):
        rows = permute(np.arange(length), length=length, key=(length, 0))
        # Everything in range, and nothing missing: one-to-one.
        assert (np.bincount(rows, minlength=length) == 1).all(), length
        assert len(rows) == length


@given(KEYS, st.integers(1, 2**45), st.data())
def test_windows_of_long_permutations_are_distinct_and_in_range(
    key: tuple[int, int], length: int, data: st.DataObject
) -> None:
    size = min(length, 2000)
    start = data.draw(st.integers(0, length - size))
    rows = permute(np.arange(start, start + size), length=length, key=key)
    assert rows.min() >= 0
    assert rows.max() < length
    assert len(np.unique(rows)) == size


@given(KEYS, st.integers(1, 3000))
def test_a_place_gives_the_same_row_whoever_asks_for_it_and_when(key: tuple[int, int], length: int) -> None:
    places = np.arange(length)
    all_at_once = permute(places, length=length, key=key)
    np.testing.assert_array_equal(all_at_once[::3], permute(places[::3], length=length, key=key))
    np.testing.assert_array_equal(places, np.arange(length), "the caller's places changed")


def test_another_seed_or_epoch_is_another_order() -> None:
    places = np.arange(1000)
    orders = [permute(places, length=1000, key=key) for key in [(0, 0), (0, 1), (1, 0), (1, 1), (7, 3), (3, 7)]]
    for place, order in enumerate(orders):
        assert not any(np.array_equal(order, other) for other in orders[:place])


def test_the_order_is_no_accident_of_a_version() -> None:
    assert permute(np.arange(10), length=10, key=(0, 0)).tolist() == [5, 2, 6, 3, 1, 7, 4, 0, 8, 9]


@pytest.mark.parametrize("length", [64, 1000, 4097])
def test_a_shuffled_order_has_no_memory_of_the_old_one(length: int) -> None:
    places = np.arange(length)
    rows = [permute(places, length=length, key=(seed, 0)) for seed in range(50)]
    correlations = [abs(np.corrcoef(places, order)[0, 1]) for order in rows]
    assert np.mean(correlations) < 2 / np.sqrt(length)
    fixed = np.mean([(order == places).sum() for order in rows])
    assert fixed < 3, "about one row keeps its place in a random permutation"
    neighbours = np.mean([(np.diff(order) == 1).sum() for order in rows])
    assert neighbours < 3, "about one pair of neighbours stays together"


@given(st.integers(1, 3000), st.integers(1, 40))
def test_lanes_partition_the_rows_and_differ_by_one_at_most(num_rows: int, num_lanes: int) -> None:
    sizes = [lane_size(lane, num_rows=num_rows, num_lanes=num_lanes) for lane in range(num_lanes)]
    assert sizes == [len(range(lane, num_rows, num_lanes)) for lane in range(num_lanes)]
    assert sum(sizes) == num_rows
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("num_lanes", [1, 2, 5, 24, 30])
def test_the_lanes_of_the_workers_partition_all_lanes(num_lanes: int) -> None:
    for num_workers in (workers for workers in range(1, num_lanes + 1) if num_lanes % workers == 0):
        owned = [lanes_of_worker(k, num_workers=num_workers, num_lanes=num_lanes) for k in range(num_workers)]
        assert sorted(lane for lanes in owned for lane in lanes) == list(range(num_lanes))
        assert {len(lanes) for lanes in owned} == {num_lanes // num_workers}


@pytest.mark.parametrize("num_workers", [1, 2, 3, 4, 6, 12])
def test_batches_of_workers_asked_in_turn_follow_the_lanes(num_workers: int) -> None:
    num_lanes = 12
    owned = [list(lanes_of_worker(k, num_workers=num_workers, num_lanes=num_lanes)) for k in range(num_workers)]
    in_turn = [owned[m % num_workers][m // num_workers % len(owned[0])] for m in range(3 * num_lanes)]
    assert in_turn == [m % num_lanes for m in range(3 * num_lanes)]


@pytest.mark.parametrize(
    ("num_rows", "num_readers", "num_lanes"),
    [
        (14_732, 1, 24),
        (14_732, 2, 24),
        (24 * 512, 1, 24),
        (24 * 512 - 1, 1, 12),
        (12 * 512 - 1, 1, 8),
        (1024, 1, 2),
        (1023, 1, 1),
        (1, 1, 1),
        (0, 3, 3),
        (1_000_000, 5, 120),
        (60 * 512, 5, 60),
        (100, 7, 7),
        (14_732, 7, 28),
    ],
)
def test_auto_is_the_most_lanes_that_common_topologies_can_share(
    num_rows: int, num_readers: int, num_lanes: int
) -> None:
    assert choose_num_lanes(num_rows, num_readers) == num_lanes


@given(st.integers(0, 10**7), st.integers(1, 64))
def test_auto_suits_the_readers_and_leaves_lanes_of_512_rows_or_one_a_reader(num_rows: int, num_readers: int) -> None:
    num_lanes = choose_num_lanes(num_rows, num_readers)
    assert num_lanes % num_readers == 0
    assert lcm(24, num_readers) % num_lanes == 0
    assert num_lanes == num_readers or num_rows // num_lanes >= 512


def test_lanes_that_workers_cannot_share_evenly_are_an_error() -> None:
    check_num_lanes(12, num_rows=12, num_readers=4)
    check_num_lanes(12, num_rows=None, num_readers=4)
    with pytest.raises(TopologyError, match="lanes: 12 lanes cannot be shared evenly by 5 workers; .*divides 12"):
        check_num_lanes(12, num_rows=100, num_readers=5)


def test_more_lanes_than_rows_are_an_error() -> None:
    with pytest.raises(
        TopologyError, match="lanes: 12 lanes, shared by 4 workers, need as many rows, but the source has 11"
    ):
        check_num_lanes(12, num_rows=11, num_readers=4)
