"""How a packed batch marks its documents: the keys, shapes and values of each form."""

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream.batching.attention import ATTENTION
from samsum_stream.batching.collation import Packed
from samsum_stream.values.batches import Pack
from tests.batching.test_collation import PAD, example, pack

MAX_LENGTH = 8
PACKS = [
    pack(example([1, 2, 3], (1, 3)), example([4, 5], (1, 2))),
    pack(example([6, 7, 8, 9, 10, 11, 12, 13], (2, 8))),
    pack(),
]

lengths_of_packs = st.lists(
    st.lists(st.integers(1, MAX_LENGTH), max_size=5).filter(lambda lengths: sum(lengths) <= MAX_LENGTH),
    min_size=1,
    max_size=4,
).filter(any)


def collate(attention: str, packs: list[Pack]) -> dict[str, Any]:
    return Packed(pad_token_id=PAD, max_length=MAX_LENGTH, attention=attention)(packs)


def packs_of(lengths: list[list[int]]) -> list[Pack]:
    return [pack(*(example(range(1, length + 1), (1, length)) for length in row)) for row in lengths]


def documents_of(lengths: list[list[int]]) -> list[list[int]]:
    """The document of each token, row by row; -1 for padding."""
    numbered = [[number for number, length in enumerate(row) for _ in range(length)] for row in lengths]
    return [row + [-1] * (MAX_LENGTH - len(row)) for row in numbered]


@pytest.mark.parametrize(
    ("attention", "added"),
    [
        ("position_ids", set()),
        ("block_mask", {"attention_mask"}),
        ("varlen", {"cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k"}),
        ("full", {"attention_mask"}),
    ],
)
def test_each_form_adds_its_own_keys_to_ids_labels_and_positions(attention: str, added: set[str]) -> None:
    assert set(collate(attention, PACKS)) == {"input_ids", "labels", "position_ids"} | added


@given(lengths_of_packs)
def test_a_block_mask_lets_a_token_see_its_own_document_up_to_itself(lengths: list[list[int]]) -> None:
    mask = collate("block_mask", packs_of(lengths))["attention_mask"]
    assert mask.shape == (len(lengths), 1, MAX_LENGTH, MAX_LENGTH)
    for row, documents in zip(mask[:, 0], documents_of(lengths), strict=True):
        for token, document in enumerate(documents):
            seen = {other for other in range(token + 1) if documents[other] == document} if document >= 0 else {token}
            assert set((row[token] == 0).nonzero()[:, 0].tolist()) == seen
    assert (mask[mask != 0] == torch.finfo(torch.float32).min).all()


@given(lengths_of_packs)
def test_the_borders_of_varlen_are_those_of_documents_and_of_the_padding_after_them(lengths: list[list[int]]) -> None:
    batch = collate("varlen", packs_of(lengths))
    borders = batch["cu_seq_lens_q"].tolist()
    expected = [0]
    for row, row_lengths in enumerate(lengths):
        for length in row_lengths:
            expected.append(expected[-1] + length)
        expected.append((row + 1) * MAX_LENGTH)
    assert borders == sorted(set(expected))
    assert batch["cu_seq_lens_k"].tolist() == borders
    assert batch["cu_seq_lens_q"].dtype == torch.int32
    assert max(end - start for start, end in itertools.pairwise(borders)) <= batch["max_length_q"]


def test_varlen_is_the_packed_batch_in_one_row() -> None:
    plain, flat = collate("position_ids", PACKS), collate("varlen", PACKS)
    for name in ("input_ids", "labels", "position_ids"):
        assert flat[name].tolist() == [plain[name].flatten().tolist()]


@pytest.mark.parametrize("attention", ATTENTION)
def test_batches_have_one_shape_however_full_they_are(attention: str) -> None:
    """Therefore `torch.compile` compiles once. Only the borders of varlen depend on the number of documents."""
    almost_empty = [pack(example([1, 2], (1, 2))), pack(), pack()]
    for name, tensor in collate(attention, PACKS).items():
        other = collate(attention, almost_empty)[name]
        if torch.is_tensor(tensor) and not name.startswith("cu_seq_lens"):
            assert tensor.shape == other.shape
        elif not torch.is_tensor(tensor):
            assert tensor == other


@pytest.mark.parametrize("attention", ATTENTION)
def test_the_first_label_of_each_document_and_those_of_padding_are_ignored(attention: str) -> None:
    labels = collate(attention, PACKS)["labels"].reshape(3, MAX_LENGTH).tolist()
    assert labels == [[-100, 2, 3, -100, 5, -100, -100, -100], [-100, -100, 8, 9, 10, 11, 12, 13], [-100] * 8]
