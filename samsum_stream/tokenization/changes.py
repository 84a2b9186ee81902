"""Whether a tokenizer is still as it was when its stream was made: the stream encodes with a copy of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import counted
from samsum_stream.tokenization.loading import pad_token_id

NUM_NAMED = 3
"""The most tokens that a message names."""


@dataclass(frozen=True)
class TokenizerRecord:
    """What a stream took from its tokenizer. It is compared before every batch, so it contains no vocabulary.

    Attributes:
        parts: What was taken, by its name in messages.
        added: The ids of the added tokens.
        uses_template: Whether the chat template of the tokenizer writes rows.
    """

    parts: dict[str, Any]
    added: frozenset[int]
    uses_template: bool

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, *, uses_template: bool) -> "TokenizerRecord":
        """The record of a tokenizer as it is now."""
        return cls(dict(_parts(tokenizer, uses_template)), frozenset(tokenizer.added_tokens_decoder), uses_template)

    def require_unchanged(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Raise `ConfigError` if the tokenizer has changed. Padding and truncation of its own calls may change."""
        for name, now in _parts(tokenizer, self.uses_template):
            if now != self.parts[name]:
                raise ConfigError(self._new_tokens(tokenizer) or _changed(name, self.parts[name], now))

    def _new_tokens(self, tokenizer: PreTrainedTokenizerBase) -> str:
        """The message about new tokens; empty for another change."""
        added = tokenizer.added_tokens_decoder
        if not (new := [token.content for number, token in sorted(added.items()) if number not in self.added]):
            return ""
        return (
            f"the tokenizer got {counted(len(new), 'token')} after the stream was made ({', '.join(new[:NUM_NAMED])}), "
            "and the stream does not encode them; add tokens first, then make the stream with tokenizer=tokenizer, or "
            "write them into tokenizer_config"
        )


def _parts(tokenizer: PreTrainedTokenizerBase, uses_template: bool) -> Iterator[tuple[str, Any]]:
    backend = tokenizer.backend_tokenizer
    yield "size of the vocabulary", len(tokenizer)
    yield "number of added tokens", len(backend.get_added_tokens_decoder())  # a word can become an added token
    yield "list of extra special tokens", [*map(str, tokenizer.extra_special_tokens)]
    yield "eos token", tokenizer.eos_token
    yield "id of padding", pad_token_id(tokenizer)  # a pad token that is set to the eos pads as before
    for name in ("normalizer", "pre_tokenizer", "post_processor"):
        part = getattr(backend, name)
        yield name, part and part.__getstate__()
    if uses_template:
        yield "bos token", tokenizer.bos_token
        yield "chat template", tokenizer.chat_template


def _changed(name: str, before: Any, now: Any) -> str:
    values = f" from {before!r} to {now!r}" if isinstance(before, int | str) and name != "chat template" else ""
    return (
        f"the {name} of the tokenizer changed{values} after the stream was made, and the stream does not follow; "
        "change the tokenizer first, then make the stream with tokenizer=tokenizer, or write the change into "
        "tokenizer_config"
    )
