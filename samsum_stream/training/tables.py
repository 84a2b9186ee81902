"""The tables of a model, its vocabulary and its positions, must hold what a stream gives."""

import logging
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch

from samsum_stream.errors import ConfigError
from samsum_stream.errors.once import warn_once
from samsum_stream.errors.wording import counted
from samsum_stream.training.protocol import Stream
from samsum_stream.training.readiness import require_language_model, unwrapped
from samsum_stream.values.batches import Pack
from samsum_stream.values.limits import Limits

logger = logging.getLogger(__name__)

NUM_NAMED = 3
"""The most tokens that a warning names."""

NUM_RESERVED = 2
"""OPT and BART keep two more rows in their table of positions than they have positions."""


def require_tables(stream: Stream, model: Any, packs: Sequence[Pack]) -> Limits:
    """Compare the tables of a model with a stream, without running the model; returns the limits of its batches.

    Args:
        stream: The stream.
        model: A causal language model of transformers, wrapped or not; its weights may be missing.
        packs: The first packs of the stream.

    Raises:
        ConfigError: the padding or a token of the packs is not in the vocabulary; the model has a table of positions,
            and a document of the packs is longer.
    """
    model = unwrapped(model)
    require_language_model(model)
    examples = [example for pack in packs for example in pack.examples]
    number = _num_positions(model)
    limits = Limits(type(model).__name__, _vocabulary(model), position_table(model))
    limits.require(examples)
    if limits.vocabulary is not None:
        _require_vocabulary(stream, limits.vocabulary, limits.model)
    longest, max_length = max(len(example.input_ids) for example in examples), stream.collator.max_length
    if number is not None and (longest > number or (limits.positions is not None and max_length > number)):
        effect = "has positions that the model lacks" if limits.positions is None else "would stop the training"
        warn_once(
            logger,
            "%s is made for %d positions, and documents can have %d tokens: a longer document %s; set "
            "packing_config.kwargs.max_length to %d, or give the model more positions",
            *(limits.model, number, max_length, effect, number),
        )
    return limits


def position_table(model: torch.nn.Module) -> int | None:
    """The positions that a model looks up; None if it computes them, as rotary positions and those of ALiBi are."""
    number = _num_positions(model)
    if number is None:
        return None
    tensors = chain(model.named_parameters(), model.named_buffers())
    names = [name for name, tensor in tensors if tensor.ndim == 2 and number <= len(tensor) <= number + NUM_RESERVED]
    tables = [name for name in names if ("pos" in name or "wpe" in name) and "vision" not in name]
    return number if any(not _grows(model, name) for name in tables) else None


def _grows(model: torch.nn.Module, name: str) -> bool:
    """Whether a table of sinusoids is made again for longer documents, as XGLM does."""
    return hasattr(model.get_submodule(name.rpartition(".")[0]), "make_weights")


def _num_positions(model: Any) -> int | None:
    """The positions that a model is made for; None if its config gives none."""
    config: Any = model.config
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    number: int = getattr(config, "max_position_embeddings", None) or 0
    return number if number > 0 else None  # XLNet has -1


def _vocabulary(model: Any) -> int | None:
    try:
        embedding = model.get_input_embeddings()
        return (
            getattr(embedding, "num_embeddings", None) or len(embedding.weight) or None
        )  # adapters have a weight only
    except (AttributeError, NotImplementedError, TypeError):  # a model of the user may not say where its embedding is
        return None


def _require_vocabulary(stream: Stream, size: int, model: str) -> None:
    """Raises `ConfigError` for the padding, and warns of tokens that rows may contain."""
    pad = stream.collator.pad_token_id
    outside = sorted((number, token) for token, number in stream.tokenizer.get_vocab().items() if number >= size)
    needed = max([pad, *(number for number, _ in outside)]) + 1
    if pad >= size:
        raise ConfigError(
            f"the tokenizer pads with the id {pad}, and {model} has a vocabulary of {size}; load the model's own "
            f"tokenizer (base_model), or call model.resize_token_embeddings({needed})"
        )
    if outside:
        names = ", ".join(f"{token} (id {number})" for number, token in outside[:NUM_NAMED])
        warn_once(
            logger,
            "the tokenizer has %s that %s lacks: %s%s; a row that contains one of them would stop the training; call "
            "model.resize_token_embeddings(%d) if rows can contain them",
            *(counted(len(outside), "token"), model, names, ", ..." if len(outside) > NUM_NAMED else "", needed),
        )
