"""A frame: a rendering with slots for the texts of a row, computed once for all rows with the same number of contexts.

    segments of a probe     "USER: " [\\0] "\\nASSISTANT: Summary:" │ " " [\\0] "</s>"
    frame                   "USER: " strip "\\nASSISTANT: Summary:" │ " " strip "</s>"

If no text of a row is blank, then stripping never removes a whole text. It strips the texts of the row in the same way
as the texts of the probe. Therefore one frame fits all such rows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter

from samsum_stream.prompts.message import Message
from samsum_stream.prompts.prompt import Prompt
from samsum_stream.values.renderings import Segment
from samsum_stream.values.runs import Run, Shape

_PROBE = " \0 "
_STRIP_OF: dict[str, Callable[[str], str]] = {
    " \0 ": str,
    "\0 ": str.lstrip,
    " \0": str.rstrip,
    "\0": str.strip,
}
"""The function that stripped the probe, by what it left of the probe."""


@dataclass(frozen=True, slots=True)
class FrameRun:
    """One run of a frame: `s` slots, with a fixed text before, between and after them.

    Attributes:
        trained: Whether the run is trained.
        texts: The fixed texts, length `s + 1`.
        strips: The function that strips the text in each slot, length `s`.
    """

    trained: bool
    texts: tuple[str, ...]
    strips: tuple[Callable[[str], str], ...]

    def fill(self, words: Iterable[str]) -> str:
        """The text of the run, with one of `words` in each slot."""
        texts = [self.texts[0]]
        for strip, word, text in zip(self.strips, words, self.texts[1:], strict=False):
            texts += (strip(word), text)
        return "".join(texts)

    def fill_columns(self, columns: Sequence[Sequence[str]], num_rows: int) -> list[str]:
        """The text of the run for each of `num_rows` rows, from one column of texts for each slot."""
        if len(columns) != 1:
            return [self.fill(words) for words in zip(*columns, strict=True)] if columns else [*self.texts] * num_rows
        (before, after), (strip,) = self.texts, self.strips
        return [f"{before}{strip(text)}{after}" for text in columns[0]]


@dataclass(frozen=True, slots=True)
class Frame:
    """A rendering with slots for the texts of a row: those of the contexts, the input and the response, in this order.

    Attributes:
        runs: The runs of the rendering.
        shape: The shape of all examples that the frame renders.
    """

    runs: tuple[FrameRun, ...]
    shape: Shape

    def fill(self, words: Iterable[str]) -> list[str]:
        """The text of each run, for texts in the order of the prompt, none of them blank."""
        words = iter(words)
        return [run.fill(islice(words, len(run.strips))) for run in self.runs]

    def fill_columns(self, columns: Sequence[Sequence[str]], num_rows: int) -> list[list[str]]:
        """The text of each run for each of `num_rows` rows, from one column of texts for each slot."""
        slots = iter(columns)
        return [run.fill_columns([*islice(slots, len(run.strips))], num_rows) for run in self.runs]


def make_frame(
    prompt: Prompt, segments_of: Callable[[Message], Sequence[Segment]], *, num_contexts: int
) -> Frame | None:
    """The frame of messages with `num_contexts` contexts.

    Returns:
        None if no fixed text separates a text of the row from the next one or from the border after it.
    """
    message = Message(_PROBE, _PROBE, (_PROBE,) * num_contexts, dict.fromkeys(prompt.names, _PROBE))
    probed = segments_of(message)
    runs = [_frame_run(trained, [*run]) for trained, run in groupby(probed, key=attrgetter("trained"))]
    complete = tuple(run for run in runs if run and (run.trained or run.texts[-1]))
    num_slots = sum(len(run.strips) for run in complete)
    if len(complete) < len(runs) or num_slots != len(prompt.words(message)):
        return None
    shape = tuple(Run(run.trained, number > 0, tuple(filter(None, run.texts))) for number, run in enumerate(complete))
    return Frame(complete, shape)


def _frame_run(trained: bool, segments: Sequence[Segment]) -> FrameRun | None:
    """The run of a frame; None if a text of the row touches another one."""
    texts = [""]
    strips = []
    for segment in segments:
        if not segment.from_row:
            texts[-1] = segment.text
        elif segment.text not in _STRIP_OF:
            return None
        else:
            strips.append(_STRIP_OF[segment.text])
            texts.append("")
    return FrameRun(trained, tuple(texts), tuple(strips))
