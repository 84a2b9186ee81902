"""Models that compute the parts of a row, one for each rank, as they compute the row, and models that do not."""

import logging
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedModel

from samsum_stream import ConfigError
from samsum_stream.batching.collation import Padded
from samsum_stream.training.probing import probe_packs
from samsum_stream.training.shards_check import require_exact_shards
from tests.contracts.trainer_steps import Plain
from tests.models import MODELS, make_model
from tests.streams import make_rows, make_stream

EXACT = ("llama", "qwen3", "gpt2", "mixtral", "phi", "opt")
REFUSED = {
    "mistral": "no other mask than the causal one",
    "gemma3": "no other mask than the causal one",
    "falcon": "no other mask than the causal one",
    "mamba": "in log-probability, .* in the gradient",
}

pytestmark = pytest.mark.usefixtures("one_thread")


class CountsPositions(LlamaForCausalLM):
    """A model that ignores the positions that it gets."""

    def forward(self, *args: Any, position_ids: Any = None, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs)


class ShiftsLabels(LlamaForCausalLM):
    """A model whose loss shifts labels itself."""

    def forward(self, *args: Any, shift_labels: Any = None, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs)


def check(model: PreTrainedModel, *, num_shards: int = 2) -> None:
    stream = make_stream(make_rows(60), lanes=1, collator_config={"method": "padded"})
    assert isinstance(stream.collator, Padded)
    require_exact_shards(model, probe_packs(stream.pipeline), collator=stream.collator, num_shards=num_shards)


@pytest.mark.parametrize("num_shards", [2, 3, 4])
@pytest.mark.parametrize("name", EXACT)
def test_attention_and_positions_of_parts_are_exact(
    name: str, num_shards: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        check(make_model(name), num_shards=num_shards)
    assert f"is exact with rows in {num_shards} parts" in caplog.text


def test_half_precision_has_the_tolerance_of_its_noise() -> None:
    check(make_model("llama").to(torch.bfloat16))


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_mixes_tokens_elsewhere_or_with_a_mask_is_refused(name: str) -> None:
    rule = rf"{MODELS[name][0].__name__} computes rows in 2 parts .* differently from whole rows: .*{REFUSED[name]}"
    with pytest.raises(ConfigError, match=rule):
        check(make_model(name))


def test_attention_that_torch_does_not_spread_over_ranks_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"in log-probability, .*; load it with attn_implementation='sdpa', or train"):
        check(make_model("llama", "eager"))


@pytest.mark.parametrize("kind", [CountsPositions, ShiftsLabels, Plain])
def test_a_model_that_ignores_what_a_part_needs_is_refused(kind: type[LlamaForCausalLM]) -> None:
    with pytest.raises(ConfigError, match="must take position_ids and shift_labels"):
        check(kind(MODELS["llama"][1](**MODELS["llama"][2])))
