"""Rows to renderings: the stage before tokenization."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Protocol

import numpy as np

from samsum_stream.prompts.frame import Frame, make_frame
from samsum_stream.prompts.message import Message
from samsum_stream.prompts.prompt import Prompt
from samsum_stream.prompts.segments import fixed, prompt_of, text_of
from samsum_stream.prompts.shortening import SHORTENERS, LongMessage
from samsum_stream.prompts.template import FIELD
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.conversations import Conversation
from samsum_stream.values.renderings import (
    Fit,
    Renderings,
    Segment,
    Shortened,
    join_runs,
    of_one_example,
    runs_of,
)
from samsum_stream.values.rows import Conversations, Instructions, Rows, has_blank, is_blank
from samsum_stream.values.runs import Shape


class Renderer(Protocol):
    """Renders rows. A row becomes 0, 1 or more examples, and an example has any number of trained runs."""

    def render(self, rows: Rows) -> Renderings:
        """The examples of the rows, in the order of the rows."""

    def prompt_segments(self, rows: Rows, index: int) -> Sequence[Segment]:
        """The prompt of the row at `index`: the segments that the model gets at inference."""

    def rendered_prompt(self, rows: Rows, index: int) -> Renderings:
        """The same prompt as one example, to encode."""
        segments = self.prompt_segments(rows, index)
        return of_one_example(runs_of(segments), lambda _: segments)

    def full_text(self, rows: Rows, index: int) -> str:
        """The training text of the row at `index`, without the tokens that the tokenizer adds at the start."""


class RowRenderer(Renderer):
    """Renders rows of any content, each with the renderer of its content.

    Args:
        renderers: The renderers by the class of `Rows.content`.
    """

    def __init__(self, renderers: Mapping[type, Renderer]) -> None:
        self.renderers = renderers

    def render(self, rows: Rows) -> Renderings:
        return self._renderer_of(rows).render(rows)

    def prompt_segments(self, rows: Rows, index: int) -> Sequence[Segment]:
        return self._renderer_of(rows).prompt_segments(rows, index)

    def rendered_prompt(self, rows: Rows, index: int) -> Renderings:
        return self._renderer_of(rows).rendered_prompt(rows, index)

    def full_text(self, rows: Rows, index: int) -> str:
        return self._renderer_of(rows).full_text(rows, index)

    def _renderer_of(self, rows: Rows) -> Renderer:
        return self.renderers[type(rows.content)]


class PromptRenderer(Renderer):
    """Renders each row to one example with a prompt.

    Tokenization adds the bos and the eos as ids. Therefore the renderer removes a bos that the format writes at the
    start and an eos that it writes at the end. The text of a row never changes.

    Args:
        prompt: The prompt, with its format.
        bos: The text of the tokens that the tokenizer adds at the start; empty if it adds none.
        eos: The text of the token that ends every response.
    """

    def __init__(self, prompt: Prompt, *, bos: str, eos: str) -> None:
        self.prompt, self.bos, self.eos = prompt, bos, eos
        self._frames: dict[int, Frame | None] = {}

    def render(self, rows: Rows) -> Renderings:
        texts, shapes, shape_of = self._texts(rows)
        return Renderings(
            texts=texts,
            shapes=shapes,
            shape_of=shape_of,
            rows=np.arange(len(rows)),
            shards=rows.shards,
            numbers=rows.rows,
            segments=lambda index: self.segments(message_of(rows, index)),
            shorten=lambda index, method, fit: self._shorten(message_of(rows, index), method, fit),
        )

    def prompt_segments(self, rows: Rows, index: int) -> Sequence[Segment]:
        return prompt_of(self.segments(message_of(rows, index)))

    def full_text(self, rows: Rows, index: int) -> str:
        return text_of(without_bos(self.prompt.segments(message_of(rows, index)), self.bos))

    def segments(self, message: Message) -> Sequence[Segment]:
        """The segments of a message, without the bos and the eos. The first segment is never trained."""
        segments = without_eos(without_bos(self.prompt.segments(message), self.bos), self.eos)
        # A completion continues its prompt, even an empty prompt. So it is never encoded like the start of a text.
        return (fixed(""), *segments) if segments and segments[0].trained else segments

    def _texts(self, rows: Rows) -> tuple[list[str], tuple[Shape, ...], Int64Array]:
        """The text of each run of all rows, the different shapes, and the index of each row's shape, shape `[n]`."""
        content, frame, words = instructions_of(rows), self._frame(0), self._columns(rows)
        remaining: Sequence[int] = _rows_with_blanks(words)
        if content.contexts is None and frame is not None:  # a frame fills whole columns, which is much faster
            columns = frame.fill_columns(words, len(rows))
            if not remaining:
                return [*chain.from_iterable(zip(*columns, strict=True))], (frame.shape,), np.zeros(len(rows), np.int64)
            examples = [([*texts], frame.shape) for texts in zip(*columns, strict=True)]
        else:
            examples, remaining = [([], ())] * len(rows), range(len(rows))
        for index in remaining:
            examples[index] = self._runs(message_of(rows, index))
        return join_runs(examples)

    def _columns(self, rows: Rows) -> list[list[str]]:
        """The texts of all rows without contexts, as columns in the order in which the prompt writes them."""
        content, (in_input, in_response) = instructions_of(rows), self.prompt.slots
        others = content.columns if len(rows) else {name: list[str]() for name in self.prompt.names}
        inputs = [content.inputs if name == FIELD else others[name] for name in in_input]
        return inputs + [content.responses if name == FIELD else others[name] for name in in_response]

    def _runs(self, message: Message) -> tuple[list[str], Shape]:
        """The text of each run of a message, and the shape of its example."""
        frame, words = self._frame(len(message.contexts)), self.prompt.words(message)
        if frame is None or any(map(is_blank, words)):
            return runs_of(self.segments(message))
        return frame.fill(words), frame.shape

    def _frame(self, num_contexts: int) -> Frame | None:
        """The frame for rows with `num_contexts` contexts, made once; None if there is none."""
        if num_contexts not in self._frames:
            self._frames[num_contexts] = make_frame(self.prompt, self.segments, num_contexts=num_contexts)
        return self._frames[num_contexts]

    def _shorten(self, message: Message, method: str, fit: Fit) -> Shortened | None:
        row = LongMessage(message, lambda shorter: fit.fits(self._rendering(shorter)), fit.token_ends)
        shorter = SHORTENERS[method](row)
        return None if shorter is None else Shortened(self._rendering(shorter.message), shorter.cut)

    def _rendering(self, message: Message) -> Renderings:
        return of_one_example(self._runs(message), lambda _: self.segments(message))


