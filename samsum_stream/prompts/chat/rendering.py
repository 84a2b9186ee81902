"""Rows of conversations to renderings, with a chat template."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from samsum_stream.prompts.chat.assembly import Layout, RenderedRow, renderings_of
from samsum_stream.prompts.chat.conversations import CannotRender, ExampleRenderer, RenderedExamples
from samsum_stream.prompts.chat.examples import Continuation
from samsum_stream.prompts.chat.frame_cache import FrameCache, require_same
from samsum_stream.prompts.chat.loading import LoadedTemplate
from samsum_stream.prompts.chat.marks import ControlTokens, Piece
from samsum_stream.prompts.chat.template import TemplateRefusal
from samsum_stream.prompts.rendering import Renderer, conversations_of
from samsum_stream.values.conversations import Conversation
from samsum_stream.values.renderings import Fit, Problem, Renderings, Segment, Shortened
from samsum_stream.values.rows import Rows
from samsum_stream.values.runs import Run, Shape

SPELLED = "special_tokens_in_rows"


class ChatRenderer(Renderer):
    """Renders each conversation to as many examples as its turns need.

    Args:
        loaded: The template.
        continuation: How a text is encoded after another one.
        trains_reasoning: Whether the reasoning of a turn is trained (`loss_config.reasoning`).
        parses: Whether control tokens in rows keep their meaning (`special_tokens_in_rows: parse`).
        verify_every: The number of chunks from one comparison of frames with the template to the next.
    """

    def __init__(
        self,
        loaded: LoadedTemplate,
        continuation: Continuation,
        *,
        trains_reasoning: bool = True,
        parses: bool = False,
        verify_every: int = 1000,
    ) -> None:
        self.loaded, self._parses, self._continuation = loaded, parses, continuation
        self._examples = ExampleRenderer(loaded, continuation, trains_reasoning=trains_reasoning)
        self._control = ControlTokens(loaded.special, loaded.written, tree=loaded.template.tree)
        self._frames = FrameCache(loaded, self._examples, self._control, continuation)
        self._verify_every, self._num_chunks = verify_every, 0

    def render(self, rows: Rows) -> Renderings:
        conversations = conversations_of(rows)
        self._num_chunks += 1
        return renderings_of(
            [*map(self._row, conversations)],
            rows,
            shorten=lambda index, part, method, fit: self._shorten(conversations[index], part, method, fit),
        )

    def rendered_prompt(self, rows: Rows, index: int) -> Renderings:
        text, mark = self._prompt(conversations_of(rows)[index])
        return renderings_of([self._rendered([[text]], mark, ())])

    def prompt_segments(self, rows: Rows, index: int) -> Sequence[Segment]:
        text, mark = self._prompt(conversations_of(rows)[index])
        return [_segment(piece, trained=False) for piece in self._control.pieces(text, mark)]

    def full_text(self, rows: Rows, index: int) -> str:
        rendered, mark = self._examples_of(conversations_of(rows)[index])
        text = rendered.examples[-1].text if rendered.examples else ""
        return text.replace(mark, "") if mark else text

    def row(self, conversation: Conversation) -> RenderedRow:
        """The examples of a conversation, rendered by the template itself.

        Raises:
            CannotRender: the template cannot write the conversation.
        """
        rendered, mark = self._examples_of(conversation)
        events = [*rendered.events, *events_of(conversation, rendered)]
        if self._parses and self._control.spells(conversation):
            events.append((0, SPELLED))
        return self._rendered([example.runs for example in rendered.examples], mark, events)

    def _row(self, conversation: Conversation) -> RenderedRow | Problem:
        framed = self._frames.row(conversation, self.row)
        if framed is not None and self._num_chunks % self._verify_every:
            return framed
        try:
            row = self.row(conversation)
        except CannotRender as error:
            return error.problem
        if framed is not None:
            require_same(framed, row)
        return row

    def _examples_of(self, conversation: Conversation) -> tuple[RenderedExamples, str]:
        """The examples of a conversation, and the mark of control tokens in their texts."""
        marked, mark = self._adapted(conversation)
        continuation = self._continuation_of_marked(mark) if mark else None
        return self._examples.render(marked, continuation=continuation), mark

    def _prompt(self, conversation: Conversation) -> tuple[str, str]:
        marked, mark = self._adapted(conversation)
        try:
            return self._examples.prompt(marked), mark
        except TemplateRefusal as refusal:
            raise CannotRender(
                Problem("messages", "template_refuses", f"the chat template refuses: {refusal}")
            ) from None

    def _adapted(self, conversation: Conversation) -> tuple[Conversation, str]:
        """The conversation in the form of the template, with marks, and the mark; tags of the form have no marks."""
        marked, mark = (conversation, "") if self._parses else self._control.marked(conversation)
        return self.loaded.forms.adapt(marked), mark

    def _continuation_of_marked(self, mark: str) -> Continuation:
        """The continuation of texts with marks: an ordinary piece is encoded separately, and needs no check."""

        def continuation(left: str, right: str, *, follows_turn: bool = False) -> str | None:
            before, after = self._control.pieces(left, mark)[-1:], self._control.pieces(right, mark)[:1]
            if not before or not after or before[0].is_ordinary or after[0].is_ordinary:
                return right
            start = self._continuation(before[0].text, after[0].text, follows_turn=follows_turn)
            return None if start is None else right if start == after[0].text else right.lstrip()

        return continuation

    def _shorten(self, conversation: Conversation, part: int, method: str, fit: Fit) -> Shortened | None:
        """The example without the oldest rounds that do not fit (`turns`); None if its last turn alone is too long."""
        if method != "turns":
            return None
        turns = [turn.message for turn in self._examples_of(conversation)[0].examples[part].turns]
        starts = [start for start in round_starts(conversation)[1:] if start < turns[-1]]
        renderings = [partial(self._without_rounds, conversation, turns, start) for start in starts]
        first = bisect_left(range(len(starts)), True, key=lambda number: fit.fits(renderings[number]()))
        return Shortened(renderings[first](), ("turns",)) if first < len(starts) else None

    def _without_rounds(self, conversation: Conversation, turns: Sequence[int], start: int) -> Renderings:
        """The example of `turns`, without the rounds before the message at `start`."""
        kept = conversation.messages[: num_system(conversation)]
        num_removed = start - len(kept)
        trained = [turn - num_removed for turn in turns if turn >= start]
        messages = [*kept, *conversation.messages[start : turns[-1] + 1]]
        rendered = self.row(replace(conversation, messages=messages, trained=trained))
        return renderings_of([rendered._replace(events=())]).select(np.zeros(1, np.int64))

    def _rendered(self, examples: Sequence[Sequence[str]], mark: str, events: Sequence[tuple[int, str]]) -> RenderedRow:
        """A row from the text of each run of its examples."""
        pieces = [[self._pieces(run, mark) for run in runs] for runs in examples]
        flat = [piece for runs in pieces for run in runs for piece in run]
        number = iter(range(len(flat)))
        return RenderedRow(
            texts=[piece.text for piece in flat],
            layout=Layout.of(
                [self._shape(runs) for runs in pieces],
                [[next(number) for _ in run] for runs in pieces for run in runs],
            ),
            segments=lambda part: _segments(pieces[part]),
            ordinary=[index for index, piece in enumerate(flat) if piece.is_ordinary],
            events=events,
        )

    def _pieces(self, text: str, mark: str) -> list[Piece]:
        return self._control.pieces(text, mark) if mark else [Piece(text, False)]

    def _shape(self, runs: Sequence[Sequence[Piece]]) -> Shape:
        """The shape of an example whose runs are the prompt and the target of each turn."""
        return tuple(
            Run(
                trained=number % 2 == 1,
                continues=number > 0,
                fixed=tuple(
                    token for piece in run if not piece.is_ordinary for token in self._control.written_in(piece.text)
                ),
            )
            for number, run in enumerate(runs)
        )


def events_of(conversation: Conversation, rendered: RenderedExamples) -> list[tuple[int, str]]:
    """What is counted for a conversation as a whole."""
    is_cut, is_empty = conversation.num_removed > 0, not rendered.examples
    return [(0, "turns.after_last_turn")] * is_cut + [(0, "dropped.no_trained_token")] * is_empty


def num_system(conversation: Conversation) -> int:
    """The number of system messages at the start, 0 or 1."""
    return int(conversation.messages[0]["role"] == "system")


def round_starts(conversation: Conversation) -> list[int]:
    """The messages at which rounds start: the first one after the system message, and each user message after a turn.

    A round ends with an assistant message. Tool calls and their results are in one round.
    """
    messages, first = conversation.messages, num_system(conversation)
    roles = [message["role"] for message in messages]
    later = range(first + 1, len(messages))
    return [first, *(index for index in later if roles[index] == "user" and roles[index - 1] != "user")]


def _segments(runs: Sequence[Sequence[Piece]]) -> list[Segment]:
    return [_segment(piece, trained=number % 2 == 1) for number, run in enumerate(runs) for piece in run]


def _segment(piece: Piece, *, trained: bool) -> Segment:
    return Segment(piece.text, from_row=piece.is_ordinary, trained=trained)
