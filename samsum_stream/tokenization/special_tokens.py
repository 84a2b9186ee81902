"""Special tokens that a row spells: found by their ids, and encoded as ordinary text so that data cannot forge a turn.

A row's own words may spell a special token, or complete one with the words beside them. Either way other special ids
come out than the format has spelled, so the ids are what is looked at: every special id has a random weight, and a text
whose weights do not add up to those of the format's own tokens holds a token that the format did not write.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from tokenizers import AddedToken

from samsum_stream.errors import TokenizerError
from samsum_stream.tokenization.backends import HFBackend
from samsum_stream.tokenization.border import Border
from samsum_stream.values.arrays import Int64Array, Ragged
from samsum_stream.values.examples import Segment

RARE = "\U000f1234"
"""A character that no vocabulary has: its ids, such as unk, come out of ordinary text."""


class SpecialTokens:
    """The special tokens of a tokenizer, and how to encode around them."""

    def __init__(self, backend: HFBackend, border: Border) -> None:
        self.backend, self.border = backend, border
        added = backend.tokenizer.get_added_tokens_decoder()
        self.ids = {token.content: number for number, token in added.items() if token.special and token.content}
        tokens = sorted(
            (t for t in added.values() if t.content in self.ids), key=lambda t: len(t.content), reverse=True
        )
        self._contents = [token.content for token in tokens]
        self.pattern = re.compile("|".join(map(_group, tokens)) or r"(?!)")
        self._weights = self._random_weights()
        self._gap = _widest_gap(np.flatnonzero(self._weights), end=len(self._weights))
        self._restarts = self._find_restarts()

    def weigh(self, encoded: Ragged) -> Int64Array:
        """The weight of the special ids in each text, shape `[n]`."""
        (low, high), weights = self._gap, np.zeros(len(encoded.offsets) - 1, np.int64)
        if not len(encoded.ids) or (encoded.ids.min() >= low and encoded.ids.max() < high):
            return weights
        found = np.flatnonzero((encoded.ids < low) | (encoded.ids >= high))
        np.add.at(weights, np.searchsorted(encoded.offsets, found, "right") - 1, self._weights[encoded.ids[found]])
        return weights

    def weigh_own(self, segments: Sequence[Segment]) -> int:
        """The weight of the special tokens that the format itself spells."""
        own = [text for text, from_row in segments if not from_row]
        ids = [self._id(match) for text in own for match in self.pattern.finditer(text)]
        return int(self._weights[np.array(ids, np.int64)].sum())

    def encode(self, segments: Sequence[Segment], *, continues: bool) -> list[int]:
        """The ids of segments where only the format's special tokens are special.

        `continues` says that the text goes on from another one, as a response goes on from its prompt.
        """
        ids: list[int] = []
        ordinary = ""
        for text, from_row in segments:
            position = 0
            for match in () if from_row else self.pattern.finditer(text):
                ids += self._ordinary(ordinary + text[position : match.start()], continues=continues)
                ids.append(self._id(match))
                ordinary, position, continues = "", match.end(), not self._restarts
            ordinary += text[position:]
        return ids + self._ordinary(ordinary, continues=continues)

    def require_ordinary_text(self) -> None:
        """Raises `TokenizerError` where the model's own vocabulary gives a special token for ordinary text."""
        for (content, number), found in zip(self.ids.items(), self.backend.probe_ordinary([*self.ids]), strict=True):
            if self._weights[number] and number in found:
                raise TokenizerError(
                    f"this tokenizer gives the special token {content!r} for ordinary text as well, so a row could "
                    "forge it; say tokenizer_config.special_tokens_in_rows: parse where you trust the rows, or error"
                )

    def _id(self, match: re.Match[str]) -> int:
        assert match.lastindex is not None
        return self.ids[self._contents[match.lastindex - 1]]

    def _ordinary(self, text: str, *, continues: bool) -> list[int]:
        if not text:
            return []
        if not continues:
            return self.backend.encode_ordinary(text)
        [marked] = self.border.mark([text])
        return self.backend.encode_ordinary(marked)[len(self.border.sentinel) :]

    def _random_weights(self) -> Int64Array:
        """A weight for each id, 0 for those that ordinary text gives; sums wrap around."""
        largest = max(self.backend.tokenizer.get_vocab(with_added_tokens=True).values())
        weights = np.zeros(largest + 1, np.int64)
        special = sorted(set(self.ids.values()) - set(self.backend.probe_ordinary([RARE])[0]))
        weights[special] = np.random.default_rng(0).integers(1 << 20, 1 << 40, len(special))
        return weights

    def _find_restarts(self) -> bool:
        """Whether text behind a special token is encoded like the start of a text, or like its middle."""
        if not self.ids or not len(self.border.sentinel):
            return True
        content, number = next(iter(self.ids.items()))
        seen = self.backend.encode([content + "Yes sir"]).ids.tolist()
        for restarts in (True, False):
            if seen == [number, *self._ordinary("Yes sir", continues=not restarts)]:
                return restarts
        raise TokenizerError(
            f"this tokenizer encodes text behind {content!r} neither like the start of a text nor like its middle: "
            "rows that spell special tokens could not be kept apart; use another tokenizer"
        )


def _widest_gap(special: Int64Array, *, end: int) -> tuple[int, int]:
    """The most ids `[low, high)` in a row that are not special, out of `[0, end)`: nearly all tokens of a text."""
    borders = [-1, *special.tolist(), end]
    return max(((low + 1, high) for low, high in pairwise(borders)), key=lambda gap: gap[1] - gap[0])


def _group(token: AddedToken) -> str:
    """A token with the white space that it swallows, as a group of its own."""
    left, right = (r"\s*" if swallows else "" for swallows in (token.lstrip, token.rstrip))
    return f"{left}({re.escape(token.content)}){right}"
