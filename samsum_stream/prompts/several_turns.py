"""Conversations, written by a prompt and its format: one example per row, with one trained run per trained turn.

If a token would cross a border, the next trained turn starts a new example, whose history is one run.

runs      "User: Hi\\nAssistant:" │ " Hello</s>" │ "\\nUser: Bye\\nAssistant:" │ " See you"  eos
trained                             ──────────                                 ─────────────

A response in the history ends as the model ends it: with the eos, and without white space at its end. The eos after the
last response is an id, which tokenization adds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from samsum_stream.errors import RowError
from samsum_stream.prompts.chat.examples import Continuation
from samsum_stream.prompts.exchanges import USER, Exchanges, exchanges_of
from samsum_stream.prompts.prompt import Prompt
from samsum_stream.prompts.rendering import Renderer, conversations_of, without_bos, without_eos
from samsum_stream.prompts.segments import (
    Pieces,
    fixed,
    merge,
    prompt_of,
    settle_borders,
    strip_spaces,
    text_of,
)
from samsum_stream.values.conversations import ASSISTANT, Conversation
from samsum_stream.values.examples import Event
from samsum_stream.values.renderings import Problem, Renderings, Segment, runs_of
from samsum_stream.values.rows import Rows


class ConversationRenderer(Renderer):
    """Renders each conversation with a prompt; one of a single turn as `PromptRenderer` does.

    Args:
        prompt: The prompt, with its format. The system message of a conversation replaces that of the prompt.
        bos: The text of the tokens that the tokenizer adds at the start; empty if it adds none.
        eos: The text of the token that ends every response.
        continuation: How a text is encoded after another one; None takes each text as encoded alike in all places.
    """

    def __init__(self, prompt: Prompt, *, bos: str, eos: str, continuation: Continuation | None = None) -> None:
        self.prompt, self.bos, self.eos, self.continuation = prompt, bos, eos, continuation

    def render(self, rows: Rows) -> Renderings:
        conversations = conversations_of(rows)
        found = dict(enumerate(exchanges_of(conversation, last=ASSISTANT) for conversation in conversations))
        problems = {index: problem for index, problem in found.items() if isinstance(problem, Problem)}
        good = {index: self._examples(each) for index, each in found.items() if isinstance(each, Exchanges)}
        renderings = Renderings.of_segments(
            [segments for examples in good.values() for segments in examples],
            rows=np.repeat(np.array([*good], np.int64), [len(examples) for examples in good.values()]),
            shards=rows.shards,
            numbers=rows.rows,
        )
        events = [event for index in good for event in _events(conversations[index], index, len(good[index]))]
        return replace(renderings, problems=problems, events=events)

    def prompt_segments(self, rows: Rows, index: int) -> Sequence[Segment]:
        """The prompt of the last answer, or of the next one if the conversation ends with a user message.

        Raises:
            RowError: a format cannot write the conversation.
        """
        exchanges = _required(_without_last_answer(conversations_of(rows)[index]), last=USER).only(())
        history, before = self._history(exchanges)
        pieces = strip_spaces([*before, *self._start(exchanges)])
        first = self.prompt.without_start
        return _appended(history, merge(pieces) if history else without_bos(merge(first(pieces)), self.bos))

    def full_text(self, rows: Rows, index: int) -> str:
        """The training text of the row at `index`, without the tokens that the tokenizer adds at the start.

        Raises:
            RowError: a format cannot write the conversation.
        """
        return text_of(self._segments(_required(conversations_of(rows)[index], last=ASSISTANT)))

    def _examples(self, exchanges: Exchanges) -> Sequence[Sequence[Segment]]:
        """The examples of a conversation, without the bos and the eos."""
        whole = self._segments(exchanges)
        groups = self._groups(exchanges, runs_of(whole)[0])
        examples = [whole] if len(groups) < 2 else [self._segments(exchanges.only(group)) for group in groups]
        return [without_eos(segments, self.eos) for segments in examples]

    def _groups(self, exchanges: Exchanges, runs: Sequence[str]) -> Sequence[Sequence[int]]:
        """The trained turns of each example; at most one group if each border is exact.

        Args:
            exchanges: The conversation.
            runs: The texts between the borders, if all trained turns are in one example.
        """
        groups: list[list[int]] = []
        trained = [number for number, turn in enumerate(exchanges.turns) if turn.is_trained]
        for index, number in enumerate(trained):
            if not index or not self._is_exact(*runs[2 * index - 2 : 2 * index + 1]):
                groups.append([])
            groups[-1].append(number)
        return groups

    def _is_exact(self, before: str, answer: str, after: str = "") -> bool:
        """Whether the ids of three texts are those of the joined text."""
        if self.continuation is None:
            return True
        starts = self.continuation(before, answer) == answer
        return starts and self.continuation(answer, after, follows_turn=True) == after

    def _segments(self, exchanges: Exchanges) -> Sequence[Segment]:
        """The segments of an example, without the bos."""
        history, before = self._history(exchanges)
        turn = _with_prefill(self._turn(exchanges, len(exchanges.turns) - 1), exchanges.prefill)
        return _appended(history, self._settled([*before, *turn], is_first=not history))

    def _history(self, exchanges: Exchanges) -> tuple[Sequence[Segment], Pieces]:
        """The segments of all turns but the last one, and the white space of the format after their last eos."""
        history: Sequence[Segment] = ()
        before: Pieces = []
        for number, (_, is_trained) in enumerate(exchanges.turns[:-1]):
            pieces = self._turn(exchanges, number)
            settled = self._settled([*before, *pieces], is_first=number == 0)
            history = _appended(history, self._with_eos(settled, is_trained=is_trained))
            before = self._white_space_after(pieces)
        return history, before

    def _turn(self, exchanges: Exchanges, number: int) -> Pieces:
        """The pieces of a turn, with all that comes before it."""
        message, is_trained = exchanges.turns[number]
        pieces = self.prompt.turn(message, is_first=number == 0, system=exchanges.system)
        return pieces if is_trained else [piece._replace(trained=False) for piece in pieces]

    def _start(self, exchanges: Exchanges) -> Pieces:
        """The pieces of the last turn up to what the model generates."""
        *earlier, (message, _) = exchanges.turns
        if exchanges.prefill:  # text follows the prefill, so the white space at its end stays
            message = replace(message, response=f"{exchanges.prefill}.")
        pieces = self.prompt.turn(message, is_first=not earlier, system=exchanges.system)
        return [*prompt_of(_with_prefill(pieces, exchanges.prefill))]

    def _settled(self, pieces: Pieces, *, is_first: bool) -> Sequence[Segment]:
        """The segments of a turn, without white space at the end; those of the first turn also without the bos."""
        stripped = self.prompt.without_end(pieces)
        if not is_first:
            return settle_borders(stripped)
        return without_bos(settle_borders(self.prompt.without_start(stripped)), self.bos)

    def _white_space_after(self, pieces: Pieces) -> Pieces:
        """The white space that the format writes at the end of a turn."""
        stripped = zip(pieces, self.prompt.without_end(pieces), strict=True)
        return [fixed("".join(piece.text[len(kept.text) :] for piece, kept in stripped if not piece.from_row))]

    def _with_eos(self, segments: Sequence[Segment], *, is_trained: bool) -> Sequence[Segment]:
        """The segments of a turn with the eos at the end, unless the format has written it there."""
        if not segments[-1].from_row and segments[-1].text.endswith(self.eos):
            return segments
        return merge([*segments, Segment(self.eos, from_row=False, trained=is_trained)])


def _events(conversation: Conversation, index: int, num_examples: int) -> Iterator[Event]:
    """What was noticed of the row at `index`."""
    if conversation.num_removed:
        yield Event(index, 0, "turns.after_last_turn")
    yield from (Event(index, part, "splits.border") for part in range(1, num_examples))


def _without_last_answer(conversation: Conversation) -> Conversation:
    """The conversation up to the last user message."""
    messages = conversation.messages
    return conversation.first(len(messages) - 1) if messages and messages[-1]["role"] == ASSISTANT else conversation


def _required(conversation: Conversation, *, last: str) -> Exchanges:
    """The turns of a conversation; raises `RowError` if a format cannot write it."""
    exchanges = exchanges_of(conversation, last=last)
    if isinstance(exchanges, Problem):
        raise RowError(exchanges.text, field=exchanges.field, reason=exchanges.reason)
    return exchanges


def _with_prefill(pieces: Pieces, prefill: str) -> Pieces:
    """The pieces of a turn, with the prefill at the start of the response as a piece that is not trained."""
    start = len(prompt_of(pieces))
    if not prefill or start == len(pieces):
        return pieces
    response = pieces[start]
    length = len(prefill if response.text.startswith(prefill) else prefill.lstrip())  # a role may strip the response
    before = response._replace(text=response.text[:length], trained=False)
    return [*pieces[:start], before, response._replace(text=response.text[length:]), *pieces[start + 1 :]]


def _appended(history: Sequence[Segment], turn: Sequence[Segment]) -> Sequence[Segment]:
    """The segments of a turn after those before it. A trained run follows one that is not trained, possibly empty."""
    if turn and turn[0].trained:
        return (*history, fixed(""), *turn)
    return (*history[:-1], *merge([*history[-1:], *turn]))
