r"""How a tokenizer encodes the start of a text, measured by probes before the first row is encoded.

Prompt and completion are encoded separately, so that no token crosses their border. Most byte-level tokenizers encode
a text in the same way at its start and after another text. Llama-2 and Mistral add a dummy space at the start:

    if encode("\n" + "Yes") == encode("\n") + encode("Yes")     encode(completion)
    else                                                        encode("\n" + completion), without the tokens of "\n"
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tokenizers import AddedToken

from samsum_stream.errors import TokenizerError
from samsum_stream.tokenization.backends import Backend, HFBackend
from samsum_stream.values.arrays import BoolArray, Int32Array, Ragged, offsets_of

SENTINEL = "\n"
"""The text before a completion that cannot be encoded alone."""

LINE = "Answer:" + SENTINEL
"""A longer text that ends with the sentinel."""

STARTS = (
    "Yes",
    " Yes",
    "  two spaces",
    "a",
    " a",
    "7",
    " 42",
    "(",
    " -",
    '"Hi"',
    "é",
    " ñ",
    "日本",
    " 日本",
    "👍",
    " 👩‍👩‍👧",
    "\u00a0x",
)
"""The starts of texts that are probed."""


@dataclass(frozen=True, slots=True)
class Border:
    """How a tokenizer encodes the start of a text.

    Attributes:
        added: The special tokens that the tokenizer adds at the start, shape `[a]`.
        sentinel: The tokens of `SENTINEL`; empty if a completion can be encoded alone.
        restarting: The added tokens after which a text is encoded as at its start, if this differs from other places.
    """

    added: Int32Array
    sentinel: Int32Array
    restarting: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether the tokenizer encodes a text in the same way at its start and after another text."""
        return not len(self.sentinel)

    def mark(self, texts: list[str], continues: BoolArray) -> list[str]:
        """The texts to encode: the sentinel is added to those that continue another text.

        Args:
            texts: `m` texts.
            continues: Whether each text continues another one, shape `[m]`.
        """
        if self.is_plain:
            return texts
        return [SENTINEL + text if marks else text for text, marks in zip(texts, continues.tolist(), strict=True)]

    def unmark(self, encoded: Ragged, continues: BoolArray) -> Ragged:
        """The tokens of `m` marked texts, without the tokens of the sentinel.

        Raises:
            TokenizerError: the tokenizer merged a text with the sentinel.
        """
        width = len(self.sentinel)
        if self.is_plain or not continues.any():
            return encoded
        sentinels = encoded.offsets[:-1][continues, None] + np.arange(width)
        heads = encoded.ids[sentinels.clip(max=len(encoded.ids) - 1)]
        if (encoded.lengths[continues] < width).any() or (heads != self.sentinel).any():
            raise TokenizerError(
                "a completion merged with the newline before it, so its border is unknown; use another tokenizer"
            )
        kept = np.ones(len(encoded.ids), bool)
        kept[sentinels] = False
        return Ragged(encoded.ids[kept], encoded.offsets - width * offsets_of(continues.astype(np.int64)))


def find_border(backend: HFBackend) -> Border:
    """Measure how a tokenizer encodes the start of a text.

    Raises:
        TokenizerError: a completion cannot be encoded separately from its prompt.
    """
    ids = functools.partial(_ids, backend)
    added = np.array(_added_at_start(backend), np.int32)
    if all(ids(line + text) == ids(line) + ids(text) for line in (SENTINEL, LINE) for text in STARTS):
        return Border(added, np.empty(0, np.int32))
    sentinel = ids(SENTINEL)
    for text in (*STARTS, "\nYes", "\n\nYes"):
        _prove(ids, sentinel, text)
    return Border(added, np.array(sentinel, np.int32), _restarting(backend, ids))


def _restarting(backend: HFBackend, ids: Callable[[str], list[int]]) -> tuple[str, ...]:
    probes = {text: ids(text) for text in ("Yes", "(", " Yes", "\nYes")}

    def restarts(token: AddedToken) -> bool:
        known = [text for text in probes if not (token.rstrip and text[0].isspace())]  # the token includes white space
        return all(ids(token.content + text) == ids(token.content) + probes[text] for text in known)

    return tuple(token.content for token in backend.tokenizer.get_added_tokens_decoder().values() if restarts(token))


def _ids(backend: Backend, text: str) -> list[int]:
    return backend.encode([text]).ids.tolist()  # type: ignore[no-any-return]


def _prove(ids: Callable[[str], list[int]], sentinel: list[int], text: str) -> None:
    """Raise `TokenizerError` if the tokens of `text` after the sentinel are not those of `text` after a longer line."""
    marked = ids(SENTINEL + text)
    if not sentinel or marked[: len(sentinel)] != sentinel or ids(LINE + text) != ids(LINE) + marked[len(sentinel) :]:
        raise TokenizerError(
            f"this tokenizer changes the start of a text, and even after a newline the tokens of {text!r} depend on "
            "the text before, so prompt and completion cannot be encoded separately; use another tokenizer"
        )


def _added_at_start(backend: HFBackend) -> list[int]:
    """The special tokens that the tokenizer adds at the start. Those at the end are not part of a prompt."""
    probe = "Yes"
    plain = backend.tokenizer.encode(probe, add_special_tokens=False).ids
    full = backend.tokenizer.encode(probe, add_special_tokens=True).ids
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return list(full[:start])
    raise TokenizerError(
        "this tokenizer's special tokens change the ids of the text between them; use another tokenizer"
    )
