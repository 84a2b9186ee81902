"""The frames of a template, one for each shape of a conversation."""

import json
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, product
from operator import itemgetter
from typing import Any, NamedTuple

from samsum_stream.errors import BackendMismatchError
from samsum_stream.errors.wording import quoted
from samsum_stream.prompts.chat.assembly import RenderedRow
from samsum_stream.prompts.chat.conversations import (
    CannotRender,
    ExampleRenderer,
    RenderedExamples,
    RenderedTurn,
)
from samsum_stream.prompts.chat.decisions import Trace
from samsum_stream.prompts.chat.examples import ChatExample, Continuation
from samsum_stream.prompts.chat.frames import Frame, FrameMaker, Guards
from samsum_stream.prompts.chat.holes import NEWLINES, SPACES, Placeholders, texts_of_plain
from samsum_stream.prompts.chat.loading import LoadedTemplate
from samsum_stream.prompts.chat.marks import ControlTokens
from samsum_stream.prompts.chat.placeholder_texts import CLOSE, OPEN
from samsum_stream.prompts.chat.template import Undecided
from samsum_stream.prompts.chat.tracing import TracedTemplate
from samsum_stream.prompts.chat.turns import THINKING
from samsum_stream.values.conversations import Conversation, reasoning_of, texts_in

Tools = Sequence[Mapping[str, Any]] | None

MAX_FRAMES = 2048
"""The shapes that are remembered."""

MAX_TURNS = 512
"""The turns of placeholders that are remembered."""

NUM_COMPARED = 4
"""The first frames whose first conversation is compared in all examples. That of later ones is compared in the last."""


