"""Rows to the two texts that are encoded: what the model is given, and what it learns to say."""

from itertools import repeat

from samsum_stream.prompts import Message, Prompt, SplitSegments
from samsum_stream.prompts.segments import text_of
from samsum_stream.values.examples import Segment
from samsum_stream.values.rows import Rows

NOTHING = (0, None)
"""No characters to cut, at either end."""


class RowRenderer:
    """Renders rows, less the bos and the eos that are added as ids and so must not be spelled as well.

    Both stand in the prompt's own text, the same for every row, so that a row that spells them keeps its text.

    Args:
        prompt: What to say, with its format.
        bos: The text that the tokenizer puts in front by itself; empty if there is none.
        eos: The text of the token that ends every response.
    """

    def __init__(self, prompt: Prompt, *, bos: str, eos: str) -> None:
        self.prompt, self.bos, self.eos = prompt, bos, eos
        self._cuts: dict[int, tuple[int, int | None]] = {}

    def split(self, message: Message) -> SplitSegments:
        """The segments of both sides."""
        start, end = self._cut(len(message.contexts))
        prompt, response = self.prompt.segments(message)
        if start:
            prompt = _with_text(prompt, 0, prompt[0].text[start:])
        if end and response:
            response = _with_text(response, len(response) - 1, response[-1].text[:end])
        return SplitSegments(prompt, response)

    def texts(self, rows: Rows) -> tuple[list[str], list[str]]:
        """The prompt texts and the response texts, `n` each."""
        prompts, responses = self.prompt.texts(rows.inputs, rows.responses, rows.contexts)
        cuts = {self._cut(number) for number in ({0} if rows.contexts is None else set(map(len, rows.contexts)))}
        if cuts <= {NOTHING}:
            return prompts, responses
        counts = repeat(0, len(rows)) if rows.contexts is None else map(len, rows.contexts)
        ends = [self._cut(num_contexts) for num_contexts in counts]
        prompts = [text[start:] for text, (start, _) in zip(prompts, ends, strict=True)]
        return prompts, [text[:end] for text, (_, end) in zip(responses, ends, strict=True)]

    def full_text(self, message: Message) -> str:
        """Both sides in one text, less the bos alone."""
        prompt, response = self.prompt.segments(message)
        return text_of(prompt)[self._cut(len(message.contexts))[0] :] + text_of(response)

    def _cut(self, num_contexts: int) -> tuple[int, int | None]:
        """How many characters of a prompt's start are the bos, and where a response ends before the eos.

        Whether the bos comes first may depend on whether contexts do, so it is looked up for their number.
        """
        if num_contexts not in self._cuts:
            probe = self.prompt.segments(Message("x", "x", ("x",) * num_contexts))
            start = len(self.bos) if _spells(probe.prompt[0]).startswith(self.bos) else 0
            end = -len(self.eos) if _spells(probe.response[-1]).endswith(self.eos) else None
            self._cuts[num_contexts] = start, end
        return self._cuts[num_contexts]


def message_of(rows: Rows, index: int) -> Message:
    """Row `index` of a chunk."""
    contexts = () if rows.contexts is None else tuple(rows.contexts[index])
    return Message(input=rows.inputs[index], response=rows.responses[index], contexts=contexts)


def _spells(segment: Segment) -> str:
    """The format's own text; what a row spells is the row's."""
    return "" if segment.from_row else segment.text


def _with_text(segments: tuple[Segment, ...], index: int, text: str) -> tuple[Segment, ...]:
    changed = (segments[index]._replace(text=text),) if text else ()
    return (*segments[:index], *changed, *segments[index + 1 :])
