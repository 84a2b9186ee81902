r"""Whether two texts can be encoded separately: whether the ids of both together are the ids of one, then of the other.

    "...<|im_end|>\n<|im_start|>assistant\n" + "Yes, I can.<|im_end|>"
                    <|im_start|>assistant\n  + "Yes,"                    the part that decides

An added token is a barrier: no other token crosses it. A text can also be cut between a newline and a sign that no
token of the vocabulary has after a newline. Elsewhere the words at the joint are encoded, and their result is kept.
"""

import re
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
from tokenizers import AddedToken

from samsum_stream.tokenization.backends import HFBackend
from samsum_stream.tokenization.border import Border

MAX_CACHED = 1 << 16
"""The joints whose result is kept."""

MAX_CACHED_LENGTH = 128
"""The characters of a joint whose result is kept."""

_SPACES = " \u0120\u2581"
"""A space in a text and in the vocabularies of byte-level and of SentencePiece tokenizers."""


class Joints:
    """The joints between texts, for one tokenizer.

    Args:
        backend: Encodes texts.
        border: How the tokenizer encodes the start of a text.
    """

    def __init__(self, backend: HFBackend, border: Border) -> None:
        self._backend, self._border = backend, border
        added = [token for token in backend.tokenizer.get_added_tokens_decoder().values() if token.content.strip()]
        self._added = _pattern(token for token in added if not token.lstrip and not token.single_word)
        self._swallows = tuple(token.content for token in added if token.rstrip)
        self._swallowers = tuple(token.content for token in added if token.lstrip)
        self._known: dict[tuple[str, str, bool], bool] = {}
        self._apart: dict[tuple[str, str], bool] = {}

    def prepare(self) -> None:
        """Read the vocabulary now, which takes a moment, and not before the first batch."""
        _ = self._joined, self._is_byte_level, self._after_newline

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_vocabulary"}

    @cached_property
    def _vocabulary(self) -> str:
        return "\n".join(self._backend.tokenizer.get_vocab(with_added_tokens=False))

    @cached_property
    def _joined(self) -> frozenset[str]:
        return _characters_before_spaces(self._vocabulary)

    @cached_property
    def _is_byte_level(self) -> bool:
        """Whether each ASCII character of a text is one character of the vocabulary, which no normalizer changes."""
        normalizer = self._backend.tokenizer.normalizer
        is_unchanged = normalizer is None or type(normalizer).__name__ == "NFC"
        return is_unchanged and "\u0120" in self._vocabulary

    def _is_apart(self, left: str, first: str) -> bool:
        """Whether no token crosses the border between `left` and a text that starts with the character `first`.

        Between two signs this does not follow from the vocabulary: the words of `!.Net` are `!.` and `Net`.
        """
        if not self._border.is_plain:  # a text is encoded in another way after a token
            return False
        ends = [match.end() for match in self._added.finditer(left, max(len(left) - 256, 0))]
        if ends[-1:] == [len(left)]:
            return not left.endswith(self._swallows)
        if (
            left[-1:] != "\n" or left[-2:-1].isspace() or not "!" <= first <= "~"
        ):  # GPT-2's words end before white space
            return False
        return self._is_byte_level and first not in self._after_newline

    @cached_property
    def _after_newline(self) -> frozenset[str]:
        """The characters that follow a newline in some token, or start a token that includes the newline before it."""
        return frozenset(re.findall("\u010a(.)", self._vocabulary)) | {token[0] for token in self._swallowers}

    def continuation(self, left: str, right: str, *, follows_turn: bool = False) -> str | None:
        """The text to encode after `left`, so that both together have the ids of `left + right`.

        Args:
            left: A text.
            right: The text after it.
            follows_turn: Whether `left` is a trained turn. Then `right` is encoded as `RunEncoder` does it there.

        Returns:
            `right`, without the white space that a token at the end of `left` includes; None if no text has these ids.
        """
        key = (left, right[:1])
        if (is_apart := self._apart.get(key)) is None:
            is_apart = self._is_apart(*key)
            if len(left) <= MAX_CACHED_LENGTH and len(self._apart) < MAX_CACHED:
                self._apart[key] = is_apart
        if is_apart:
            return right
        if self._swallows and left.endswith(self._swallows):
            right = right.lstrip()
        continues = not (follows_turn and left.endswith(self._border.restarting))
        return right if self._is_exact(self._tail(left), self._head(right), continues) else None

    def are_separate(self, left: str, right: str) -> bool:
        """Whether the ids of `left + right` are those of `left`, then those of `right` in the middle of a text."""
        return self._is_exact(left, right, continues=True)

    def _tail(self, text: str) -> str:
        """The end of a text, from its last added token on."""
        start = 0
        for match in self._added.finditer(text, max(len(text) - 256, 0)):
            start = match.start()
        return text[start:]

    def _head(self, text: str) -> str:
        """The start of a text, up to its first safe cut: a space, or an added token."""
        space = text.find(" ", 1)
        while space > 0 and not self._can_cut_after(text[space - 1]):
            space = text.find(" ", space + 1)
        word = text if space < 0 else text[:space]
        match = self._added.search(word)
        return word if match is None else word[: match.start() or match.end()]

    def _can_cut_after(self, character: str) -> bool:
        return character.isascii() and character not in self._joined

    def _is_exact(self, left: str, right: str, continues: bool) -> bool:
        """Whether `left` and `right` are encoded separately; kept for short texts, which occur again."""
        if (known := self._known.get((left, right, continues))) is not None:
            return known
        is_exact = self._ids(left + right) == self._ids(left) + self._separate_ids(right, continues)
        if len(left) + len(right) <= MAX_CACHED_LENGTH and len(self._known) < MAX_CACHED:
            self._known[left, right, continues] = is_exact
        return is_exact

    def _separate_ids(self, text: str, continues: bool) -> list[int]:
        [marked] = self._border.mark([text], np.full(1, continues))
        return self._ids(marked)[len(self._border.sentinel) * continues :]

    def _ids(self, text: str) -> list[int]:
        return list(self._backend.tokenizer.encode(text, add_special_tokens=False).ids)


def _pattern(tokens: Iterable[AddedToken]) -> re.Pattern[str]:
    longest_first = sorted((token.content for token in tokens), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _characters_before_spaces(vocabulary: str) -> frozenset[str]:
    """The characters that some token of the vocabulary has before a space, and white space."""
    return frozenset(re.findall(rf"([^{_SPACES}\n])(?=[{_SPACES}])", vocabulary)) | frozenset(" \n\t\r")
