"""The forms in which a chat template takes tool calls and reasoning, found with short conversations.

normalized message     arguments {"city": "Oslo"}     content ""        reasoning_content "Hm"
form of a template     arguments '{"city": "Oslo"}'   no content        content "<think>\\nHm\\n</think>\\n\\n..."

Each conversation has one assistant turn with rare words. A form is right if the target of the turn, which is the text
that is trained, contains the words. For a turn without an exact target, the text behind the question takes its place.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

from samsum_stream.prompts.chat.template import CompiledTemplate, TemplateRefusal
from samsum_stream.prompts.chat.turns import Turn, TurnFinder
from samsum_stream.values.conversations import ASSISTANT, REASONING, Conversation, Message, reasoning_of

_SWITCHES: Mapping[str, Any] = {
    "preserve_thinking": True,
    "preserved_thinking": True,
    "keep_past_thinking": True,
    "keep_all_reasoning": True,
    "keep_all_think": True,
    "keep_cots": True,
    "truncate_history_thinking": False,
    "clear_thinking": False,
    "drop_thinking": False,
}
"""The variables with which templates keep the reasoning of earlier turns, and the values that keep the reasoning."""

Reasoning = Literal["field", "inline", "drop"]
Arguments = Literal["mapping", "string"]
EmptyContent = Literal["text", "null"]

_QUESTION, _CONTENT, _REASONING, _SYSTEM, _RESULT = "Wolverine", "Pangolin", "Okapi", "Caracal", "Tapir"
_FUNCTIONS, _KEY, _VALUES = ("quokka", "dugong"), "wombat", ("Numbat", "Gerenuk")
_IDS = ("quokka001", "dugong002")
"""Nine letters and digits, as Mistral demands. Kimi writes the id in place of the name, so the id contains the name."""
_NOTHING = re.compile("None|null")

_USER: Message = {"role": "user", "content": _QUESTION}
_ANSWER: Message = {"role": "assistant", "content": _CONTENT}
_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "Finds",
            "parameters": {"type": "object", "properties": {_KEY: {"type": "string", "description": "A word"}}},
        },
    }
    for name in _FUNCTIONS
]
_CALLS = [
    {"id": call_id, "type": "function", "function": {"name": name, "arguments": {_KEY: value}}}
    for call_id, name, value in zip(_IDS, _FUNCTIONS, _VALUES, strict=True)
]
_CALL: Message = {"role": "assistant", "content": "", "tool_calls": _CALLS[:1]}
_TOOL: Message = {"role": "tool", "content": _RESULT, "name": _FUNCTIONS[0], "tool_call_id": _IDS[0]}


@dataclass(frozen=True)
class Forms:
    """How a template takes the parts of a message, and what the template cannot write.

    Attributes:
        arguments: Whether the arguments of a tool call are a dict or the JSON text of the dict.
        empty_content: What a message with tool calls and without words has as content: an empty text, or no `content`.
        reasoning: Where the template takes the reasoning: in the field `reasoning_content`, or in the content between
            `<think>` and `</think>`. `drop` removes the reasoning.
        lost: What the template drops or refuses, of `reasoning`, `tool_calls`, `parallel_calls`, `system` and
            `tool_results`.
    """

    arguments: Arguments = "mapping"
    empty_content: EmptyContent = "text"
    reasoning: Reasoning = "field"
    lost: frozenset[str] = frozenset()

    def adapt(self, conversation: Conversation) -> Conversation:
        """The conversation in the forms of the template; the same object if no message changes."""
        if not self._changes:
            return conversation
        messages = [self._adapted(message) for message in conversation.messages]
        if all(new is old for new, old in zip(messages, conversation.messages, strict=True)):
            return conversation
        return conversation.with_messages(messages)

    @cached_property
    def _changes(self) -> Sequence[Callable[[Message], Message]]:
        """The changes of an assistant message, in the order in which they are made."""
        changes = {
            _with_reasoning_in_content: self.reasoning == "inline",
            _without_reasoning: self.reasoning != "field",
            _with_text_arguments: self.arguments == "string",
            _without_empty_content: self.empty_content == "null",
        }
        return [change for change, is_wanted in changes.items() if is_wanted]

    def _adapted(self, message: Message) -> Message:
        if message["role"] == ASSISTANT:
            for change in self._changes:
                message = change(message)
        return message


def _with_reasoning_in_content(message: Message) -> Message:
    reasoning = reasoning_of(message)
    if not reasoning:
        return message
    return {**message, "content": f"<think>\n{reasoning}\n</think>\n\n{message.get('content') or ''}"}


def _without_reasoning(message: Message) -> Message:
    if not any(name in message for name in REASONING):
        return message
    return {name: value for name, value in message.items() if name not in REASONING}


def _with_text_arguments(message: Message) -> Message:
    calls = message.get("tool_calls")
    return {**message, "tool_calls": [_with_text(call) for call in calls]} if calls else message


def _with_text(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call["function"]
    if not isinstance(function.get("arguments"), Mapping):
        return call
    return {**call, "function": {**function, "arguments": json.dumps(function["arguments"], ensure_ascii=False)}}


def _without_empty_content(message: Message) -> Message:
    if not message.get("tool_calls") or "content" not in message or message["content"]:
        return message
    return {name: value for name, value in message.items() if name != "content"}


# ---------------------------------------------------------------------------------------------------------- finding

_CALL_FORMS = (Forms(), Forms(empty_content="null"), Forms("string"), Forms("string", empty_content="null"))
"""In the order in which they are preferred."""


def find_forms(finder: TurnFinder, *, reasoning: Literal["auto", "field", "inline", "drop"]) -> Forms:
    """Find the forms of a template, and what the template loses.

    Args:
        finder: Finds the targets of the template.
        reasoning: The form of the reasoning. `auto` is the field if the template writes the field, else the content.
    """
    forms = max(_CALL_FORMS, key=lambda forms: _quality_of_calls(finder, forms))
    keeps_calls = any(_quality_of_calls(finder, forms))
    choices: Sequence[Reasoning] = ("field", "inline") if reasoning == "auto" else (reasoning,)
    form = max(choices, key=lambda form: _quality_of_reasoning(finder, form))
    keeps = {
        "reasoning": form == "drop" or any(_quality_of_reasoning(finder, form)),
        "tool_calls": keeps_calls,
        "parallel_calls": keeps_calls and _has_calls(_written(finder, forms, {**_CALL, "tool_calls": _CALLS}).text, 2),
        "system": _SYSTEM in _prompt(finder, forms, [{"role": "system", "content": _SYSTEM}, _USER]),
        "tool_results": _RESULT in _prompt(finder, forms, [_USER, _CALL, _TOOL]),
    }
    return replace(forms, reasoning=form, lost=frozenset(part for part, is_kept in keeps.items() if not is_kept))


def _quality_of_reasoning(finder: TurnFinder, form: Reasoning) -> tuple[bool, bool]:
    """Whether a template keeps the reasoning and the content, and whether the text is an exact target."""
    written = _written(finder, Forms(reasoning=form), {**_ANSWER, "reasoning_content": _REASONING})
    keeps = _REASONING in written.text and _CONTENT in written.text
    return keeps, keeps and written.is_target


def _quality_of_calls(finder: TurnFinder, forms: Forms) -> tuple[bool, ...]:
    """Whether a template keeps a tool call, in an exact target, not as a dict of Python, and with content beside it.

    All are false if the template loses the call.
    """
    written = _written(finder, forms, _CALL)
    beside = _written(finder, forms, {**_CALL, "content": _CONTENT}).text
    encodes_twice = f'\\"{_KEY}' in written.text
    writes_nothing = bool(_NOTHING.search(written.text)) and not _NOTHING.search(beside)
    if not _has_calls(written.text, 1) or encodes_twice or writes_nothing:
        return False, False, False, False
    return True, written.is_target, f"'{_KEY}'" not in written.text, _CONTENT in beside and _has_calls(beside, 1)


def _has_calls(text: str, num_calls: int) -> bool:
    words = (*_FUNCTIONS[:num_calls], *_VALUES[:num_calls])
    return text.count(_KEY) >= num_calls and all(word in text for word in words)


class _Written(NamedTuple):
    """What a template writes for a turn, and whether the text is the target of the turn."""

    text: str
    is_target: bool


def _written(finder: TurnFinder, forms: Forms, message: Message) -> _Written:
    """What a template writes for a turn after a question; empty if the template refuses the turn."""
    conversation = forms.adapt(_conversation([_USER, message]))
    [turn] = finder.turns(conversation)
    if isinstance(turn, Turn):
        return _Written(turn.target, is_target=True)
    try:
        text = finder.template.render(conversation)
    except TemplateRefusal:
        return _Written("", is_target=False)
    return _Written(text.rpartition(_QUESTION)[2], is_target=False)


def _prompt(finder: TurnFinder, forms: Forms, messages: Sequence[Message]) -> str:
    """The text before the next turn; empty if the template refuses the messages."""
    try:
        return finder.template.render(forms.adapt(_conversation(messages)), add_generation_prompt=True)
    except TemplateRefusal:
        return ""


def _conversation(messages: Sequence[Message]) -> Conversation:
    """A conversation, with tools if the conversation has tool calls."""
    return Conversation(messages, tools=_TOOLS if any("tool_calls" in message for message in messages) else None)


# --------------------------------------------------------------------------------------------------------- switches

_HISTORIES = (
    [_USER, {**_ANSWER, "reasoning_content": _REASONING}, _USER],
    [_USER, {**_CALL, "reasoning_content": _REASONING}, _TOOL, _ANSWER, _USER],
)


def switch_name(template: CompiledTemplate) -> str | None:
    """The variable with which a template keeps the reasoning of earlier turns, such as `preserve_thinking: true`.

    Returns:
        The variable and its value, as written in `template_kwargs`. None if the template has no such variable, or keeps
        the reasoning without it.
    """
    histories = [
        form.adapt(_conversation(messages)) for messages in _HISTORIES for form in (Forms(), Forms(reasoning="inline"))
    ]
    for name in sorted(template.variables & _SWITCHES.keys()):
        if any(_keeps_with(template, conversation, name) for conversation in histories):
            return f"{name}: {json.dumps(_SWITCHES[name])}"
    return None


def _keeps_with(template: CompiledTemplate, conversation: Conversation, name: str) -> bool:
    """Whether a template writes the reasoning with a variable, and drops the reasoning without the variable."""
    try:
        without = template.render(conversation)
        return _REASONING not in without and _REASONING in template.render(
            conversation.with_kwargs(**{name: _SWITCHES[name]})
        )
    except TemplateRefusal:
        return False
