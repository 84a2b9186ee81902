"""Token ids to text, token by token."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

_BROKEN = "\ufffd"
"""The character that decoders write for bytes of an incomplete character."""


class DecodedTokens(NamedTuple):
    """The fewest tokens that spell whole characters: usually one; some letters and emoji take several.

    Attributes:
        ids: The ids.
        text: The text that they spell.
        is_special: Whether this is a special token.
    """

    ids: tuple[int, ...]
    text: str
    is_special: bool


class TokenDecoder:
    """Decodes ids token by token.

    Each token is decoded after another token, because decoders such as Llama-2's change the start of a text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._backend = tokenizer.backend_tokenizer
        added = self._backend.get_added_tokens_decoder()
        self._special = {number: token.content for number, token in added.items() if token.special}
        self._before = self._backend.encode("a", add_special_tokens=False).ids
        self._start = self._backend.decode(self._before, skip_special_tokens=False)

    def decode(self, ids: Sequence[int]) -> Iterator[DecodedTokens]:
        """The texts of all ids, in order."""
        incomplete: list[int] = []
        for number in ids:
            if number in self._special:
                if incomplete:
                    yield self._ordinary(incomplete)
                yield DecodedTokens((number,), self._special[number], True)
                incomplete = []
                continue
            incomplete.append(number)
            decoded = self._ordinary(incomplete)
            if not decoded.text.endswith(_BROKEN):
                yield decoded
                incomplete = []
        if incomplete:
            yield self._ordinary(incomplete)

    def _ordinary(self, ids: Sequence[int]) -> DecodedTokens:
        text: str = self._backend.decode([*self._before, *ids], skip_special_tokens=False)
        return DecodedTokens(tuple(ids), text.removeprefix(self._start), False)
