r"""Long texts in parts that are encoded separately, so that the cost of one long text stays proportional to its length.

text        "... the end of a word" | " and the next one ... line\n" | "The next line ..."
parts        part 0                   part 1                         part 2
at a time    [ some parts of some texts, at most MAX_CHARACTERS ] [ the next parts ] ...

The libraries keep up to 240 bytes for each character of a text while they encode it. A text is cut only where the
tokenizer gives the same ids for the surroundings of the cut as a whole and in two parts.
"""

import re
from array import array
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from samsum_stream.tokenization.joints import Joints
from samsum_stream.values.arrays import BoolArray, Int64Array, Ragged, offsets_of

PART = 1 << 16
"""The characters of a part: a text of up to twice as many is not cut."""

MAX_CHARACTERS = 1 << 21
"""The characters of all parts that are encoded at a time; one part that cannot be cut may have more."""

SURROUNDINGS = 100
"""The characters before and after a cut that are compared."""

MAX_TRIES = 16
"""The places that are tried for a cut, for each part that a stretch without a cut could have been."""

_PLACES = re.compile(r"[A-Za-z0-9](?= [A-Za-z0-9])|\n(?=\S)|[^\W\d_](?=[、。，！？])")


class Parts(NamedTuple):
    """Parts of some texts, which are encoded at a time.

    Attributes:
        texts: The parts, in order.
        continues: Whether each part starts in the middle of a text.
        owners: The index of the text of each part.
    """

    texts: list[str]
    continues: BoolArray
    owners: Int64Array


Encode = Callable[[list[str], BoolArray], Ragged]
"""The ids of texts; the flags say which of them start in the middle of a text."""


class Cuts:
    """Cuts long texts, for one tokenizer.

    Args:
        joints: Finds out which texts can be encoded separately.
    """

    def __init__(self, joints: Joints) -> None:
        self.joints = joints

    def encode(self, texts: list[str], continues: BoolArray, encode: Encode) -> Ragged:
        """The ids of each text, from those of its parts.

        Args:
            texts: `n` texts.
            continues: Whether each of them starts in the middle of a text, shape `[n]`.
            encode: Encodes parts.
        """
        if not _is_long(texts):
            return encode(texts, continues)
        ids, lengths = array("i"), np.zeros(len(texts), np.int64)  # grows in place, without a second copy
        for parts in self.groups(texts, continues):
            encoded = encode(parts.texts, parts.continues)
            ids.frombytes(encoded.ids.tobytes())
            np.add.at(lengths, parts.owners, encoded.lengths)
        return Ragged(np.frombuffer(ids, np.int32), offsets_of(lengths))

    def groups(self, texts: list[str], continues: BoolArray) -> Iterator[Parts]:
        """The parts of texts, those together that are encoded at a time; the arguments are those of `encode`."""
        group, size = list[tuple[str, bool, int]](), 0
        for owner, starts_inside in enumerate(continues.tolist()):
            for number, part in enumerate(self.parts(texts[owner])):
                if group and size + len(part) > MAX_CHARACTERS:
                    yield _parts(group)
                    group, size = [], 0
                group.append((part, starts_inside or number > 0, owner))
                size += len(part)
        yield _parts(group)

    def parts(self, text: str) -> Iterator[str]:
        """The parts of a text; the text itself if it is short, or has no place for a cut."""
        start = 0
        while len(text) - start > 2 * PART and (cut := self._cut(text, start + PART)):
            yield text[start:cut]
            start = cut
        yield text[start:]

    def _cut(self, text: str, first: int) -> int | None:
        """The first place for a cut from the character `first` on."""
        for start in range(first, len(text), PART):
            places = islice(_PLACES.finditer(text, start, start + PART), MAX_TRIES)
            if cut := next((place.end() for place in places if self._is_exact(text, place.end())), None):
                return cut
        return None

    def _is_exact(self, text: str, cut: int) -> bool:
        return self.joints.are_separate(text[max(cut - SURROUNDINGS, 0) : cut], text[cut : cut + SURROUNDINGS])


def _is_long(texts: list[str]) -> bool:
    """Whether texts are not encoded as they are, at one time."""
    sizes = [*map(len, texts)]
    return sum(sizes) > MAX_CHARACTERS or max(sizes, default=0) > 2 * PART


def _parts(group: list[tuple[str, bool, int]]) -> Parts:
    texts, continues, owners = zip(*group, strict=True)
    return Parts([*texts], np.array(continues, np.bool_), np.array(owners, np.int64))
