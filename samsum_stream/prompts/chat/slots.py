r"""Texts of a template with slots for the values of a conversation.

"<|user|>\n (1) \n<|end|>"      literals "<|user|>", "<|end|>" and a slot for the value 1 as it is
"<|user|>(1)<|end|>"            the same with a slot for the stripped value
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from samsum_stream.prompts.chat.holes import SPACES, Hole, Transform
from samsum_stream.prompts.chat.placeholder_texts import CLOSE, OPEN
from samsum_stream.values.renderings import Segment


class Slot(NamedTuple):
    """Where a value goes: its number among the values, and how the template writes it."""

    value: int
    transform: Transform


class SlotText(NamedTuple):
    """A text with slots: `texts[0] slots[0] texts[1] ...`."""

    texts: tuple[str, ...]
    slots: tuple[Slot, ...]

    @property
    def template(self) -> str:
        """The text with `%s` in each slot."""
        return "%s".join(text.replace("%", "%%") for text in self.texts)

    def filled(self, values: Sequence[Any]) -> str:
        """The text with values in the slots."""
        after = [
            transform(values[value]) + text for (value, transform), text in zip(self.slots, self.texts[1:], strict=True)
        ]
        return self.texts[0] + "".join(after)

    def segments(self, values: Sequence[Any], *, trained: bool) -> list[Segment]:
        """The same text as segments."""
        segments = [Segment(self.texts[0], from_row=False, trained=trained)]
        for (value, transform), text in zip(self.slots, self.texts[1:], strict=True):
            segments.append(Segment(transform(values[value]), from_row=True, trained=trained))
            segments.append(Segment(text, from_row=False, trained=trained))
        return [segment for segment in segments if segment.text]


class Candidate(NamedTuple):
    """A text that a template can write for a placeholder.

    Attributes:
        text: The text.
        offset: The position of the first marker in the text.
        slot: The slot that replaces the text.
    """

    text: str
    offset: int
    slot: Slot


def candidates_of(holes: Sequence[Hole]) -> dict[str, list[Candidate]]:
    """The texts that a template can write for the placeholders, by their first marker; the longest first."""
    candidates: dict[str, list[Candidate]] = {}
    for number, hole in enumerate(holes):
        value = hole.value if isinstance(hole.value, str) else json.dumps(hole.value, ensure_ascii=False)
        for text, transform in _written(value, isinstance(hole.value, str), hole.transforms):
            offset = text.index(OPEN)
            marker = text[offset : text.index(CLOSE) + 1]
            candidates.setdefault(marker, []).append(Candidate(text, offset, Slot(number, transform)))
    for texts in candidates.values():
        texts.sort(key=lambda candidate: -len(candidate.text))
    return candidates


@lru_cache(4096)
def _written(value: str, is_text: bool, transforms: tuple[Transform, ...]) -> list[tuple[str, Transform]]:
    """The different texts that templates write for a placeholder; a value that is no text is given as JSON."""
    placeholder = value if is_text else json.loads(value)
    texts = {transform(placeholder): transform for transform in reversed(transforms)}
    return [(text, transform) for text, transform in texts.items() if OPEN in text]


def _leaves_edges(text: str, first: int, written: str) -> bool:
    """Whether the white space beside a stripped placeholder may be what is left of its edges."""
    end = first + len(written)
    before, after = text[max(first - len(SPACES), 0) : first], text[end : end + len(SPACES)]
    return (before == SPACES and not written[0].isspace()) or (after == SPACES and not written[-1].isspace())


def parsed(text: str, candidates: dict[str, list[Candidate]]) -> SlotText | None:
    """A text of the template as literals and slots; None if it has a placeholder in an unknown form."""
    texts, slots, start = [], list[Slot](), 0
    while (at := text.find(OPEN, start)) >= 0:
        for candidate in candidates.get(text[at : text.find(CLOSE, at) + 1], ()):
            first = at - candidate.offset
            if first >= start and text.startswith(candidate.text, first):
                if _leaves_edges(text, first, candidate.text):
                    return None
                texts.append(text[start:first])
                slots.append(candidate.slot)
                start = first + len(candidate.text)
                break
        else:
            return None
    texts.append(text[start:])
    is_known = not any(CLOSE in literal for literal in texts)
    return SlotText(tuple(texts), tuple(slots)) if is_known else None
