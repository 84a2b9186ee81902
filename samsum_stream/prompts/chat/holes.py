r"""The texts and values of a conversation that change from row to row, and placeholders for them.

conversation     user "Hi"            assistant "Hello"           the shape: roles, and what each message has
placeholders     user "\n (1) \n"     assistant "\n (2) \n"
template writes  "<|user|>(1)<|assistant|>\n (2) \n"          the first text is stripped, the second is not

A text of the template is a text of literals and slots. A slot is filled with a value in the way in which the template
wrote the placeholder of the value.
"""

import json
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

from samsum_stream.prompts.chat.placeholder_texts import CLOSE, ID_LENGTH, OPEN
from samsum_stream.values.conversations import REASONING, Conversation, Message, texts_in
from samsum_stream.values.rows import is_blank

SPACES = "   "
NEWLINES = 8 * "\n"
"""White space at the edges of a placeholder, which shows what is stripped. Templates do not write as much of it."""

_CASES = "aB"
"""Letters in a placeholder, which show a change of their case."""

_ESCAPED = "\x01"
"""A character in the placeholder of a text, which shows whether the text is JSON: JSON escapes the character."""

_NAME = re.compile(r"[\w.:/-]+\Z", re.ASCII)

Transform = Callable[[Any], str]


def _to_json(value: Any, **kwargs: Any) -> str:
    return json.dumps(value, ensure_ascii=False, **kwargs)


TEXT_TRANSFORMS: tuple[Transform, ...] = (
    str,
    str.strip,
    str.lstrip,
    str.rstrip,
    lambda text: text.strip("\n"),
    lambda text: text.lstrip("\n"),
    lambda text: text.rstrip("\n"),
    _to_json,
    lambda text: _to_json(text.strip()),
)
"""What templates do with a text. The placeholder differs for each of them."""

VALUE_TRANSFORMS: tuple[Transform, ...] = (
    _to_json,
    partial(_to_json, indent=4),
    partial(_to_json, indent=2),
    partial(_to_json, separators=(",", ":")),
)
"""What templates do with a dict or a list."""

NAME_TRANSFORMS: tuple[Transform, ...] = (str,)


class Hole(NamedTuple):
    """A value of a conversation.

    Attributes:
        value: The value.
        transforms: What templates do with such a value.
    """

    value: Any
    transforms: tuple[Transform, ...]


def texts_of_plain(messages: Sequence[Message]) -> list[str] | None:
    """The contents of messages that have only a role and a content; None if one has more, or is blank."""
    if set(map(len, messages)) != {2}:
        return None
    try:
        texts = [*map(itemgetter("content"), messages)]
    except KeyError:
        return None
    return None if not all(texts) or any(map(str.isspace, texts)) else texts


