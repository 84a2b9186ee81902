"""Token ids to what each of them says, whatever its tokenizer makes of a text's start or of half a character."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

_BROKEN = "\ufffd"
"""What decoders put in the place of bytes that are no whole character."""


class Piece(NamedTuple):
    """The fewest tokens that spell whole characters: one, but for letters and emoji that take several."""

    ids: tuple[int, ...]
    text: str
    is_special: bool


class Pieces:
    """Decodes ids token by token.

    Each token is decoded behind another one, since decoders such as Llama-2's change the start of a text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._backend = tokenizer.backend_tokenizer
        added = self._backend.get_added_tokens_decoder()
        self._special = {number: token.content for number, token in added.items() if token.special}
        self._before = self._backend.encode("a", add_special_tokens=False).ids
        self._start = self._backend.decode(self._before, skip_special_tokens=False)

    def of(self, ids: Sequence[int]) -> Iterator[Piece]:
        """The pieces of `ids`, of which every id is in one."""
        open_ids: list[int] = []
        for number in ids:
            if number in self._special:
                if open_ids:
                    yield self._ordinary(open_ids)
                yield Piece((number,), self._special[number], True)
                open_ids = []
                continue
            open_ids.append(number)
            piece = self._ordinary(open_ids)
            if not piece.text.endswith(_BROKEN):
                yield piece
                open_ids = []
        if open_ids:
            yield self._ordinary(open_ids)

    def _ordinary(self, ids: Sequence[int]) -> Piece:
        text: str = self._backend.decode([*self._before, *ids], skip_special_tokens=False)
        return Piece(tuple(ids), text.removeprefix(self._start), False)
