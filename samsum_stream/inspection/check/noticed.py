"""What is noticed in sampled rows beside their lengths, which shows how a chat template treats their conversations."""

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import jinja2.nodes as nodes
import numpy as np

from samsum_stream.pipeline.encoder import RowEncoder
from samsum_stream.prompts.chat.holes import Placeholders
from samsum_stream.prompts.chat.instruction_rendering import InstructionChatRenderer
from samsum_stream.prompts.chat.loading import LoadedTemplate
from samsum_stream.prompts.chat.marks import ControlTokens
from samsum_stream.prompts.chat.rendering import ChatRenderer
from samsum_stream.prompts.chat.template import TemplateRefusal, Undecided
from samsum_stream.prompts.chat.tracing import TracedTemplate
from samsum_stream.prompts.rendering import PromptRenderer, RowRenderer, message_of
from samsum_stream.prompts.segments import text_of
from samsum_stream.training.stop_tokens import loaded_template
from samsum_stream.values.conversations import ASSISTANT, Conversation, Message, reasoning_of
from samsum_stream.values.rows import Conversations, Rows

BOS_AT_START, BOS_INSIDE, CALLS_WITHOUT_TOOLS = "bos_at_start", "bos_inside", "calls_without_tools"

STRIPPED = "stripped"
"""White space of a row is stripped."""

LOST, DECIDES = "lost: ", "decides: "
"""What is lost, and the text on which a template decides, follow these in the names of what is noticed."""

_BREAK = "\uf8ff"
"""Breaks a text, so that a template does not find it. `ControlTokens` has other marks."""


@dataclass
class Noticed:
    """What was noticed.

    Attributes:
        kinds: The kinds of content that the rows have.
        rows: The rows for each name of what was noticed, as indices of the rows.
        stop_ids: The ids of added tokens with which trained runs end.
    """

    kinds: set[type] = field(default_factory=set)
    rows: dict[str, list[int]] = field(default_factory=dict)
    stop_ids: set[int] = field(default_factory=set)

    def add(self, name: str, row: int) -> None:
        """Add a row, once for each name."""
        if row not in (found := self.rows.setdefault(name, [])):
            found.append(row)

    def starting(self, start: str) -> Mapping[str, Sequence[int]]:
        """The rows for each name that starts with a text, by the rest of the name."""
        return {name.removeprefix(start): rows for name, rows in self.rows.items() if name.startswith(start)}


class Vocabulary(NamedTuple):
    """The ids of a tokenizer.

    Attributes:
        bos: The id of the bos; None if there is none, or if it is the eos too.
        added: The ids of the added tokens.
    """

    bos: int | None
    added: frozenset[int]


class Noticer:
    """Looks at the rows that a chat template writes.

    Args:
        encoder: Encodes the rows.
        vocabulary: The ids of its tokenizer.
    """

    def __init__(self, encoder: RowEncoder, vocabulary: Vocabulary) -> None:
        self._encoder, self._vocabulary = encoder, vocabulary
        loaded = loaded_template(encoder.renderer)
        self._conversations = None if loaded is None else _ConversationNoticer(loaded)

    def look(self, parts: Iterable[tuple[Rows, int]]) -> Noticed:
        """What is noticed in some rows, each part with the index of its first row. Only the first part is encoded."""
        noticed = Noticed()
        for rows, start in parts:
            if len(rows):
                self._look(rows, noticed, start=start)
        return noticed

    def _look(self, rows: Rows, noticed: Noticed, *, start: int) -> None:
        noticed.kinds.add(type(rows.content))
        for index in stripped_in(self._encoder, rows):
            noticed.add(STRIPPED, int(rows.indices[index]) + start)
        if not uses_chat_template(self._encoder, type(rows.content)):
            return
        indices = (rows.indices + start).tolist()
        if not start:
            self._look_at_ids(rows, noticed)
        if self._conversations is not None and isinstance(rows.content, Conversations):
            for index, conversation in zip(indices, rows.content.conversations, strict=True):
                for name in self._conversations.names(conversation):
                    noticed.add(name, index)

    def _look_at_ids(self, rows: Rows, noticed: Noticed) -> None:
        chunk = self._encoder.encode(rows, epoch=0).chunk
        examples, bos = chunk.tokens.split(), self._vocabulary.bos
        starts = np.repeat(chunk.tokens.offsets[:-1], chunk.records["num_spans"])
        last_ids = chunk.tokens.ids[chunk.spans[:, 1] + starts - 1]
        noticed.stop_ids |= self._vocabulary.added & {*last_ids.tolist()}
        for index, ids in zip(rows.indices[chunk.rows].tolist(), examples, strict=True):
            if bos is not None and np.count_nonzero(ids == bos) > 1:
                noticed.add(BOS_AT_START if (ids[:2] == bos).all() else BOS_INSIDE, index)


