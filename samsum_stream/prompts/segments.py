"""Operations on segments that keep the origin of each text: join, strip, and move spaces across a border.

    [format "User: "] [row "Hi "] [format "\\n"] [format "Bot: "] │ [row " Hello"] [format "</s>"]
                                                              border: `trained` changes

While a text is built, its segments are a list of pieces. A piece may be empty or have the same origin as the next one.
"""

from collections.abc import Callable, Iterable
from itertools import groupby

from samsum_stream.values.renderings import Segment

Pieces = list[Segment]


def fixed(text: str) -> Segment:
    """A piece of the format, not trained."""
    return Segment(text, from_row=False, trained=False)


def from_row(text: str) -> Segment:
    """A piece of the row, not trained."""
    return Segment(text, from_row=True, trained=False)


def trained(pieces: Iterable[Segment]) -> Pieces:
    """The same pieces, trained."""
    return [piece._replace(trained=True) for piece in pieces]


def text_of(pieces: Iterable[Segment]) -> str:
    """The texts of the pieces, joined."""
    return "".join([piece.text for piece in pieces])


def join(parts: Iterable[Pieces], separator: str) -> Pieces:
    """`separator.join(parts)`; the separators are pieces of the format."""
    joined: Pieces = []
    for part in parts:
        if joined:
            joined.append(fixed(separator))
        joined += part
    return joined


def strip(pieces: Pieces) -> Pieces:
    """`str.strip` across pieces; a piece that becomes empty stays."""
    return strip_end(strip_start(pieces), str.rstrip)


def strip_start(pieces: Pieces) -> Pieces:
    """`str.lstrip` across pieces."""
    return strip_end(pieces[::-1], str.lstrip)[::-1]


def strip_end(pieces: Pieces, strip_text: Callable[[str], str]) -> Pieces:
    """`strip_text` across pieces, from the last piece back to the first piece that does not become empty."""
    stripped = pieces.copy()
    for index in reversed(range(len(stripped))):
        stripped[index] = stripped[index]._replace(text=strip_text(stripped[index].text))
        if stripped[index].text:
            break
    return stripped


def strip_spaces(pieces: Pieces) -> Pieces:
    """Strip the spaces at the end, and no other white space."""
    return strip_end(pieces, lambda text: text.rstrip(" "))


def settle_borders(pieces: Pieces) -> tuple[Segment, ...]:
    """Move the spaces before each trained run into the run, then merge.

    Most tokenizers put a space into the token of the next word: `"Summary:" + " Amanda"`. At the end of a prompt, the
    space would be a token of its own, which the model never saw in training.
    """
    settled: Pieces = []
    for is_trained, run in groupby(pieces, key=lambda piece: piece.trained):
        spaces = _take_spaces(settled) if is_trained else []
        settled += [*spaces, *run]
    return merge(settled)


def prompt_of(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """The segments before the first trained one, which the model gets at inference."""
    prompt: Pieces = []
    for segment in segments:
        if segment.trained:
            break
        prompt.append(segment)
    return tuple(prompt)


def merge(pieces: Iterable[Segment]) -> tuple[Segment, ...]:
    """The same text without empty pieces, and with neighbours of the same kind joined."""
    kinds = groupby([piece for piece in pieces if piece.text], key=lambda piece: piece[1:])
    return tuple([Segment(text_of(run), *kind) for kind, run in kinds])


def _take_spaces(pieces: Pieces) -> Pieces:
    """Remove the spaces at the end of `pieces`, in place, and return them as trained pieces."""
    stripped = strip_spaces(pieces)
    spaces = [piece._replace(text=piece.text[len(rest.text) :]) for piece, rest in zip(pieces, stripped, strict=True)]
    pieces[:] = stripped
    return trained(spaces)
