"""Packs to tensors: keys, shapes, dtypes and values of every layout."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream.batching.attention import ATTENTION
from samsum_stream.batching.collation import COLLATORS
from samsum_stream.values.batches import Pack
from samsum_stream.values.examples import Example
from samsum_stream.values.rows import RowPosition

PAD = 9
IGNORED = -100
POSITION = RowPosition("rows", "", 0, 0)


def example(ids: Sequence[int], *spans: tuple[int, int]) -> Example:
    """An example with these trained spans."""
    return Example(np.array(ids, np.int32), np.array(spans, np.int32).reshape(-1, 2), POSITION)


def pack(*examples: Example) -> Pack:
    return Pack(examples)


FIRST, SECOND, THIRD = example([1, 2, 3, 4], (2, 4)), example([5, 6, 7], (1, 3)), example([8, 8, 8, 8, 8], (0, 5))


def collate(method: str, packs: Sequence[Pack], *, max_length: int = 8, **kwargs: Any) -> dict[str, Any]:
    return COLLATORS[method](pad_token_id=PAD, max_length=max_length, **kwargs)(packs)


def test_packed_rows_are_padded_to_max_length_and_positions_restart() -> None:
    batch = collate("packed", [pack(FIRST, SECOND), pack(THIRD)])
    assert list(batch) == ["input_ids", "labels", "position_ids"]
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5, 6, 7, PAD], [8, 8, 8, 8, 8, PAD, PAD, PAD]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 2, 0], [0, 1, 2, 3, 4, 0, 0, 0]]
    assert batch["labels"].tolist() == [
        [IGNORED, IGNORED, 3, 4, IGNORED, 6, 7, IGNORED],
        [IGNORED, 8, 8, 8, 8, IGNORED, IGNORED, IGNORED],
    ]


def test_a_full_pack_has_no_padding() -> None:
    batch = collate("packed", [pack(FIRST, FIRST)])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 1, 2, 3, 4]]


def test_an_empty_pack_is_a_row_of_padding_without_a_label() -> None:
    batch = collate("packed", [pack(FIRST), pack(), pack()])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, *[PAD] * 4], [PAD] * 8, [PAD] * 8]
    assert batch["labels"][1:].tolist() == [[IGNORED] * 8] * 2
    assert batch["position_ids"][1:].tolist() == [[0] * 8] * 2


def test_only_the_packed_layout_has_a_fixed_shape() -> None:
    assert {method: kind.has_fixed_shape for method, kind in COLLATORS.items()} == {
        "packed": True,
        "padded": False,
        "padding_free": False,
    }


def test_padded_rows_are_padded_to_the_longest_on_the_right() -> None:
    batch = collate("padded", [pack(FIRST), pack(SECOND)])
    assert list(batch) == ["input_ids", "attention_mask", "labels"]
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4], [5, 6, 7, PAD]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert batch["labels"].tolist() == [[IGNORED, IGNORED, 3, 4], [IGNORED, 6, 7, IGNORED]]


def test_padded_rows_can_be_padded_on_the_left() -> None:
    batch = collate("padded", [pack(FIRST), pack(SECOND)], padding_side="left")
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4], [PAD, 5, 6, 7]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [0, 1, 1, 1]]
    assert batch["labels"].tolist() == [[IGNORED, IGNORED, 3, 4], [IGNORED, IGNORED, 6, 7]]


@pytest.mark.parametrize(("multiple", "width"), [(None, 5), (1, 5), (2, 6), (5, 5), (8, 8)])
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_padded_width_is_a_multiple(multiple: int | None, width: int, side: str) -> None:
    batch = collate("padded", [pack(THIRD), pack(SECOND)], pad_to_multiple_of=multiple, padding_side=side)
    assert {tuple(value.shape) for value in batch.values()} == {(2, width)}
    assert batch["attention_mask"].sum(1).tolist() == [5, 3]


def test_padding_free_puts_all_examples_end_to_end_with_their_borders() -> None:
    batch = collate("padding_free", [pack(FIRST, SECOND), pack(THIRD)])
    keys = ["cu_seq_lens_k", "cu_seq_lens_q", "input_ids", "labels", "max_length_k", "max_length_q", "position_ids"]
    assert sorted(batch) == keys
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8, 8]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 2, 0, 1, 2, 3, 4]]
    assert batch["labels"].tolist() == [[IGNORED, IGNORED, 3, 4, IGNORED, 6, 7, IGNORED, 8, 8, 8, 8]]
    assert batch["cu_seq_lens_q"].tolist() == batch["cu_seq_lens_k"].tolist() == [0, 4, 7, 12]
    assert batch["max_length_q"] == batch["max_length_k"] == 5
    # FlashAttention takes int32 borders and plain numbers.
    assert batch["cu_seq_lens_q"].dtype == batch["cu_seq_lens_k"].dtype == torch.int32
    assert type(batch["max_length_q"]) is int


def test_the_padding_of_a_row_without_padding_is_a_document_of_its_own() -> None:
    batch = collate("padding_free", [pack(FIRST, SECOND)], pad_to_multiple_of=4)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5, 6, 7, PAD]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 2, 0]]
    assert batch["labels"].tolist() == [[IGNORED, IGNORED, 3, 4, IGNORED, 6, 7, IGNORED]]
    assert batch["cu_seq_lens_q"].tolist() == batch["cu_seq_lens_k"].tolist() == [0, 4, 7, 8]
    assert batch["max_length_q"] == batch["max_length_k"] == 4
    full = collate("padding_free", [pack(FIRST)], pad_to_multiple_of=4)
    assert full["cu_seq_lens_q"].tolist() == [0, 4]


@pytest.mark.parametrize("attention", sorted(ATTENTION))
def test_packed_rows_are_as_long_as_a_multiple(attention: str) -> None:
    plain = collate("packed", [pack(FIRST, SECOND), pack(THIRD)], attention=attention)
    batch = collate("packed", [pack(FIRST, SECOND), pack(THIRD)], attention=attention, pad_to_multiple_of=7)
    width = 14  # a row of 8 tokens
    assert batch["input_ids"].numel() == 2 * width
    rows, plain_rows = batch["input_ids"].reshape(2, width), plain["input_ids"].reshape(2, 8)
    assert torch.equal(rows[:, :8], plain_rows)
    assert (rows[:, 8:] == PAD).all()


@pytest.mark.parametrize("method", sorted(COLLATORS))
def test_inputs_of_an_embedding_or_a_loss_are_int64_and_contiguous(method: str) -> None:
    batch = collate(method, [pack(FIRST), pack(SECOND)])
    for name in ("input_ids", "labels", "position_ids", "attention_mask"):
        if name in batch:
            assert batch[name].dtype == torch.int64
            assert batch[name].is_contiguous()


@pytest.mark.parametrize("method", sorted(COLLATORS))
def test_the_ignored_label_can_be_another_number(method: str) -> None:
    usual, other = collate(method, [pack(FIRST)]), collate(method, [pack(FIRST)], ignore_index=-1)
    assert other["labels"].tolist() == torch.where(usual["labels"] == IGNORED, -1, usual["labels"]).tolist()
    assert -1 in other["labels"]


@pytest.mark.parametrize("method", sorted(COLLATORS))
def test_tensors_share_no_memory_with_the_packs(method: str) -> None:
    ids = np.array([1, 2, 3], np.int32)
    batch = collate(method, [pack(Example(ids, np.array([[1, 3]], np.int32), POSITION))])
    batch["labels"].fill_(7)
    batch["input_ids"].fill_(7)
    assert ids.tolist() == [1, 2, 3]


@st.composite
def examples_with_spans(draw: st.DrawFn) -> Example:
    """An example of 1 to 8 tokens with up to two trained spans."""
    ids = draw(st.lists(st.integers(10, 99), min_size=1, max_size=8))
    borders = sorted(draw(st.lists(st.integers(0, len(ids)), max_size=4)))
    return example(ids, *zip(borders[::2], borders[1::2], strict=False))


EXAMPLES = examples_with_spans()
PACKS = st.lists(st.lists(EXAMPLES, min_size=1, max_size=3).map(tuple).map(Pack), min_size=1, max_size=4)


@given(PACKS)
def test_packed_and_padding_free_hold_each_example_unchanged(packs: list[Pack]) -> None:
    packed, free = collate("packed", packs, max_length=24), collate("padding_free", packs)
    for row, one_pack in enumerate(packs):
        start = 0
        for one in one_pack.examples:
            end = start + len(one.input_ids)
            assert packed["input_ids"][row, start:end].tolist() == one.input_ids.tolist()
            assert packed["labels"][row, start:end].tolist() == one.labels.tolist()
            assert packed["position_ids"][row, start:end].tolist() == list(range(end - start))
            start = end
        assert (packed["input_ids"][row, start:] == PAD).all()
        assert (packed["labels"][row, start:] == IGNORED).all()
        assert (packed["position_ids"][row, start:] == 0).all()
    examples = [one for one_pack in packs for one in one_pack.examples]
    borders = free["cu_seq_lens_q"].tolist()
    assert borders[-1] == free["input_ids"].shape[1]
    for one, start, end in zip(examples, borders[:-1], borders[1:], strict=True):
        assert free["input_ids"][0, start:end].tolist() == one.input_ids.tolist()
        assert free["labels"][0, start:end].tolist() == one.labels.tolist()
        assert free["position_ids"][0, start:end].tolist() == list(range(end - start))
    assert free["max_length_q"] == max(len(one.input_ids) for one in examples)


@given(st.lists(EXAMPLES, min_size=1, max_size=5), st.sampled_from(["left", "right"]), st.integers(1, 9))
def test_padded_holds_each_example_unchanged(examples: list[Example], side: str, multiple: int) -> None:
    packs = [pack(one) for one in examples]
    batch = collate("padded", packs, padding_side=side, pad_to_multiple_of=multiple)
    width = batch["input_ids"].shape[1]
    assert width % multiple == 0
    assert width - multiple < max(len(one.input_ids) for one in examples) <= width
    for row, one in enumerate(examples):
        real = batch["attention_mask"][row].bool()
        assert batch["input_ids"][row][real].tolist() == one.input_ids.tolist()
        assert batch["labels"][row][real].tolist() == one.labels.tolist()
        assert (batch["input_ids"][row][~real] == PAD).all()
        assert (batch["labels"][row][~real] == IGNORED).all()
        assert real[-1 if side == "left" else 0]


@given(st.lists(st.integers(0, 99), min_size=1, max_size=8), st.integers(0, 8))
def test_the_labels_of_an_example_are_its_tokens_after_the_prompt(ids: list[int], num_prompt_tokens: int) -> None:
    start = min(num_prompt_tokens, len(ids))
    one, masked = example(ids, (start, len(ids))), max(start, 1)
    assert one.labels.tolist() == [IGNORED] * masked + ids[masked:]
    assert one.labels.dtype == one.input_ids.dtype == np.int32
    assert one.input_ids.tolist() == ids
