"""Items to packs: the rule of each method, and the optimal subset that closes a pack."""

from collections.abc import Iterator
from itertools import combinations, count, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream.batching.packing import PACKERS, best_subset
from samsum_stream.values.examples import Item
from tests.streams import make_items, row_of


def pack(method: str, lengths: list[int], *, max_length: int, buffer_size: int = 64) -> list[list[int]]:
    """The item numbers of each pack."""
    packer = PACKERS[method](max_length=max_length, buffer_size=buffer_size)
    return [[row_of(item) for item in packed] for packed in packer.pack(make_items(lengths))]


def endless() -> Iterator[Item]:
    """Items without an end."""
    return (item for number in count() for item in make_items([3 + number % 5]))


def test_without_packing_each_item_is_a_pack() -> None:
    assert pack("none", [1, 1, 8], max_length=8) == [[0], [1], [2]]


def test_greedy_keeps_the_order_and_closes_a_pack_when_the_next_item_does_not_fit() -> None:
    assert pack("greedy", [4, 4, 6], max_length=9) == [[0, 1], [2]]
    assert pack("greedy", [6, 4, 2, 2, 8], max_length=8) == [[0], [1, 2, 3], [4]]


def test_an_item_that_fills_the_room_exactly_fits() -> None:
    for method in ("greedy", "first_fit", "best_fit"):
        assert pack(method, [5, 3], max_length=8) == [[0, 1]]


def test_first_fit_puts_an_item_into_the_first_open_pack_with_room() -> None:
    assert pack("first_fit", [6, 5, 3, 2], max_length=8) == [[0, 3], [1, 2]]
    assert pack("first_fit", [6, 5, 2, 3], max_length=8) == [[0, 2], [1, 3]]


def test_first_fit_closes_the_oldest_pack_when_more_than_its_buffer_waits() -> None:
    assert pack("first_fit", [6, 6, 6, 2], max_length=8, buffer_size=2) == [[0], [1, 3], [2]]
    assert pack("first_fit", [6, 6, 6, 2], max_length=8, buffer_size=3) == [[0, 3], [1], [2]]


@given(st.lists(st.integers(1, 20), max_size=60), st.integers(20, 40), st.integers(1, 8))
def test_first_fit_buffers_no_more_items_than_its_buffer_size(lengths: list[int], room: int, buffer_size: int) -> None:
    num_taken = 0

    def counted() -> Iterator[Item]:
        nonlocal num_taken
        for item in make_items(lengths):
            num_taken += 1
            yield item

    num_packed = 0
    for packed in PACKERS["first_fit"](max_length=room, buffer_size=buffer_size).pack(counted()):
        if num_taken < len(lengths):
            # The packer has just taken one item more than fits into its buffer.
            assert num_taken - num_packed == buffer_size + 1
        num_packed += len(packed)
    assert num_packed == len(lengths)


def test_best_fit_starts_with_the_oldest_continues_with_the_oldest_that_fits_and_closes_with_the_best_subset() -> None:
    # 0 leaves room for 14 of 23 tokens, which is more than half; 1 leaves 9 of 18, which 5 + 4 fill.
    assert pack("best_fit", [6, 5, 8, 5, 4, 1], max_length=20)[0] == [0, 1, 3, 4]
    # 0 leaves room for 14 of 34 tokens, less than half: the best subset closes the pack immediately.
    assert pack("best_fit", [6, 7, 9, 8, 5, 5], max_length=20)[0] == [0, 2, 4]


def test_best_fit_refills_its_window_while_a_pack_is_being_filled() -> None:
    assert pack("best_fit", [2, 2, 2, 2, 2, 2], max_length=12, buffer_size=2) == [[0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize("method", sorted(PACKERS))
def test_a_packer_yields_a_pack_as_soon_as_it_is_closed(method: str) -> None:
    packs = PACKERS[method](max_length=16, buffer_size=8).pack(endless())
    assert len(list(islice(packs, 50))) == 50


@pytest.mark.parametrize("method", sorted(PACKERS))
@given(st.lists(st.integers(1, 20), max_size=60), st.integers(20, 40), st.integers(1, 8))
def test_lengths_alone_are_packed_like_the_items(method: str, lengths: list[int], room: int, buffer_size: int) -> None:
    packer = PACKERS[method](max_length=room, buffer_size=buffer_size)
    counted = [[length for (length,) in packed] for packed in packer.pack((length,) for length in lengths)]
    assert counted == [[item[0] for item in packed] for packed in packer.pack(make_items(lengths))]


@given(st.lists(st.integers(1, 40), max_size=12), st.integers(0, 100))
def test_the_best_subset_is_optimal_and_has_each_index_once_in_order(lengths: list[int], room: int) -> None:
    chosen = best_subset(lengths, room)
    assert chosen == sorted(set(chosen))
    assert sum(lengths[index] for index in chosen) == highest_sum(lengths, room)


def highest_sum(lengths: list[int], room: int) -> int:
    sums = (sum(subset) for size in range(len(lengths) + 1) for subset in combinations(lengths, size))
    return max(total for total in sums if total <= room)


def test_older_items_are_preferred_among_equal_subsets() -> None:
    assert best_subset([4, 4, 4, 4], 8) == [0, 1]
    assert best_subset([3, 5, 8, 8], 8) == [0, 1]


def test_nothing_is_chosen_if_nothing_fits() -> None:
    assert best_subset([], 5) == []
    assert best_subset([3, 4], 2) == []
    assert best_subset([3, 4], 0) == []