class FrameCache:
    """Renders conversations with frames.

    Args:
        loaded: The template.
        examples: Renders conversations without frames.
        control: The tokens that a row must not write.
        continuation: How a text is encoded after another one.
    """

    def __init__(
        self, loaded: LoadedTemplate, examples: ExampleRenderer, control: ControlTokens, continuation: Continuation
    ) -> None:
        self._examples, self._control, self._continuation = examples, control, continuation
        self._forms = loaded.forms
        self._of_placeholders = _PlaceholderRenderer(examples)
        self._is_on = loaded.settings.frames and self._of_placeholders.is_traced
        self._maker = FrameMaker(control.written_in, _barriers(loaded))
        self._frames: dict[Hashable, Frame | None] = {}
        self._compared: set[Hashable] = set()
        self._tools_by_value = False
        self._allowed_tools: dict[Hashable, bool] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_frames": {}, "_compared": set(), "_allowed_tools": {}}

    def row(self, conversation: Conversation, render: Callable[[Conversation], RenderedRow]) -> RenderedRow | None:
        """The examples of a conversation; None if it has no frame.

        Args:
            conversation: The conversation.
            render: Renders a conversation without a frame.
        """
        if not self._is_on:
            return None
        outline = self._outline(conversation)
        shape, joined = outline.shape, "\0".join(["", *outline.texts, *outline.other_texts, ""])
        if not outline.is_known or OPEN in joined or CLOSE in joined or self._control.may_spell(joined):
            return None
        if not self._examples.trains_reasoning and "</think>" in joined:
            return None  # a placeholder does not show where the reasoning in a content ends
        if shape not in self._frames:
            self._remember(shape, self._make(conversation, outline), conversation)
        frame = self._frames[shape]
        if frame is None or not self._allows(frame.guards, outline, joined, conversation.tools):
            return None
        row = frame.fill(outline.values, self._continuation)
        if row is None:
            return None
        if shape not in self._compared and not self._is_right(row, conversation, render):
            self._remember(shape, None, conversation)
            return None
        self._compared.add(shape)
        if not conversation.num_removed:
            return row
        return row._replace(events=(*row.events, (0, "turns.after_last_turn")))

    def _outline(self, conversation: Conversation) -> "Placeholders | _PlainOutline":
        is_plain = not (conversation.tools or conversation.documents or conversation.prefill or conversation.kwargs)
        texts = texts_of_plain(conversation.messages) if is_plain else None
        if texts is None:
            return Placeholders(self._forms.adapt(conversation), tools_by_value=self._tools_by_value)
        roles = tuple(map(itemgetter("role"), conversation.messages))
        return _PlainOutline((roles, tuple(conversation.trained_turns)), texts, texts)

    def _allows(self, guards: Guards, outline: "Placeholders | _PlainOutline", joined: str, tools: Tools) -> bool:
        """Whether no value of a conversation can change what the template does."""
        if not guards.allow_texts(chain(outline.texts, outline.other_texts), joined):
            return False
        return guards.allow_values(outline.values) and self._allows_tools(guards, tools)

    def _allows_tools(self, guards: Guards, tools: Tools) -> bool:
        """The same for tools, which many rows share."""
        if tools is None:
            return True
        key = (json.dumps(tools, ensure_ascii=False), guards.contained, guards.equal)
        if key not in self._allowed_tools:
            texts = [*texts_in(tools)]
            joined = "\0".join(["", *texts, ""])
            is_allowed = self._tools_by_value or guards.allow_texts(texts, joined)
            if len(self._allowed_tools) >= MAX_FRAMES:
                self._allowed_tools.clear()
            self._allowed_tools[key] = is_allowed and OPEN not in joined and not self._control.may_spell(joined)
        return self._allowed_tools[key]

    def _remember(self, shape: Hashable, frame: Frame | None, conversation: Conversation) -> None:
        if len(self._frames) >= MAX_FRAMES:
            oldest = next(iter(self._frames))
            self._compared.discard(oldest)
            del self._frames[oldest]
        self._frames[shape] = frame
        if frame is None and conversation.tools and not self._tools_by_value:
            self._tools_by_value = True
            self._allowed_tools.clear()

    def _make(self, conversation: Conversation, outline: "Placeholders | _PlainOutline") -> Frame | None:
        """The frame of a shape, not compared with the template yet; None if there is none."""
        placeholders = outline
        if not isinstance(placeholders, Placeholders):
            adapted = self._forms.adapt(conversation)
            placeholders = Placeholders(adapted, tools_by_value=self._tools_by_value)
        try:
            rendered, trace = self._of_placeholders.traced(placeholders.conversation, self._continuation_of_literals)
            _require_splits(rendered.examples, trace)
        except (CannotRender, Undecided):
            return None
        if not rendered.examples:
            return None
        return self._maker.make(rendered.examples, placeholders.holes, rendered.events, trace)

    def _is_right(
        self, framed: RenderedRow, conversation: Conversation, render: Callable[[Conversation], RenderedRow]
    ) -> bool:
        """Whether a frame writes what the template writes: all examples for the first frames, then the last turn."""
        try:
            if len(self._compared) < NUM_COMPARED:
                return is_same(framed, render(conversation))
            last = self._examples.last_turn(self._forms.adapt(conversation))
        except CannotRender:
            return False
        runs = _runs(framed)[-len(framed.layout.shapes[-1]) :]
        return last is not None and "".join(runs) == last.prompt + last.target

    def _continuation_of_literals(self, left: str, right: str, *, follows_turn: bool = False) -> str | None:
        """The continuation by a text of the template; that of a value is checked for each row."""
        if not right.partition(OPEN)[0].strip():
            return right
        continued = self._continuation(left, right, follows_turn=follows_turn)
        if continued is None:
            raise Undecided  # a token crosses the border, maybe because of the white space of a placeholder
        return continued


def _require_splits(examples: Sequence[ChatExample], trace: Trace) -> None:
    """Decide that each turn needs the example that it is in, and does not continue an earlier one."""
    for number, example in enumerate(examples):
        for earlier, turn in product(examples[:number], example.turns):
            trace.require_difference(earlier.text, turn.prompt)


def _breaks_edge(prompt: str, target: str) -> bool:
    """Whether the white space at the start of a placeholder may be partly in the prompt."""
    after = target[: len(target) - len(target.lstrip())]
    before = prompt[len(prompt.rstrip()) :]
    edge = next((edge for edge in (NEWLINES + SPACES, SPACES) if (before + after).endswith(edge)), "")
    return target.startswith(OPEN, len(after)) and len(after) < len(edge)


