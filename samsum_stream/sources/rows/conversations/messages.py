"""One message of a row as a turn: the message in its normal form, and whether it is trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from samsum_stream.errors.wording import closest
from samsum_stream.sources.rows.conversations.calls import calls_in, calls_of
from samsum_stream.sources.rows.conversations.contents import Content, content_of, split_reasoning
from samsum_stream.sources.rows.conversations.plain import as_text
from samsum_stream.sources.rows.conversations.problem import Problem
from samsum_stream.sources.rows.gather import typed_repr
from samsum_stream.sources.rows.rules import ASSISTANT, CALL, TOOL, ConversationRules
from samsum_stream.values.rows import is_blank


@dataclass(slots=True)
class Turn:
    """A message in its normal form.

    Attributes:
        message: The message: role and content, and reasoning_content, tool_calls, name and tool_call_id if it has them.
        number: The number of the message in the row; for a message of two, that of the first.
        train: What the row says about training the turn; None if it says nothing.
        is_completion: Whether the turn belongs to the completion of a row.
    """

    message: dict[str, Any]
    number: int
    train: bool | None = None
    is_completion: bool = False

    @property
    def role(self) -> str:
        """The role."""
        role: str = self.message["role"]
        return role


def turns_of(
    messages: list[Any],
    rules: ConversationRules,
    *,
    field: str = "messages",
    is_completion: bool = False,
    num_before: int = 0,
) -> list[Turn]:
    """The turns of a list of messages; raises `Problem` for the first message that breaks a rule.

    Args:
        messages: The messages as the row has them.
        rules: How they are read.
        field: The field of the row that has the messages.
        is_completion: Whether the field is the completion of the row.
        num_before: The number of messages in the fields before.
    """
    turns = []
    for number, message in enumerate(messages):
        try:
            turns.append(_turn(message, rules, num_before + number, is_completion))
        except Problem as problem:
            problem.message, problem.field = number, field
            raise
    return turns


def _turn(message: Any, rules: ConversationRules, number: int, is_completion: bool) -> Turn:
    if not isinstance(message, Mapping):
        problem = f"a message must map names to values, got {typed_repr(message)}; write it with a role and a content"
        raise Problem(problem, reason="wrong_type")
    fields = {field: _first(message, names) for field, names in rules.names.items()}
    role = _role(fields["role"], rules)
    content = _content(message, fields, rules, role=role)
    if role == CALL:
        role = ASSISTANT
    if role != ASSISTANT and (content.calls or not is_blank(content.reasoning)):
        what = "tool calls" if content.calls else "reasoning"
        raise Problem(f"a message with {what} must have the role assistant, got {role!r}; fix its role")
    train = _train(message, rules) if role == ASSISTANT else None
    return Turn(_normal(role, content, fields, rules), number, train, is_completion)


def _first(message: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The value of the first name that is not null; an empty text only if no other name has a value."""
    found = None
    for name in names:
        if (value := message.get(name)) is not None:
            if not isinstance(value, str) or value:
                return value
            found = value
    return found


def _role(value: Any, rules: ConversationRules) -> str:
    names = " or ".join(map(repr, rules.names["role"]))
    remedy = "or name it, as in `conversation_config: {fields: {role: ...}}`"
    if value is None:
        raise Problem(
            f"a message must have a role in {names}, got none or null; fix the row, {remedy}", reason="missing_field"
        )
    if not isinstance(value, str):
        raise Problem(
            f"the role in {names} must be a text, got {typed_repr(value)}; fix it, {remedy}", reason="wrong_type"
        )
    if value in rules.known_roles:
        return rules.known_roles[value]
    near = closest(value, rules.known_roles)
    guess, role = ("", "user") if near is None else (f" (did you mean {near!r}?)", rules.known_roles[near])
    raise Problem(
        f"the role must be one of {', '.join(rules.known_roles)}, got {typed_repr(value)}{guess}; fix it, or map it, "
        f"as in `conversation_config: {{roles: {{{as_text(value, what='role')[:40]}: {role}}}}}`"
    )


def _content(message: Mapping[str, Any], fields: Mapping[str, Any], rules: ConversationRules, *, role: str) -> Content:
    """The content with the reasoning and the calls of the other fields."""
    content = content_of(fields["content"])
    calls = (*content.calls, *calls_of(fields["tool_calls"], legacy=message.get("function_call")))
    reasoning = content.reasoning
    if fields["reasoning"] is not None:
        of_field = as_text(fields["reasoning"], what="reasoning")
        if not is_blank(of_field) and not is_blank(reasoning) and of_field != reasoning:
            raise Problem(
                "a message must have one reasoning, and the one in its field differs from the one in its content; "
                "remove one of them"
            )
        reasoning = of_field or reasoning
    names = rules.names["content"]
    if not calls and not reasoning and fields["content"] is None and not any(name in message for name in names):
        raise Problem(
            f"a message must have a content in {' or '.join(map(repr, names))}, it has {', '.join(map(str, message))}; "
            "fix the row, or name the field, as in `conversation_config: {fields: {content: ...}}`",
            reason="missing_field",
        )
    text = content.text
    if role in (ASSISTANT, CALL) and is_blank(reasoning):
        reasoning, text = split_reasoning(text)
    if role == CALL and not calls:
        return Content("", reasoning, tuple(calls_in(text)))
    return Content(text, reasoning, calls)


def _normal(role: str, content: Content, fields: Mapping[str, Any], rules: ConversationRules) -> dict[str, Any]:
    message: dict[str, Any] = {"role": role, "content": content.text}
    if rules.keeps_reasoning and not is_blank(content.reasoning):
        message["reasoning_content"] = content.reasoning
    if content.calls:
        message["tool_calls"] = list(content.calls)
    names = ("name", "tool_call_id") if role == TOOL else ("name",)
    for name in names:
        if fields[name] is not None and (text := as_text(fields[name], what=name)):
            message[name] = text
    return message


def _train(message: Mapping[str, Any], rules: ConversationRules) -> bool | None:
    for name in rules.names["train"]:
        value = message.get(name)
        if isinstance(value, Real | np.bool_) and value in (0, 1):
            return bool(value)
        if value is not None:
            raise Problem(
                f"the field {name!r} must be 0, 1, true or false, got {typed_repr(value)}; other weights of turns are "
                "not supported, so write 0 or 1",
                reason="wrong_type",
            )
    return None
