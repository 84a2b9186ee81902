"""Rows to the two texts that are encoded: what the model is given, and what it learns to say."""

from samsum_stream.prompts import Message, Prompt, SplitSegments
from samsum_stream.samples import Rows, Segment


class RowRenderer:
    """Renders rows, less the bos and the eos that are added as ids and so must not be spelled as well.

    Both stand in the prompt's own text, the same for every row, so that a row that spells them keeps its text.

    Args:
        prompt: What to say, with its format.
        bos: The text that the tokenizer puts in front by itself; empty if there is none.
        eos: The text of the token that ends every response.
    """

    def __init__(self, prompt: Prompt, *, bos: str, eos: str) -> None:
        self.prompt = prompt
        probe = prompt.segments(Message(input="x", response="x"))
        self.start = len(bos) if _spells(probe.prompt[0]).startswith(bos) else 0
        self.end = -len(eos) if _spells(probe.response[-1]).endswith(eos) else None

    def split(self, message: Message) -> SplitSegments:
        """The segments of both sides."""
        prompt, response = self.prompt.segments(message)
        if self.start:
            prompt = _with_text(prompt, 0, prompt[0].text[self.start :])
        if self.end and response:
            response = _with_text(response, len(response) - 1, response[-1].text[: self.end])
        return SplitSegments(prompt, response)

    def texts(self, rows: Rows) -> tuple[list[str], list[str]]:
        """The prompt texts and the response texts, `n` each."""
        prompts, responses = self.prompt.texts(rows.inputs, rows.responses, rows.contexts)
        if self.start:
            prompts = [text[self.start :] for text in prompts]
        if self.end:
            responses = [text[: self.end] for text in responses]
        return prompts, responses


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
