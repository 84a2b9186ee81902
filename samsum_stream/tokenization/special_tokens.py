"""Special tokens that a row spells: detected by their ids, and encoded as ordinary text, so that no row forges a turn.

The text of a row can spell a special token, alone or together with the text of the format next to it. In both cases,
the run has other special ids than those that the format spells. To compare them fast, each special id has a random
weight. If the weights of a run have another sum than those of the format's special tokens, then the row spells one.
"""

import json
import re
from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np
from tokenizers import AddedToken

from samsum_stream.errors import TokenizerError
from samsum_stream.tokenization.backends import HFBackend
from samsum_stream.tokenization.border import LINE, Border
from samsum_stream.tokenization.cuts import Cuts
from samsum_stream.tokenization.joints import Joints
from samsum_stream.values.arrays import Int32Array, Int64Array, Ragged
from samsum_stream.values.renderings import Segment

RARE = "\U000f1234"
"""A character that is in no vocabulary. Its ids, such as unk, also occur in ordinary text."""


class SpecialTokens:
    """The special tokens of a tokenizer.

    Args:
        backend: Encodes ordinary text.
        border: How the tokenizer encodes the start of a text.

    Attributes:
        ids: The id of each special token, by its text.
        pattern: Matches each special token in a text.

    Raises:
        TokenizerError: the tokenizer encodes text after a special token in an unknown way.
    """

    def __init__(self, backend: HFBackend, border: Border) -> None:
        self.backend, self.border, self.cuts = backend, border, Cuts(Joints(backend, border))
        added = backend.tokenizer.get_added_tokens_decoder()
        self.ids = {token.content: number for number, token in added.items() if token.special and token.content}
        tokens = sorted(
            (t for t in added.values() if t.content in self.ids), key=lambda t: len(t.content), reverse=True
        )
        self._contents = [token.content for token in tokens]
        self.pattern = re.compile("|".join(map(_group, tokens)) or r"(?!)")
        self._weights = self._random_weights()
        self._gap = _widest_gap(np.flatnonzero(self._weights), end=len(self._weights))
        self._require_start_or_middle()
        self._read: set[str] = set()

    def weigh(self, encoded: Ragged) -> Int64Array:
        """The sum of the weights of the special ids in each of `n` texts, shape `[n]`."""
        (low, high), weights = self._gap, np.zeros(len(encoded.offsets) - 1, np.int64)
        if not len(encoded.ids) or (encoded.ids.min() >= low and encoded.ids.max() < high):
            return weights
        outside = np.flatnonzero((encoded.ids < low) | (encoded.ids >= high))
        np.add.at(weights, np.searchsorted(encoded.offsets, outside, "right") - 1, self._weights[encoded.ids[outside]])
        return weights

    def weigh_fixed(self, texts: Sequence[str]) -> int:
        """The sum of the weights of the special tokens in texts of the format.

        Raises:
            TokenizerError: the tokenizer spells one of them as ordinary text.
        """
        contents = [self._content(match) for text in texts for match in self.pattern.finditer(text)]
        for content in {*contents} - self._read:
            self._require_read(content)
        return int(self._weights[np.array([self.ids[content] for content in contents], np.int64)].sum())

    def encode(self, segments: Sequence[Segment], *, continues: bool) -> Int32Array:
        """The ids of segments; a special token that the row spells is encoded as ordinary text.

        Args:
            segments: The segments of a run.
            continues: Whether the run continues another text, as a completion continues its prompt.
        """
        ids: list[Int32Array] = [np.empty(0, np.int32)]
        ordinary = ""
        for text, from_row, _ in segments:
            start = 0
            for match in () if from_row else self.pattern.finditer(text):
                ids += self._ordinary(ordinary + text[start : match.start()], continues=continues)
                content = self._content(match)
                ids.append(np.array([self.ids[content]], np.int32))
                ordinary, start, continues = "", match.end(), content not in self.border.restarting
            ordinary += text[start:]
        return np.concatenate(ids + self._ordinary(ordinary, continues=continues))

    def require_ordinary_text(self) -> None:
        """Raise `TokenizerError` if the tokenizer gives the id of a special token for ordinary text."""
        for (content, number), ids in zip(self.ids.items(), self.backend.probe_ordinary([*self.ids]), strict=True):
            if self._weights[number] and number in ids:
                raise TokenizerError(
                    f"this tokenizer gives the special token {content!r} also for ordinary text, so a row could forge "
                    "it; set tokenizer_config.special_tokens_in_rows to error, or to parse if you trust the rows"
                )

    def _content(self, match: re.Match[str]) -> str:
        """The token of a match of `pattern`, in which each special token is one group."""
        assert match.lastindex is not None
        return self._contents[match.lastindex - 1]

    def _ordinary(self, text: str, *, continues: bool) -> list[Int32Array]:
        """The ids of the parts of ordinary text."""
        parts = self.cuts.parts(text) if text else ()
        return [self._ordinary_part(part, continues=continues or number > 0) for number, part in enumerate(parts)]

    def _ordinary_part(self, text: str, *, continues: bool) -> Int32Array:
        if not continues:
            return self.backend.encode_ordinary(text)
        [marked] = self.border.mark([text], np.ones(1, np.bool_))
        return self.backend.encode_ordinary(marked)[len(self.border.sentinel) :]

    def _require_read(self, content: str) -> None:
        """Raise `TokenizerError` if the tokenizer does not give the id of a special token inside a text."""
        if self.ids[content] not in self.backend.encode([f"{LINE}{content}x"]).ids:
            raise TokenizerError(
                f"the tokenizer does not read its token {content!r} inside a text, and encodes the letters of the "
                "token, because the token is normalized, or must be a single word; add the token with "
                f"tokenizer.add_tokens(AddedToken({content!r}, normalized=False))"
            )
        self._read.add(content)

    def _random_weights(self) -> Int64Array:
        """The weight of each id, shape `[vocabulary]`: 0 for ids that occur in ordinary text. Sums wrap around."""
        largest = max(self.backend.tokenizer.get_vocab(with_added_tokens=True).values())
        weights = np.zeros(largest + 1, np.int64)
        special = sorted(set(self.ids.values()) - set(self.backend.probe_ordinary([RARE])[0]))
        weights[special] = np.random.default_rng(0).integers(1 << 20, 1 << 40, len(special))
        return weights

    def _require_start_or_middle(self) -> None:
        """Raise `TokenizerError` if text after a special token is encoded neither like a start nor like a middle."""
        if not self.ids or self.border.is_plain:
            return
        content, number = next(iter(self.ids.items()))
        ids = self.backend.encode([content + "Yes sir"]).ids.tolist()
        if any(ids == [number, *self._ordinary_part("Yes sir", continues=middle)] for middle in (False, True)):
            return
        raise TokenizerError(
            f"this tokenizer encodes text after {content!r} neither like the start of a text nor like its middle, so "
            "rows that spell special tokens cannot be encoded; use another tokenizer"
        )


def with_control_tokens(serialized: str, contents: Collection[str]) -> str:
    """A tokenizer as JSON, in which some added tokens are special. The ids of texts do not change.

    Args:
        serialized: The tokenizer as JSON.
        contents: The texts of the added tokens, such as `<think>`, that a row must not write.
    """
    if not contents:
        return serialized
    tokenizer = json.loads(serialized)
    for token in tokenizer["added_tokens"]:
        token["special"] |= token["content"] in contents
    return json.dumps(tokenizer, ensure_ascii=False)


def _widest_gap(special: Int64Array, *, end: int) -> tuple[int, int]:
    """The longest range `[low, high)` in `[0, end)` without a special id. Nearly all tokens of a text lie in it."""
    borders = [-1, *special.tolist(), end]
    return max(((low + 1, high) for low, high in pairwise(borders)), key=lambda gap: gap[1] - gap[0])


def _group(token: AddedToken) -> str:
    """The pattern of a token, as one group, with the white space that the tokenizer strips around it."""
    left, right = (r"\s*" if strips else "" for strips in (token.lstrip, token.rstrip))
    return f"{left}({re.escape(token.content)}){right}"
