"""An example as runs of tokens that are all trained or all masked.

trained   0 0 0 1 1 0 1     runs   [0, 3) masked, [3, 5) trained, [5, 6) masked, [6, 7) trained
"""

from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np

from samsum_stream.showing.decoding import DecodedTokens, TokenDecoder
from samsum_stream.values.examples import Example


class MaskRun(NamedTuple):
    """Neighbouring tokens, `start` to `end`, that are all trained or all masked."""

    is_trained: bool
    start: int
    end: int


class TextRun(NamedTuple):
    """One special token, or the text of neighbouring ordinary tokens."""

    text: str
    is_special: bool


class TokenRun(NamedTuple):
    """The decoded tokens of a `MaskRun`."""

    is_trained: bool
    tokens: tuple[DecodedTokens, ...]

    @property
    def texts(self) -> list[TextRun]:
        """The texts in order. Ordinary tokens are joined, so that the spaces between words are visible as such."""
        texts: list[TextRun] = []
        for is_special, tokens in groupby(self.tokens, key=lambda token: token.is_special):
            contents = [token.text for token in tokens]
            texts += [TextRun(text, is_special) for text in (contents if is_special else ["".join(contents)])]
        return texts


def mask_runs(example: Example, *, offset: int = 0) -> list[MaskRun]:
    """The runs of an example, in order; `offset` is added to their borders."""
    trained = example.trained
    borders = [0, *(np.flatnonzero(np.diff(trained)) + 1).tolist(), len(trained)]
    return [MaskRun(bool(trained[start]), offset + start, offset + end) for start, end in pairwise(borders)]


def token_runs(example: Example, decoder: TokenDecoder) -> list[TokenRun]:
    """The runs of an example with their tokens, in order."""
    ids = example.input_ids.tolist()
    return [TokenRun(run.is_trained, tuple(decoder.decode(ids[run.start : run.end]))) for run in mask_runs(example)]
