"""Completions: a prompt of the row and the text that follows it directly, without any text of a format.

segments    [row "The sky is"] │ [row " blue."]
"""

from collections.abc import Sequence

import numpy as np

from samsum_stream.prompts.rendering import Renderer
from samsum_stream.prompts.segments import fixed, from_row, prompt_of, settle_borders, text_of, trained
from samsum_stream.values.renderings import Renderings, Segment
from samsum_stream.values.rows import Completions, Rows


class CompletionRenderer(Renderer):
    """Renders each prompt with its completion to one example. Only spaces at the end of the prompt move."""

    def render(self, rows: Rows) -> Renderings:
        examples = [_segments(rows, index) for index in range(len(rows))]
        return Renderings.of_segments(examples, rows=np.arange(len(rows)), shards=rows.shards, numbers=rows.rows)

    def prompt_segments(self, rows: Rows, index: int) -> Sequence[Segment]:
        return prompt_of(_segments(rows, index))

    def full_text(self, rows: Rows, index: int) -> str:
        return text_of(_segments(rows, index))


def _segments(rows: Rows, index: int) -> Sequence[Segment]:
    """The segments of the row at `index`. The first segment is never trained."""
    content = rows.content
    assert isinstance(content, Completions)
    segments = settle_borders([from_row(content.inputs[index]), *trained([from_row(content.responses[index])])])
    # A completion continues its prompt, even an empty prompt. So it is never encoded like the start of a text.
    return (fixed(""), *segments) if segments and segments[0].trained else segments
