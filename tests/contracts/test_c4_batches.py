"""C4: documents do not see each other, measured by log-probabilities of a model; batches have the keys of models."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from samsum_stream import SFTStream
from tests.streams import NUM_WORDS, make_rows, make_stream

pytestmark = pytest.mark.usefixtures("one_thread")

NUM_ROWS = 14

EXACT = 1e-5
DOCUMENTED = {
    "packed": {"input_ids", "labels", "position_ids"},
    "padded": {"input_ids", "attention_mask", "labels"},
    "padding_free": {
        "input_ids",
        "labels",
        "position_ids",
        "cu_seq_lens_q",
        "cu_seq_lens_k",
        "max_length_q",
        "max_length_k",
    },
}
LAYOUTS = pytest.mark.parametrize("layout", sorted(DOCUMENTED))


def make_model(attention: str) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=NUM_WORDS,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.5,
        use_cache=False,
        attn_implementation=attention,
    )
    return LlamaForCausalLM(config).eval()


def make_layout(layout: str, **changes: Any) -> SFTStream:
    return make_stream(make_rows(NUM_ROWS), collator_config={"method": layout}, **changes)


@torch.no_grad()
def log_probs(model: LlamaForCausalLM, batch: dict[str, Any]) -> torch.Tensor:
    """The log-probability of each token given the tokens before it, shape `[B, T - 1]`."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    scores = model(**inputs, use_cache=False).logits.log_softmax(-1)
    return scores[:, :-1].gather(-1, batch["input_ids"][:, 1:, None])[..., 0]


def documents(batch: dict[str, Any]) -> list[tuple[int, int, int]]:
    """Row, start and end of each document with a label, from the tensors of the batch."""
    real = batch.get("attention_mask")
    borders = []
    for row, ids in enumerate(batch["input_ids"].tolist()):
        if real is not None:
            tokens = real[row].nonzero()[:, 0].tolist()
            borders.append((row, tokens[0], tokens[-1] + 1))
            continue
        starts = [token for token, position in enumerate(batch["position_ids"][row].tolist()) if position == 0]
        row_borders = pairwise([*starts, len(ids)])
        borders += [(row, start, end) for start, end in row_borders if (batch["labels"][row, start:end] != -100).any()]
    return borders


def leak(model: LlamaForCausalLM, batch: dict[str, Any]) -> float:
    """The largest difference between a document in its batch and the same document in isolation."""
    packed = log_probs(model, batch)
    differences = []
    for row, start, end in documents(batch):
        isolated = log_probs(model, {"input_ids": batch["input_ids"][row : row + 1, start:end]})
        differences.append((packed[row, start : end - 1] - isolated[0]).abs().max().item())
    return max(differences)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("layout", ["packed", "padding_free"])
def test_each_document_is_predicted_as_in_isolation(layout: str, attention: str) -> None:
    model = make_model(attention)
    batches = list(make_layout(layout).loader())
    assert max(len(documents(batch)) for batch in batches) > 4
    assert max(leak(model, batch) for batch in batches) < EXACT


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_padding_does_not_reach_a_document(attention: str) -> None:
    batches = list(make_layout("padded").loader())
    assert max(leak(make_model(attention), batch) for batch in batches) < EXACT


def test_the_measurement_finds_a_leak() -> None:
    """With a mask of ones, a document sees the documents before it."""
    model, batch = make_model("sdpa"), next(iter(make_layout("packed").loader()))
    with_mask = {**batch, "attention_mask": torch.ones_like(batch["input_ids"])}
    assert leak(model, with_mask) > 0.1


@pytest.mark.parametrize("layout", ["packed", "padding_free"])
def test_packing_does_not_change_the_loss_and_its_gradient(layout: str) -> None:
    """The loss of a batch is the mean over all its labels, in any rows."""
    model = make_model("sdpa").train()
    [batch] = make_layout(layout, batch_size=100).loader()
    expected_loss, expected_gradient = loss_and_gradient(model, one_by_one(batch))
    loss, gradient = loss_and_gradient(model, [batch])
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-3, atol=1e-6)


def one_by_one(batch: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {name: batch[name][row : row + 1, start:end] for name in ("input_ids", "labels")}
        for row, start, end in documents(batch)
    ]


def loss_and_gradient(model: LlamaForCausalLM, batches: list[dict[str, Any]]) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    num_labels = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in batches)
    losses = [model(**batch, use_cache=False, num_items_in_batch=num_labels).loss for batch in batches]
    total = torch.stack(losses).sum()
    total.backward()
    return total.item(), torch.cat([weight.grad.ravel() for weight in model.parameters()])


@LAYOUTS
def test_a_batch_has_the_documented_keys_and_no_others(layout: str) -> None:
    stream = make_layout(layout)
    for batch in [*stream.loader(), stream.collator(list(stream))]:
        assert set(batch) == DOCUMENTED[layout]


@LAYOUTS
def test_the_layout_determines_the_shape_of_a_batch(layout: str) -> None:
    for batch in make_layout(layout, batch_size=3).loader():
        rows, width = batch["input_ids"].shape
        assert batch["labels"].shape == (rows, width)
        if layout == "packed":
            assert (rows, width) == (3, 32)
        if layout == "padded":
            assert width == int(batch["attention_mask"].sum(1).max())
        if layout == "padding_free":
            assert (rows, width) == (1, batch["cu_seq_lens_q"][-1])
        else:
            assert 1 <= rows <= 3


@pytest.mark.parametrize("layout", ["packed", "padding_free"])
def test_positions_restart_at_zero_and_never_continue_across_a_border(layout: str) -> None:
    for batch in make_layout(layout).loader():
        positions = batch["position_ids"]
        starts = batch["input_ids"] == 1
        assert (positions[starts] == 0).all()
        steps = positions[:, 1:] - positions[:, :-1]
        assert (steps[starts[:, 1:]] != 1).all()


@LAYOUTS
def test_the_first_token_of_each_document_has_no_label(layout: str) -> None:
    for batch in make_layout(layout).loader():
        assert (batch["labels"][batch["input_ids"] == 1] == -100).all()
        trained = batch["labels"] != -100
        assert (batch["labels"][trained] == batch["input_ids"][trained]).all()
        assert trained.any()


@LAYOUTS
def test_the_padding_of_a_tokenizer_without_a_pad_token_has_no_label_and_each_response_learns_its_end(
    layout: str,
) -> None:
    stream = make_layout(layout)
    stream.collator.pad_token_id = stream.tokenizer.eos_token_id
    batch = stream.collator(list(stream))
    learned_ends = (batch["labels"] == stream.tokenizer.eos_token_id).sum()
    assert learned_ends == NUM_ROWS
