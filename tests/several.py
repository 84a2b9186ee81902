"""A renderer that gives each row 0 to 3 examples with 0 to 3 trained spans each, and the same examples by hand.

The word of a row determines the number of examples, the number of spans, whether an example starts with a trained
span, and which example is longer than a pack.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from samsum_stream import IGNORE_INDEX, SFTStream
from samsum_stream.pipeline.encoder import RowEncoder
from samsum_stream.values.renderings import Renderings, Segment
from samsum_stream.values.rows import Rows
from tests.streams import BOS, EOS, with_encoder

MAX_SPANS = 3
TOO_LONG = 60


class TextRun(NamedTuple):
    """How many times an example repeats the word, and whether these tokens are trained."""

    number: int
    trained: bool


def runs_of_examples(word: int) -> list[list[TextRun]]:
    """The runs of each example of the row with `word`."""
    return [_runs(word, example) for example in range(word % 4)]


def _runs(word: int, example: int) -> list[TextRun]:
    if word % 17 == 5 and example == 1:
        return [TextRun(2, False), TextRun(TOO_LONG, True)]
    num_spans, starts_trained = (word // 4 + example) % (MAX_SPANS + 1), (word + example) % 5 == 0
    ends_trained = bool((word + example) % 3)
    runs = []
    for number in range(2 * num_spans + 1):
        is_edge = (number == 0 and starts_trained) or (number == 2 * num_spans and ends_trained and num_spans)
        if not is_edge:
            runs.append(TextRun((word + 3 * number + example) % 3 + 1, number % 2 == 1))
    return runs


@dataclass(frozen=True)
class SeveralExamples:
    """A `Renderer` of these examples."""

    def render(self, rows: Rows) -> Renderings:
        rendered = [
            (index, _segments(text, runs))
            for index, text in enumerate(rows.content.inputs)
            for runs in runs_of_examples(int(text.split()[0]))
        ]
        numbers = np.array([index for index, _ in rendered], np.int64)
        return Renderings.of_segments(
            [segments for _, segments in rendered], rows=numbers, shards=rows.shards, numbers=rows.rows
        )

    def prompt_segments(self, rows: Rows, index: int) -> Sequence[Segment]:
        return [Segment(rows.content.inputs[index], from_row=True, trained=False)]

    def full_text(self, rows: Rows, index: int) -> str:
        return rows.content.inputs[index]


def _segments(text: str, runs: Sequence[TextRun]) -> list[Segment]:
    """The first word and the rest of the input are from the row; the other words are from the format."""
    word, rest = text.split()[0], text.removeprefix(text.split()[0])
    segments = []
    for number, run in enumerate(runs):
        segments.append(Segment(word + (rest if number == 0 else ""), from_row=True, trained=run.trained))
        segments.append(Segment(f" {word}" * (run.number - 1) + " ", from_row=False, trained=run.trained))
    return segments


def with_several_examples(stream: SFTStream) -> SFTStream:
    """The stream with the renderer of this module."""
    return with_encoder(stream, RowEncoder(SeveralExamples(), stream.pipeline.encoder.tokenizer))


class Expected(NamedTuple):
    """The ids and labels of an example, computed by hand."""

    input_ids: list[int]
    labels: list[int]


def expected_examples(word: int, *, max_length: int) -> dict[int, Expected]:
    """The examples of a row that are not dropped, by number in the row, if the row spells no special token."""
    examples = {}
    for part, runs in enumerate(runs_of_examples(word)):
        ids, trained = [BOS], [False]
        for run in runs:
            ids += [word] * run.number
            trained += [run.trained] * run.number
        if runs and runs[-1].trained:
            ids, trained = [*ids, EOS], [*trained, True]
        if len(ids) <= max_length and any(trained):
            labels = [number if is_trained else IGNORE_INDEX for number, is_trained in zip(ids, trained, strict=True)]
            examples[part] = Expected(ids, labels)
    return examples