class _PlaceholderRenderer(ExampleRenderer):
    """Renders conversations of placeholders: those that start with messages of the same shapes have the same turns.

    Attributes:
        is_traced: Whether the template can be traced.
    """

    def __init__(self, examples: ExampleRenderer) -> None:
        self._template = TracedTemplate(examples.loaded.template)
        finder = examples.loaded.finder.with_template(self._template)
        loaded = replace(examples.loaded, finder=finder)
        super().__init__(loaded, examples.continuation, trains_reasoning=examples.trains_reasoning)
        self.is_traced = self._template.environment.is_traced
        self._trace = Trace()
        self._turn_of: dict[str, tuple[RenderedTurn, Trace]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_turn_of": {}}

    def traced(self, placeholders: Conversation, continuation: Continuation) -> tuple[RenderedExamples, Trace]:
        """The examples of a conversation of placeholders, and what the template decided; raises `Undecided`."""
        self._trace = Trace()
        return self.render(placeholders, continuation=continuation), self._trace

    def turn(self, conversation: Conversation, index: int) -> RenderedTurn:
        key = repr((conversation.messages[: index + 1], conversation.tools, conversation.kwargs))
        if key not in self._turn_of:
            if len(self._turn_of) >= MAX_TURNS:
                self._turn_of.clear()
            self._turn_of[key] = self._template.trace_of(partial(self._traced_turn, conversation, index))
        turn, trace = self._turn_of[key]
        self._trace.add(trace)
        return turn

    def _traced_turn(self, conversation: Conversation, index: int) -> RenderedTurn:
        rendered = super().turn(conversation, index)
        turn = rendered.turn
        # The texts of a row could continue the prompt, or the prompt could have the white space of a placeholder.
        if turn is None or _breaks_edge(turn.prompt, turn.target):
            raise Undecided
        if turn.thinking is not None or turn.is_spliced:
            self._require_other_texts(conversation, index)
        if turn.is_spliced and THINKING in self._template.variables:
            thinking = bool(reasoning_of(conversation.messages[index]))
            self._require_other_texts(conversation.with_kwargs(**{THINKING: thinking}), index)
        return rendered

    def _require_other_texts(self, conversation: Conversation, index: int) -> None:
        """Decide that the text with a turn does not start with its prompt."""
        prompt = self._template.render(conversation.first(index), add_generation_prompt=True)
        text = self._template.render(conversation.first(index + 1))
        self._template.environment.trace.require_difference(prompt, text)


class _PlainOutline(NamedTuple):
    """The outline of a conversation whose messages have only a role and a content."""

    shape: Hashable
    values: Sequence[Any]
    texts: Sequence[str]
    other_texts: Sequence[str] = ()
    is_known: bool = True


def is_same(framed: RenderedRow, row: RenderedRow) -> bool:
    """Whether a row was rendered in the same way with and without a frame."""
    return framed.layout.shapes == row.layout.shapes and _runs(framed) == _runs(row) and not row.ordinary


def require_same(framed: RenderedRow, row: RenderedRow) -> None:
    """Raise `BackendMismatchError` if a row was rendered in another way with a frame."""
    if not is_same(framed, row):
        pairs = zip(_runs(framed), _runs(row), strict=False)
        one, other = next((pair for pair in pairs if pair[0] != pair[1]), ("", ""))
        raise BackendMismatchError(
            f"the chat template writes {quoted(other[:200])}, and its frame writes {quoted(one[:200])}: the template "
            "decides on texts in an unknown way; set frames: false under prompt_format_config.kwargs"
        )


def _runs(row: RenderedRow) -> list[str]:
    """The text of each run of all examples."""
    pieces = iter(row.layout.pieces.tolist())
    return ["".join(row.texts[next(pieces)] for _ in range(number)) for number in row.layout.num_pieces.tolist()]


def _barriers(loaded: LoadedTemplate) -> re.Pattern[str]:
    """Matches the special tokens before which a text can be cut."""
    longest_first = sorted((token for token in loaded.barriers if token.strip()), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
