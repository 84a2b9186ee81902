"""Texts: the text of a row without a prompt, trained as a whole.

segments    │ [row "Once upon a time ..."]
"""

from collections.abc import Sequence

import numpy as np

from samsum_stream.prompts.rendering import Renderer
from samsum_stream.prompts.segments import from_row
from samsum_stream.values.renderings import Renderings, Segment
from samsum_stream.values.rows import Rows, Texts
from samsum_stream.values.runs import Run

_SHAPE = (Run(trained=True, continues=False, fixed=()),)


class TextRenderer(Renderer):
    """Renders each text to one example. Nothing is stripped; at inference, the model continues the text."""

    def render(self, rows: Rows) -> Renderings:
        texts = _texts(rows)
        return Renderings(
            texts=[*texts],
            shapes=(_SHAPE,),
            shape_of=np.zeros(len(texts), np.int64),
            rows=np.arange(len(texts)),
            shards=rows.shards,
            numbers=rows.rows,
            segments=lambda index: [from_row(texts[index])._replace(trained=True)],
            is_text=True,
        )

    def prompt_segments(self, rows: Rows, index: int) -> Sequence[Segment]:
        return [from_row(_texts(rows)[index])]

    def full_text(self, rows: Rows, index: int) -> str:
        return _texts(rows)[index]


def _texts(rows: Rows) -> list[str]:
    assert isinstance(rows.content, Texts)
    return rows.content.texts