def instructions_of(rows: Rows) -> Instructions:
    """The content of rows with an input and a response."""
    assert isinstance(rows.content, Instructions)
    return rows.content


def conversations_of(rows: Rows) -> Sequence[Conversation]:
    """The content of rows of conversations."""
    assert isinstance(rows.content, Conversations)
    return rows.content.conversations


def message_of(rows: Rows, index: int) -> Message:
    """The row at `index` as a message."""
    content = instructions_of(rows)
    contexts = () if content.contexts is None else tuple(content.contexts[index])
    columns = {name: texts[index] for name, texts in content.columns.items()}
    return Message(content.inputs[index], content.responses[index], contexts, columns)


def _rows_with_blanks(columns: Sequence[Sequence[str]]) -> Sequence[int]:
    """The indices of the rows that have a blank text in one of the columns."""
    if not any(map(has_blank, columns)):
        return ()
    return [index for index, texts in enumerate(zip(*columns, strict=True)) if any(map(is_blank, texts))]


def without_bos(segments: Sequence[Segment], bos: str) -> Sequence[Segment]:
    """The segments without a bos that the format writes at the start."""
    if not bos or not segments or segments[0].from_row or not segments[0].text.startswith(bos):
        return segments
    return _replaced(segments[0], segments[0].text[len(bos) :], [], segments[1:])


def without_eos(segments: Sequence[Segment], eos: str) -> Sequence[Segment]:
    """The segments without an eos that the format writes at the end of a response."""
    last = segments[-1] if segments else None
    if not eos or last is None or not last.trained or last.from_row or not last.text.endswith(eos):
        return segments
    return _replaced(last, last.text.removesuffix(eos), segments[:-1], [])


def _replaced(segment: Segment, text: str, before: Sequence[Segment], after: Sequence[Segment]) -> tuple[Segment, ...]:
    """`before`, the segment with another text, `after`; without the segment if the text is empty."""
    return (*before, *([segment._replace(text=text)] if text else []), *after)
