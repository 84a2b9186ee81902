"""Text as pieces that know who wrote them: join, strip and split them without losing track.

    [format "User: "] [row "Hi "] [format "\\n"] [format "Bot: "] │ [row " Hello"] [format "</s>"]
                                                              border

Text under construction is a list of pieces, of which some may be empty; `split` makes segments of it.
"""

from collections.abc import Callable, Iterable
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from samsum_stream.values.examples import Segment

Pieces = list[Segment]
"""Text under construction: pieces may be empty and neighbours may have the same writer."""


class SplitSegments(NamedTuple):
    """A rendered example: what the model is given, and what it learns to answer."""

    prompt: tuple[Segment, ...]
    response: tuple[Segment, ...]


def fixed(text: str) -> Segment:
    """A piece that no row wrote."""
    return Segment(text, False)


def text_of(pieces: Iterable[Segment]) -> str:
    """The text that the pieces spell."""
    return "".join([piece.text for piece in pieces])


def join(parts: Iterable[Pieces], separator: str) -> Pieces:
    """`separator.join(parts)`; the separator belongs to the format."""
    joined: Pieces = []
    for part in parts:
        if joined:
            joined.append(fixed(separator))
        joined += part
    return joined


def strip(pieces: Pieces) -> Pieces:
    """`str.strip` across pieces; a piece of which nothing is left stays in its place, empty."""
    return strip_end(strip_start(pieces), str.rstrip)


def strip_start(pieces: Pieces) -> Pieces:
    """`str.lstrip` across pieces."""
    return strip_end(pieces[::-1], str.lstrip)[::-1]


def strip_end(pieces: Pieces, strip_text: Callable[[str], str]) -> Pieces:
    """Apply `strip_text` to the last piece, and on to the one before as long as nothing is left."""
    stripped = pieces.copy()
    for place in reversed(range(len(stripped))):
        text, from_row = stripped[place]
        stripped[place] = Segment(strip_text(text), from_row)
        if stripped[place].text:
            break
    return stripped


def split(pieces: Pieces, *, border: int) -> SplitSegments:
    """Split before the piece at `border`, or before the spaces that lead up to it.

    A tokenizer reads `"Summary:" + " Amanda"`: the space is the first character of the answer's first token, and
    left with the prompt it would be a token that training never shows.
    """
    prompt = pieces[:border]
    kept = strip_end(prompt, lambda text: text.rstrip(" "))
    spaces = [Segment(old.text[len(new.text) :], old.from_row) for old, new in zip(prompt, kept, strict=True)]
    return SplitSegments(merge(kept), merge(spaces + pieces[border:]))


def merge(pieces: Pieces) -> tuple[Segment, ...]:
    """The same text in as few segments as its writers allow, none of them empty."""
    runs = groupby([piece for piece in pieces if piece.text], key=attrgetter("from_row"))
    return tuple(Segment(text_of(run), from_row) for from_row, run in runs)
