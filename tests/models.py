"""Tiny models for rows of whole words, with weights so large that documents in one row influence each other."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import (
    FalconConfig,
    FalconForCausalLM,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.streams import BOS, EOS, MAX_LENGTH, NUM_WORDS, PAD

WINDOW = 6
"""Tokens that sliding attention sees: fewer than a document has."""

_IDS = {"vocab_size": NUM_WORDS, "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
_SIZES = {
    **_IDS,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 2 * MAX_LENGTH,
    "initializer_range": 0.3,
}
_GROUPED = {**_SIZES, "num_key_value_heads": 2}
_GEMMA3 = {**_GROUPED, "head_dim": 8, "sliding_window": WINDOW}
_VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}

MODELS: dict[str, tuple[type, type, dict[str, Any]]] = {
    "llama": (LlamaForCausalLM, LlamaConfig, _GROUPED),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {**_GROUPED, "head_dim": 8}),
    "mistral": (MistralForCausalLM, MistralConfig, {**_GROUPED, "sliding_window": WINDOW}),
    "gpt2": (
        GPT2LMHeadModel,
        GPT2Config,
        {**_IDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": MAX_LENGTH, "initializer_range": 0.3},
    ),
    "gemma3": (Gemma3ForCausalLM, Gemma3TextConfig, _GEMMA3),
    "gemma3 with images": (
        Gemma3ForConditionalGeneration,
        Gemma3Config,
        {"text_config": _GEMMA3, "vision_config": _VISION, "mm_tokens_per_image": 4, "image_token_index": 3},
    ),
    "llava": (
        LlavaForConditionalGeneration,
        LlavaConfig,
        {
            "text_config": {"model_type": "llama", **_GROUPED},
            "vision_config": {"model_type": "clip_vision_model", **_VISION},
            "image_token_index": 3,
        },
    ),
    "mixtral": (MixtralForCausalLM, MixtralConfig, {**_GROUPED, "num_local_experts": 4}),
    "phi": (PhiForCausalLM, PhiConfig, _SIZES),
    "opt": (
        OPTForCausalLM,
        OPTConfig,
        {
            **_IDS,
            "hidden_size": 32,
            "word_embed_proj_dim": 32,
            "ffn_dim": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 2 * MAX_LENGTH,
            "init_std": 0.5,
        },
    ),
    "falcon": (
        FalconForCausalLM,
        FalconConfig,
        {**_IDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.5},
    ),
    "mamba": (
        MambaForCausalLM,
        MambaConfig,
        {**_IDS, "hidden_size": 32, "state_size": 8, "num_hidden_layers": 2, "initializer_range": 0.5},
    ),
}


def make_model(name: str, attention: str | None = None, **changes: Any) -> PreTrainedModel:
    """A model with the same weights in every call."""
    kind, config, sizes = MODELS[name]
    torch.manual_seed(0)
    implementation = {"attn_implementation": attention} if attention else {}
    model: PreTrainedModel = kind(config(**{**sizes, **changes}, **implementation))
    return model


@contextmanager
def one_thread() -> Iterator[None]:
    """Within this context, torch uses one thread: with more threads, such small models are slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
