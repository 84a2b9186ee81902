r"""What a tokenizer does to the start of a text, found out by probes and proven before the first row.

Prompt and response are encoded apart, so that no token straddles their border. Most byte-level
tokenizers encode a text the same wherever it stands; Llama-2 and Mistral put a dummy space in front:

    encode("\n" + "Yes")  ==  encode("\n") + encode("Yes")      encode(response)
    else                                                        encode("\n" + response), less the tokens of "\n"
"""

from dataclasses import dataclass

import numpy as np

from samsum_stream.errors import TokenizerError
from samsum_stream.tokenization.backends import Backend, HFBackend
from samsum_stream.values.arrays import Int32Array, Ragged

SENTINEL = "\n"
LINE = "Answer:" + SENTINEL
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


@dataclass(frozen=True, slots=True)
class Border:
    """How this tokenizer starts a text.

    `added` are the special tokens it puts in front by itself; `sentinel` are the tokens to take off the
    front of a response that was encoded behind `SENTINEL`, empty where a response can be encoded as it is.
    """

    added: Int32Array
    sentinel: Int32Array

    def mark(self, texts: list[str]) -> list[str]:
        """The texts to encode in place of texts that continue others."""
        return [SENTINEL + text for text in texts] if len(self.sentinel) else texts

    def unmark(self, encoded: Ragged) -> Ragged:
        """The tokens of texts of which every second one was marked, less those of the sentinel.

        Raises:
            TokenizerError: a text swallowed the sentinel.
        """
        width = len(self.sentinel)
        if not width:
            return encoded
        sentinels = encoded.offsets[1:-1:2, None] + np.arange(width)
        heads = encoded.ids[sentinels.clip(max=len(encoded.ids) - 1)]
        if (encoded.lengths[1::2] < width).any() or (heads != self.sentinel).any():
            raise TokenizerError("a response merged with the newline in front of it: its border cannot be found")
        kept = np.ones(len(encoded.ids), bool)
        kept[sentinels] = False
        return Ragged(encoded.ids[kept], encoded.offsets - width * (np.arange(len(encoded.offsets)) // 2))


def find_border(backend: HFBackend) -> Border:
    """Probe a tokenizer.

    Raises:
        TokenizerError: no way to encode a response apart from its prompt could be proven.
    """
    ids = _Ids(backend)
    added = np.array(_added_in_front(backend), np.int32)
    if all(ids(line + text) == ids(line) + ids(text) for line in (SENTINEL, LINE) for text in STARTS):
        return Border(added, np.empty(0, np.int32))
    sentinel = ids(SENTINEL)
    for text in (*STARTS, "\nYes", "\n\nYes"):
        _prove(ids, sentinel, text)
    return Border(added, np.array(sentinel, np.int32))


class _Ids:
    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def __call__(self, text: str) -> list[int]:
        return self.backend.encode([text]).ids.tolist()  # type: ignore[no-any-return]


def _prove(ids: _Ids, sentinel: list[int], text: str) -> None:
    """The sentinel's tokens stand in front, and what follows is what follows any line that ends there."""
    marked = ids(SENTINEL + text)
    if not sentinel or marked[: len(sentinel)] != sentinel or ids(LINE + text) != ids(LINE) + marked[len(sentinel) :]:
        raise TokenizerError(
            f"this tokenizer changes the start of a text, and not even after a newline could the tokens of {text!r} be "
            "told from those in front: prompt and response cannot be encoded apart; use another tokenizer"
        )


def _added_in_front(backend: HFBackend) -> list[int]:
    """The special tokens that the tokenizer adds in front; what it appends is no part of a prompt."""
    probe = "Yes"
    plain = backend.tokenizer.encode(probe, add_special_tokens=False).ids
    full = backend.tokenizer.encode(probe, add_special_tokens=True).ids
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return list(full[:start])
    raise TokenizerError(
        "this tokenizer's special tokens change the ids of the text between them; use another tokenizer"
    )
