"""A renderer for tests: a row has any number of examples, one for each part of its response.

response   "11 11 | 12 | ? | ~"      part "?" has no trained run; part "~" is longer than a pack; "-" has no example
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from samsum_stream import SFTStream
from samsum_stream.prompts.rendering import Renderer
from samsum_stream.prompts.segments import Pieces, fixed, from_row, text_of, trained
from samsum_stream.values.renderings import Renderings, Segment
from samsum_stream.values.rows import Rows
from tests.streams import MAX_LENGTH, make_stream, word

NO_EXAMPLE, UNTRAINED, TOO_LONG = "-", "?", "~"


class PartsRenderer(Renderer):
    """Renders each part of a row's response to one example."""

    def render(self, rows: Rows) -> Renderings:
        examples = [segments_of(rows, index) for index in range(len(rows))]
        row_of = np.repeat(np.arange(len(rows)), list(map(len, examples)))
        flat = [segments for of_row in examples for segments in of_row]
        return Renderings.of_segments(flat, rows=row_of, shards=rows.shards, numbers=rows.rows)

    def prompt_segments(self, rows: Rows, index: int) -> Sequence[Segment]:
        return [fixed("10 "), from_row(rows.content.inputs[index])]

    def full_text(self, rows: Rows, index: int) -> str:
        return " | ".join(map(text_of, segments_of(rows, index)))


def segments_of(rows: Rows, index: int) -> list[Pieces]:
    """The segments of each example of a row."""
    response = rows.content.responses[index]
    parts = [] if response == NO_EXAMPLE else response.split(" | ")
    return [_example(rows.content.inputs[index], part) for part in parts]


def _example(prompt: str, part: str) -> Pieces:
    start: Pieces = [fixed("10 "), from_row(prompt)]
    if part == UNTRAINED:
        return start
    text = " ".join(["11"] * MAX_LENGTH) if part == TOO_LONG else part
    return [*start, *trained([from_row(f" {text}")]), fixed(" 12"), *trained([fixed(" 13")])]


def rows_of_parts(count: int) -> list[dict[str, Any]]:
    """Rows with 0 to 3 examples, of which some are dropped."""
    return [{"input": str(word(index)), "response": _response(index)} for index in range(count)]


def _response(index: int) -> str:
    texts = [" ".join([str(word(index))] * (1 + (index + part) % 7)) for part in range(index % 4)]
    if index % 5 == 1 and texts:
        texts[len(texts) // 2] = UNTRAINED if index % 2 else TOO_LONG
    return " | ".join(texts) or NO_EXAMPLE


def is_kept(part: str) -> bool:
    """Whether a part becomes an example that reaches a batch."""
    return part not in (NO_EXAMPLE, UNTRAINED, TOO_LONG)


def with_parts(stream: SFTStream) -> SFTStream:
    """The stream, with this renderer."""
    stream.pipeline = replace(stream.pipeline, encoder=replace(stream.pipeline.encoder, renderer=PartsRenderer()))
    return stream


def make_parts_stream(rows: object = None, **changes: Any) -> SFTStream:
    """A stream with this renderer; `changes` are those of `make_config`."""
    if rows is None and "source_config" not in changes:
        rows = rows_of_parts(90)
    return with_parts(make_stream(rows, **{"buffer_size": 5, **changes}))
