"""The packs of an epoch, partitioned over a number of batches: evenly, in order, and never an empty batch."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream import SourceError
from samsum_stream.lanes.epochs import partition, split_packs


def test_each_batch_has_its_share_of_the_packs() -> None:
    assert partition(7, 3) == [2, 2, 3]
    assert partition(3, 3) == [1, 1, 1]


@given(num_batches=st.integers(1, 50), num_more=st.integers(0, 400))
def test_batches_differ_by_at_most_one_pack_and_none_is_empty(num_batches: int, num_more: int) -> None:
    sizes = partition(num_batches + num_more, num_batches)
    assert sum(sizes) == num_batches + num_more
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


def test_the_pack_with_the_most_examples_is_split_first() -> None:
    assert split_packs(["abcd", "e"], 3) == ["ab", "cd", "e"]


@given(packs=st.lists(st.lists(st.integers(), min_size=1, max_size=9), min_size=1, max_size=9), data=st.data())
def test_pieces_keep_all_examples_in_order_and_none_is_empty(packs: list[list[int]], data: st.DataObject) -> None:
    num_examples = sum(map(len, packs))
    num_pieces = data.draw(st.integers(len(packs), num_examples))
    pieces = split_packs(packs, num_pieces)
    assert len(pieces) == num_pieces
    assert all(pieces)
    assert list(chain(*pieces)) == list(chain(*packs))


def test_fewer_examples_than_batches_are_an_error_with_a_remedy() -> None:
    with pytest.raises(SourceError, match=r"has 3 examples in an epoch.*each of 4 batches.*lower lanes"):
        split_packs(["ab", "c"], 4)
