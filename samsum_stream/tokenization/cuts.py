r"""Long texts in parts that are encoded separately, so that the cost of one long text stays proportional to its length.

"... the end of a word" | " and the next one ... line\n" | "The next line ..."

The libraries keep about 140 bytes for each character of a text while they encode it. A text is cut only where the
tokenizer gives the same ids for the surroundings of the cut as a whole and in two parts.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from samsum_stream.tokenization.joints import Joints
from samsum_stream.values.arrays import BoolArray, Int64Array, Ragged

PART = 1 << 16
"""The characters of a part: a text of up to twice as many is not cut."""

SURROUNDINGS = 100
"""The characters before and after a cut that are compared."""

MAX_TRIES = 16
"""The places that are tried for a cut."""

_PLACES = re.compile(r"[A-Za-z0-9](?= [A-Za-z0-9])|\n(?=\S)")


class Parts(NamedTuple):
    """The parts of `n` texts.

    Attributes:
        texts: The parts of all texts, in order.
        continues: Whether each part starts in the middle of a text.
        firsts: The index of the first part of each text, then the number of parts, shape `[n + 1]`.
    """

    texts: list[str]
    continues: BoolArray
    firsts: Int64Array

    def joined(self, encoded: Ragged) -> Ragged:
        """The ids of each text, from those of each part."""
        return Ragged(encoded.ids, encoded.offsets[self.firsts])


class Cuts:
    """Cuts long texts, for one tokenizer.

    Args:
        joints: Finds out which texts can be encoded separately.
    """

    def __init__(self, joints: Joints) -> None:
        self.joints = joints

    def split(self, texts: list[str], continues: BoolArray) -> Parts:
        """The parts of texts.

        Args:
            texts: `n` texts.
            continues: Whether each of them starts in the middle of a text, shape `[n]`.
        """
        if max(map(len, texts), default=0) <= 2 * PART:
            return Parts(texts, continues, np.arange(len(texts) + 1))
        parts = [[*self.parts(text)] for text in texts]
        firsts = np.cumsum([0, *map(len, parts)])
        starts_inside = np.ones(firsts[-1], np.bool_)
        starts_inside[firsts[:-1]] = continues
        return Parts([part for of_text in parts for part in of_text], starts_inside, firsts)

    def parts(self, text: str) -> Iterator[str]:
        """The parts of a text; the text itself if it is short, or has no place for a cut."""
        start = 0
        while len(text) - start > 2 * PART and (cut := self._cut(text, start + PART)):
            yield text[start:cut]
            start = cut
        yield text[start:]

    def _cut(self, text: str, first: int) -> int | None:
        """The first place for a cut from the character `first` on."""
        for number, place in enumerate(_PLACES.finditer(text, first)):
            if number == MAX_TRIES:
                break
            if self._is_exact(text, place.end()):
                return place.end()
        return None

    def _is_exact(self, text: str, cut: int) -> bool:
        return self.joints.are_separate(text[max(cut - SURROUNDINGS, 0) : cut], text[cut : cut + SURROUNDINGS])
