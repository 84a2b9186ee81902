"""A rendered example with slots for the words of a row: written once for all rows that are alike.

    segments of a probe     "USER: " [\\0] "\\nASSISTANT: Summary:" ║ " " [\\0] "</s>"
    frame                   "USER: " strip "\\nASSISTANT: Summary:" ║ " " strip "</s>"

Where no words are blank, stripping never reaches across them: so what happened to the probe's words happens to all
words, and the frame of one message fits every message with as many contexts.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from samsum_stream.prompts.message import Message
from samsum_stream.prompts.segments import SplitSegments
from samsum_stream.values.examples import Segment

_PROBE = " \0 "
_STRIP_BY_REST: dict[str, Callable[[str], str]] = {
    " \0 ": str,
    "\0 ": str.lstrip,
    " \0": str.rstrip,
    "\0": str.strip,
}


def is_blank(words: str) -> bool:
    """Whether `str.strip` leaves nothing."""
    return not words or words.isspace()


@dataclass(frozen=True, slots=True)
class FrameSide:
    """The texts around the slots of one side, and what strips the words that go into each slot."""

    texts: tuple[str, ...]
    strips: tuple[Callable[[str], str], ...]

    def fill(self, words: Iterable[str]) -> tuple[Segment, ...]:
        """The segments with `words` in the slots."""
        segments = [Segment(self.texts[0], False)]
        for strip, word, text in zip(self.strips, words, self.texts[1:], strict=True):
            segments += (Segment(strip(word), True), Segment(text, False))
        return tuple([segment for segment in segments if segment.text])

    def fill_each(self, column: Iterable[str]) -> list[str]:
        """The text of a side with a single slot, for each of many words."""
        (before, after), (strip,) = self.texts, self.strips
        return [f"{before}{strip(words)}{after}" for words in column]


@dataclass(frozen=True, slots=True)
class Frame:
    """Both sides of the border; the prompt's slots take contexts and input, the response's takes the response."""

    prompt: FrameSide
    response: FrameSide

    def fill(self, message: Message) -> SplitSegments:
        """The segments of a message without blank words."""
        prompt = self.prompt.fill([*message.contexts, message.input])
        return SplitSegments(prompt, () if message.response is None else self.response.fill([message.response]))


def make_frame(segments_of: Callable[[Message], SplitSegments], *, num_contexts: int) -> Frame | None:
    """The frame of a rendering; None where a row's words are repeated, or touch each other or the border's left."""
    probed = segments_of(Message(_PROBE, _PROBE, (_PROBE,) * num_contexts))
    prompt, response = _side(probed.prompt, num_slots=num_contexts + 1), _side(probed.response, num_slots=1)
    return Frame(prompt, response) if prompt and response and prompt.texts[-1] else None


def _side(segments: Sequence[Segment], *, num_slots: int) -> FrameSide | None:
    texts = [""]
    strips = []
    for text, from_row in segments:
        if not from_row:
            texts[-1] = text
        elif text not in _STRIP_BY_REST:
            return None
        else:
            strips.append(_STRIP_BY_REST[text])
            texts.append("")
    return FrameSide(tuple(texts), tuple(strips)) if len(strips) == num_slots else None
