"""Which reader reads which row: a keyed permutation, and lanes that partition it evenly."""

from functools import cache
from itertools import chain, islice, product
from math import lcm

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream.errors import TopologyError
from samsum_stream.lanes.permutation import lane_size, permute
from samsum_stream.lanes.share import Share, check_num_lanes, choose_num_lanes, fitting_workers

KEYS = st.tuples(st.integers(0, 2**31), st.integers(0, 1000))


def test_a_permutation_holds_every_row_once_for_every_length() -> None:
    for length in range(1, 5001):
        rows = permute(np.arange(length), length=length, key=(length, 0))
        # Every number is in the range and none is missing, so the map is one-to-one.
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
def test_an_index_always_gives_the_same_row(key: tuple[int, int], length: int) -> None:
    indices = np.arange(length)
    all_at_once = permute(indices, length=length, key=key)
    np.testing.assert_array_equal(all_at_once[::3], permute(indices[::3], length=length, key=key))
    np.testing.assert_array_equal(indices, np.arange(length), "the caller's array changed")


def test_keys_determine_the_order() -> None:
    indices = np.arange(1000)
    orders = [permute(indices, length=1000, key=key) for key in [(0, 0), (0, 1), (1, 0), (1, 1), (7, 3), (3, 7)]]
    for number, order in enumerate(orders):
        assert not any(np.array_equal(order, other) for other in orders[:number])


def test_the_order_is_the_same_in_every_version() -> None:
    assert permute(np.arange(10), length=10, key=(0, 0)).tolist() == [5, 2, 6, 3, 1, 7, 4, 0, 8, 9]


@pytest.mark.parametrize("length", [64, 1000, 4097])
def test_a_shuffled_order_is_uncorrelated_with_the_old_one(length: int) -> None:
    indices = np.arange(length)
    rows = [permute(indices, length=length, key=(seed, 0)) for seed in range(50)]
    correlations = [abs(np.corrcoef(indices, order)[0, 1]) for order in rows]
    assert np.mean(correlations) < 2 / np.sqrt(length)
    fixed = np.mean([(order == indices).sum() for order in rows])
    assert fixed < 3, "about one row keeps its index in a random permutation"
    neighbours = np.mean([(np.diff(order) == 1).sum() for order in rows])
    assert neighbours < 3, "about one pair of neighbours stays together"


@given(st.integers(1, 3000), st.integers(1, 40))
def test_lanes_partition_the_rows_and_differ_by_at_most_one(num_rows: int, num_lanes: int) -> None:
    sizes = [lane_size(lane, num_rows=num_rows, num_lanes=num_lanes) for lane in range(num_lanes)]
    assert sizes == [len(range(lane, num_rows, num_lanes)) for lane in range(num_lanes)]
    assert sum(sizes) == num_rows
    assert max(sizes) - min(sizes) <= 1


@cache
def topologies() -> tuple[tuple[int, int, int], ...]:
    """Every number of lanes, ranks and workers that fit, with up to 30, 8 and 8 of them."""
    sizes = product(range(1, 31), range(1, 9), range(1, 9))
    return tuple((lanes, ranks, workers) for lanes, ranks, workers in sizes if lanes % (ranks * workers) == 0)


def shares_of(ranks: int, workers: int, *, start: int) -> list[list[Share]]:
    """The share of each worker, rank by rank."""
    return [
        [Share(start, rank, ranks, worker=worker, num_workers=workers) for worker in range(workers)]
        for rank in range(ranks)
    ]


def first_batches(share: Share, count: int) -> list[int]:
    return list(islice(share.batches(None), count))


@given(st.integers(0, 10_000))
def test_all_workers_together_have_each_lane_and_each_batch_once(start: int) -> None:
    for num_lanes, ranks, workers in topologies():
        shares = list(chain.from_iterable(shares_of(ranks, workers, start=start)))
        lanes = [lane for share in shares for lane in share.lanes(num_lanes)]
        assert sorted(lanes) == list(range(num_lanes))
        rounds = 2 * num_lanes // (ranks * workers) + 1
        batches = [batch for share in shares for batch in first_batches(share, rounds)]
        assert sorted(batches) == list(range(start, start + rounds * ranks * workers))


