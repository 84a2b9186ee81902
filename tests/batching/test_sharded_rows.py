"""Rows that ranks cut into parts: shapes, positions and labels, and the layouts that are refused."""

from typing import Any

import pytest
import torch
from torch.distributed.tensor.experimental._context_parallel._load_balancer import _HeadTailLoadBalancer

from samsum_stream import ConfigError
from samsum_stream.batching.collation import COLLATORS, Collator
from samsum_stream.batching.sharded_rows import for_shards, head_and_tail
from tests.batching.test_collation import FIRST, IGNORED, PAD, SECOND, THIRD, pack


def collator(method: str = "padded", **kwargs: Any) -> Collator:
    return COLLATORS[method](pad_token_id=PAD, max_length=8, **kwargs)


def test_padded_rows_get_positions_and_the_labels_of_the_next_tokens() -> None:
    batch = for_shards(collator(), 2)([pack(FIRST), pack(THIRD)])
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[1, 2, 3, 4, *[PAD] * 4], [*[8] * 5, *[PAD] * 3]],
        "attention_mask": [[1] * 8] * 2,
        "labels": [[IGNORED, IGNORED, 3, 4, *[IGNORED] * 4], [IGNORED, *[8] * 4, *[IGNORED] * 3]],
        "shift_labels": [[IGNORED, 3, 4, *[IGNORED] * 5], [*[8] * 4, *[IGNORED] * 4]],
        "position_ids": [[0, 1, 2, 3, 0, 0, 0, 0], [0, 1, 2, 3, 4, 0, 0, 0]],
    }
    assert all(tensor.dtype == torch.int64 for tensor in batch.values())


@pytest.mark.parametrize(
    ("num_shards", "multiple", "width"), [(2, None, 4), (2, 3, 12), (3, None, 6), (4, 4, 8), (4, 16, 16)]
)
def test_the_length_is_a_multiple_of_twice_the_ranks_and_of_the_configured_multiple(
    num_shards: int, multiple: int | None, width: int
) -> None:
    batch = for_shards(collator(pad_to_multiple_of=multiple), num_shards)([pack(SECOND)])
    assert {tensor.shape for tensor in batch.values()} == {(1, width)}


def test_one_rank_keeps_the_collator_and_several_ranks_do_not_change_it() -> None:
    whole = collator()
    assert for_shards(whole, 1) is whole
    for_shards(whole, 4)
    assert list(whole([pack(SECOND)])) == ["input_ids", "attention_mask", "labels"]
    assert whole([pack(SECOND)])["input_ids"].shape == (1, 3)


@pytest.mark.parametrize(
    ("layout", "got"),
    [
        ({"method": "packed"}, "packed"),
        ({"method": "packed", "attention": "block_mask"}, "packed"),
        ({"method": "padding_free"}, "padding_free"),
        ({"method": "padded", "padding_side": "left"}, "padded, padding_side: left"),
    ],
)
def test_a_layout_in_which_a_document_would_see_more_than_itself_is_an_error(layout: Any, got: str) -> None:
    with pytest.raises(ConfigError, match=rf"must be padded, with padding_side: right, .* got {got}\. In your own"):
        for_shards(collator(**layout), 2)


@pytest.mark.parametrize(("width", "num_shards"), [(4, 2), (16, 2), (12, 3), (32, 4)])
def test_parts_are_those_of_torch(width: int, num_shards: int) -> None:
    expected = _HeadTailLoadBalancer(width, num_shards, "cpu")._generate_indices()
    assert head_and_tail(width, num_shards).flatten().tolist() == expected.flatten().tolist()
