"""The tables of a model, its vocabulary and its positions, must hold what a stream gives."""

import logging
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch

from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import counted
from samsum_stream.training.protocol import Stream
from samsum_stream.training.readiness import unwrapped
from samsum_stream.values.batches import Pack

logger = logging.getLogger(__name__)

NUM_NAMED = 3
"""The most tokens that a warning names."""

NUM_RESERVED = 2
"""OPT and BART keep two more rows in their table of positions than they have positions."""


def require_tables(stream: Stream, model: Any, packs: Sequence[Pack]) -> None:
    """Compare the tables of a model with a stream, without running the model.

    Args:
        stream: The stream.
        model: A model of transformers, wrapped or not; its weights may be missing.
        packs: The first packs of the stream.

    Raises:
        ConfigError: the padding or a token of the packs is not in the vocabulary; the tokenizer got tokens after the
            stream was made; the model has a table of positions, and a document of the packs is longer.
    """
    model = unwrapped(model)
    examples = [example for pack in packs for example in pack.examples]
    require_no_new_tokens(stream)
    ids = [int(example.input_ids.max()) for example in examples]
    _require_vocabulary(model, ids, tokenizer=stream.tokenizer, pad_token_id=stream.collator.pad_token_id)
    longest = max(len(example.input_ids) for example in examples)
    _require_positions(model, longest=longest, max_length=stream.collator.max_length)


def num_positions(model: Any) -> int | None:
    """The positions that a model is made for; None if its config gives none."""
    config: Any = model.config
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    return getattr(config, "max_position_embeddings", None) or None


def require_no_new_tokens(stream: Stream) -> None:
    """Raise `ConfigError` if the tokenizer got tokens after the stream was made: the stream encodes with a copy."""
    reference = stream.pipeline.encoder.tokenizer.reference.tokenizer
    if new := [token for token in stream.tokenizer.get_added_vocab() if reference.token_to_id(token) is None]:
        raise ConfigError(
            f"the tokenizer got {counted(len(new), 'token')} after the stream was made ({', '.join(new[:NUM_NAMED])}), "
            "and the stream does not encode them; add tokens first, then make the stream with tokenizer=tokenizer"
        )


def _require_vocabulary(model: Any, ids: Sequence[int], *, tokenizer: Any, pad_token_id: int) -> None:
    try:
        size = getattr(model.get_input_embeddings(), "num_embeddings", None)
    except (AttributeError, NotImplementedError):  # a model of the user may not say where its embedding is
        size = None
    if size is None:
        return
    largest, name = max(pad_token_id, *ids), type(model).__name__
    outside = sorted((number, token) for token, number in tokenizer.get_vocab().items() if number >= size)
    needed = max([largest, *(number for number, _ in outside)]) + 1
    if largest >= size:
        what = "pads with" if largest == pad_token_id else "gives"
        raise ConfigError(
            f"the tokenizer {what} the id {largest}, and {name} has a vocabulary of {size}; load the model's own "
            f"tokenizer (base_model), or call model.resize_token_embeddings({needed})"
        )
    if outside:
        names = ", ".join(f"{token} (id {number})" for number, token in outside[:NUM_NAMED])
        logger.warning(
            "the tokenizer has %s that %s lacks: %s%s; a row that contains one of them would stop the training with an "
            "index error; call model.resize_token_embeddings(%d) if rows can contain them",
            *(counted(len(outside), "token"), name, names, ", ..." if len(outside) > NUM_NAMED else "", needed),
        )


def _require_positions(model: Any, *, longest: int, max_length: int) -> None:
    number, name = num_positions(model), type(model).__name__
    if number is None or max_length <= number:
        return
    has_table = _has_position_table(model, number)
    if has_table and longest > number:
        raise ConfigError(
            f"a document has {longest} tokens, and {name} has a table of {number} positions; set "
            f"packing_config.kwargs.max_length to {number}, or load a model with more positions"
        )
    if has_table or longest > number:
        effect = "would stop the training with an index error" if has_table else "has positions that the model lacks"
        logger.warning(
            "%s is made for %d positions, and documents can have %d tokens: a longer document %s; set "
            "packing_config.kwargs.max_length to %d, or give the model more positions",
            *(name, number, max_length, effect, number),
        )


def _has_position_table(model: torch.nn.Module, number: int) -> bool:
    """Whether the model looks positions up; rotary positions and those of ALiBi are computed, and have no end."""
    tensors = chain(model.named_parameters(), model.named_buffers())
    names = (name for name, tensor in tensors if tensor.ndim == 2 and number <= len(tensor) <= number + NUM_RESERVED)
    return any("pos" in name or "wpe" in name for name in names)