@given(st.integers(0, 10_000))
def test_a_batch_comes_from_a_lane_of_the_worker_that_produces_it(start: int) -> None:
    for num_lanes, ranks, workers in topologies():
        for share in chain.from_iterable(shares_of(ranks, workers, start=start)):
            lanes = [batch % num_lanes for batch in first_batches(share, 2 * num_lanes)]
            assert set(lanes) == set(share.lanes(num_lanes))


@given(st.integers(0, 10_000))
def test_workers_in_turn_produce_the_batches_of_their_rank_in_order(start: int) -> None:
    for num_lanes, ranks, workers in topologies():
        for rank, rank_shares in enumerate(shares_of(ranks, workers, start=start)):
            batches = [share.batches(None) for share in rank_shares]
            in_turn = [next(batches[number % workers]) for number in range(2 * num_lanes)]
            first = start + (rank - start) % ranks
            assert in_turn == list(range(first, first + 2 * num_lanes * ranks, ranks))


@given(st.integers(0, 10_000), st.integers(0, 200))
def test_up_to_an_end_every_rank_produces_the_same_number_of_batches(start: int, num_batches: int) -> None:
    for _, ranks, workers in topologies():
        end = start + num_batches
        batches_of_ranks = [
            [batch for share in rank_shares for batch in share.batches(end)]
            for rank_shares in shares_of(ranks, workers, start=start)
        ]
        assert {len(batches) for batches in batches_of_ranks} == {-(-num_batches // ranks)}
        # All batches before the end, and after it as many as the ranks need to have equal numbers.
        assert sorted(chain(*batches_of_ranks)) == list(range(start, end + -num_batches % ranks))


@given(st.integers(1, 60), st.integers(1, 8), st.integers(0, 12))
def test_the_most_workers_that_share_the_lanes_evenly_are_found(share: int, world_size: int, num_workers: int) -> None:
    num_lanes = share * world_size
    fitting = fitting_workers(num_lanes, world_size=world_size, num_workers=num_workers)
    assert fitting <= num_workers
    assert (fitting == 0) == (num_workers == 0)
    if fitting:
        check_num_lanes(num_lanes, num_rows=None, ranks=world_size, workers=fitting)
        assert num_lanes % (world_size * fitting) == 0
    assert all(num_lanes % (world_size * more) for more in range(fitting + 1, num_workers + 1))


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
def test_auto_chooses_the_most_lanes_that_common_topologies_can_share(
    num_rows: int, num_readers: int, num_lanes: int
) -> None:
    assert choose_num_lanes(num_rows, num_readers) == num_lanes


@given(st.integers(0, 10**7), st.integers(1, 64))
def test_auto_suits_the_readers_and_gives_lanes_of_512_rows_or_one_lane_per_reader(
    num_rows: int, num_readers: int
) -> None:
    num_lanes = choose_num_lanes(num_rows, num_readers)
    assert num_lanes % num_readers == 0
    assert lcm(24, num_readers) % num_lanes == 0
    assert num_lanes == num_readers or num_rows // num_lanes >= 512


@pytest.mark.parametrize(("readers", "valid"), [("workers", "1, 2, 3, 4, 6, 12"), ("ranks", "1, 2, 3, 4, 6, 12")])
def test_lanes_that_cannot_be_shared_evenly_are_an_error_that_names_the_valid_numbers(readers: str, valid: str) -> None:
    check_num_lanes(12, num_rows=12, **{readers: 4})
    check_num_lanes(12, num_rows=None, **{readers: 4})
    with pytest.raises(
        TopologyError, match=f"lanes: 12 lanes cannot be shared evenly by 5 {readers}; use {valid} {readers}, or"
    ):
        check_num_lanes(12, num_rows=100, **{readers: 5})


def test_more_lanes_than_rows_are_an_error() -> None:
    with pytest.raises(
        TopologyError,
        match="lanes: 12 lanes need at least 12 rows, but the source has 11",
    ):
        check_num_lanes(12, num_rows=11, ranks=2, workers=3)