def stripped_in(encoder: RowEncoder, rows: Rows) -> Iterator[int]:
    """The indices of the rows of which a prompt strips white space; chat templates strip as they want."""
    renderer = encoder.renderer
    of_kind = renderer.renderers.get(type(rows.content)) if isinstance(renderer, RowRenderer) else renderer
    if isinstance(of_kind, PromptRenderer) and of_kind.prompt.strip:
        for index in range(len(rows)):
            message = message_of(rows, index)
            written = text_of(segment for segment in of_kind.segments(message) if segment.from_row)
            if written != "".join(of_kind.prompt.words(message)):
                yield index


def uses_chat_template(encoder: RowEncoder, kind: type) -> bool:
    """Whether rows of a kind are written with a chat template."""
    renderer = encoder.renderer
    of_kind = renderer.renderers.get(kind) if isinstance(renderer, RowRenderer) else None
    return isinstance(of_kind, ChatRenderer | InstructionChatRenderer)


class _ConversationNoticer:
    """Names what a template does with conversations."""

    def __init__(self, loaded: LoadedTemplate) -> None:
        self._loaded = loaded
        self._control = ControlTokens(loaded.special, loaded.written)
        self._traced = TracedTemplate(loaded.template)
        self._looked_for: dict[Hashable, Collection[str]] = {}

    def names(self, conversation: Conversation) -> Iterator[str]:
        """What is lost or missing in a conversation, and the texts in it on which the template decides."""
        parts = [*parts_of(conversation)]
        yield from (f"{LOST}{part}" for part in parts if part in self._loaded.forms.lost)
        if "tool_calls" in parts and not conversation.tools:
            yield CALLS_WITHOUT_TOOLS
        texts = "\0".join(_texts_of_others(conversation))
        if found := [text for text in self._texts_looked_for(conversation) if text in texts]:
            marked = self._control.marked(self._loaded.forms.adapt(conversation))[0]
            yield from (f"{DECIDES}{guard}" for guard in found if self._decides(marked, guard))

    def _texts_looked_for(self, conversation: Conversation) -> Collection[str]:
        """The texts that the template looks for in conversations of this shape, apart from control tokens."""
        placeholders = Placeholders(self._loaded.forms.adapt(conversation), tools_by_value=True)
        if placeholders.shape not in self._looked_for:
            try:
                _, trace = self._traced.trace_of(partial(self._traced.render, placeholders.conversation))
                texts = trace.contained | trace.equal
            except (Undecided, TemplateRefusal):
                texts = _constants_of(self._loaded.template.tree)
            self._looked_for[placeholders.shape] = sorted(
                text for text in texts if len(text) > 1 and not self._control.written_in(text)
            )
        return self._looked_for[placeholders.shape]

    def _decides(self, conversation: Conversation, guard: str) -> bool:
        """Whether the template writes another text if it does not find the guard."""
        broken = [_without(message, guard) for message in conversation.messages]
        text, other = (self._text(each) for each in (conversation, conversation.with_messages(broken)))
        return text is not None and (other is None or other.replace(_BREAK, "") != text)

    def _text(self, conversation: Conversation) -> str | None:
        try:
            return self._loaded.template.render(conversation)
        except TemplateRefusal:
            return None


def _constants_of(tree: nodes.Template) -> set[str]:
    """The texts in a syntax tree that are no names, for a template whose decisions are not known."""
    constants = [node.value for node in tree.find_all(nodes.Const)]
    return {text for text in constants if isinstance(text, str) and text.strip() and not text.isidentifier()}


def parts_of(conversation: Conversation) -> Iterator[str]:
    """The parts of a conversation that a template may lose, as `Forms.lost` names them."""
    messages = conversation.messages
    roles = {message["role"] for message in messages}
    calls = [len(message.get("tool_calls") or ()) for message in messages]
    has_part = {
        "reasoning": any(map(reasoning_of, messages)),
        "tool_calls": any(calls),
        "parallel_calls": max(calls, default=0) > 1,
        "system": bool(roles & {"system", "developer"}),
        "tool_results": "tool" in roles,
    }
    return (part for part, is_there in has_part.items() if is_there)


def _texts_of_others(conversation: Conversation) -> Iterable[str]:
    """The contents of the messages that the model does not write."""
    return (message["content"] for message in conversation.messages if _is_of_another(message))


def _without(message: Message, guard: str) -> Message:
    if not _is_of_another(message):
        return message
    return {**message, "content": message["content"].replace(guard, f"{guard[0]}{_BREAK}{guard[1:]}")}


def _is_of_another(message: Message) -> bool:
    return message["role"] != ASSISTANT and isinstance(message.get("content"), str)