class Placeholders:
    """Replaces the values of a conversation by placeholders, and lists the values.

    Attributes:
        holes: The placeholders, with what templates do with them.
        values: The values, in the same order.
        texts: The contents and the reasoning of the messages.
        other_texts: The other texts of the messages, and those of the variables of the row.
        shape: What is left of the conversation.
    """

    def __init__(self, conversation: Conversation, *, tools_by_value: bool) -> None:
        self.holes: list[Hole] = []
        self.values: list[Any] = []
        self.texts: list[str] = []
        self.other_texts: list[str] = []
        self._ids: dict[str, str] = {}
        self.is_known = True
        self._tools_by_value = tools_by_value
        tools_shape, tools = self._tools(conversation.tools)  # first, so that they have the same numbers in all rows
        shapes = []
        messages = []
        for message in conversation.messages:
            shape, replaced = self._message(message)
            shapes.append(shape)
            messages.append(replaced)
        self.other_texts += texts_in(conversation.kwargs)
        if conversation.documents or conversation.prefill:
            self.is_known = False
        self.shape: Hashable = (
            tuple(shapes),
            tools_shape,
            repr(conversation.kwargs),
            tuple(conversation.trained_turns),
        )
        self.conversation = replace(conversation, messages=messages, tools=tools)

    def _message(self, message: Message) -> tuple[Hashable, Message]:
        shape: list[Hashable] = [message["role"]]
        replaced: dict[str, Any] = {"role": message["role"]}
        for field, value in message.items():
            if field == "role":
                continue
            if field not in ("content", *REASONING):
                self.other_texts += texts_in(value)
            if field == "tool_calls":
                kinds, calls = zip(*map(self._call, value), strict=True) if value else ((), ())
                shape.append((field, kinds))
                replaced[field] = [*calls]
            elif field in ("content", *REASONING):
                shape.append((field, not value))
                replaced[field] = self._text(value) if value else value
            elif field == "tool_call_id":
                shape.append((field, len(value) == ID_LENGTH, self._index(value)))
                replaced[field] = self._id(value)
            else:
                shape.append(field)
                replaced[field] = self._name(value)
        return tuple(shape), replaced

    def _call(self, call: Mapping[str, Any]) -> tuple[Hashable, Mapping[str, Any]]:
        function = call["function"]
        arguments = function["arguments"]
        call_id = call.get("id", "")
        id_shape = (len(call_id) == ID_LENGTH, self._index(call_id))
        shape = (tuple(call), tuple(function), type(arguments).__name__, not arguments, id_shape)
        replaced: dict[str, Any] = {**call, "function": {**function, "name": self._name(function["name"])}}
        if "id" in call:
            replaced["id"] = self._id(call["id"])
        if arguments:
            replaced["function"]["arguments"] = self._value(arguments)
        return shape, replaced

    def _tools(self, tools: Sequence[Mapping[str, Any]] | None) -> tuple[Hashable, Sequence[Mapping[str, Any]] | None]:
        if not tools:
            return None, tools
        if self._tools_by_value:
            return _to_json(tools), tools
        shapes, replaced = zip(*map(self._tool, tools), strict=True)
        self._add([*replaced], tools, VALUE_TRANSFORMS)
        return shapes, [*replaced]

    def _tool(self, tool: Mapping[str, Any]) -> tuple[Hashable, Mapping[str, Any]]:
        function = tool["function"]
        replaced: dict[str, Any] = {}
        for field, value in function.items():
            if field == "name":
                replaced[field] = self._name(value)
            elif isinstance(value, str) and not is_blank(value):
                replaced[field] = self._padded(value)
            elif isinstance(value, Mapping) and value:
                replaced[field] = self._value(value)
            else:
                self.is_known &= not value or value is True
                replaced[field] = value
        shape = tuple((field, type(value).__name__, not value) for field, value in function.items())
        whole = {**tool, "function": replaced}
        self._add(replaced, function, VALUE_TRANSFORMS)
        self._add(whole, tool, VALUE_TRANSFORMS)
        return (tuple(tool), shape), whole

    def _text(self, value: str) -> str:
        if is_blank(value):
            self.is_known = False
        self.texts.append(value)
        return self._padded(value)

    def _padded(self, value: str) -> str:
        placeholder = f"{NEWLINES}{SPACES}{self._new(_ESCAPED)}{SPACES}{NEWLINES}"
        return str(self._add(placeholder, value, TEXT_TRANSFORMS))

    def _name(self, value: Any) -> str:
        if not isinstance(value, str) or not _NAME.match(value):
            self.is_known = False
        return str(self._add(self._new(), value, NAME_TRANSFORMS))

    def _index(self, value: str) -> int:
        """Which id this is of those so far, so that conversations of one shape have the same equal ids."""
        return next((index for index, known in enumerate(self._ids) if known == value), len(self._ids))

    def _id(self, value: str) -> str:
        if value not in self._ids:
            if not _NAME.match(value):
                self.is_known = False
            length = ID_LENGTH + 2 * (len(value) != ID_LENGTH)
            number = str(len(self.holes)).rjust(length - len(f"{OPEN}{_CASES}{CLOSE}"), "0")
            self._ids[value] = self._add(f"{OPEN}{_CASES}{number}{CLOSE}", value, NAME_TRANSFORMS)
        return self._ids[value]

    def _value(self, value: Any) -> Any:
        new = self._new()
        if isinstance(value, str):
            return self._add(f'{{"{new}": 1}}', value, (str, _to_json))
        return self._add({new: new}, value, VALUE_TRANSFORMS)

    def _new(self, end: str = "") -> str:
        return f"{OPEN}{_CASES}{len(self.holes)}{end}{CLOSE}"

    def _add(self, placeholder: Any, value: Any, transforms: tuple[Transform, ...]) -> Any:
        self.holes.append(Hole(placeholder, transforms))
        self.values.append(value)
        return placeholder
