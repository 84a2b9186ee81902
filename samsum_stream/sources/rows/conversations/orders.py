"""The order of turns: what is an error, what is merged, and which turns are trained."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from samsum_stream.sources.rows.conversations.messages import Turn
from samsum_stream.sources.rows.conversations.problem import Problem
from samsum_stream.sources.rows.rules import ASSISTANT, DEVELOPER, SYSTEM, TOOL, USER, ConversationRules
from samsum_stream.values.rows import is_blank

SYSTEMS = (SYSTEM, DEVELOPER)
"""The roles of messages that can only be the first one."""

_BORDER = "\n\n"
"""The text between the contents of two turns that are merged."""


def merged(turns: Sequence[Turn]) -> list[Turn]:
    """The turns with successive assistant turns as one turn."""
    result: list[Turn] = []
    for turn in turns:
        if result and result[-1].role == turn.role == ASSISTANT:
            result[-1] = _merged(result[-1], turn)
        else:
            result.append(turn)
    return result


def _merged(first: Turn, second: Turn) -> Turn:
    if first.is_completion != second.is_completion:
        raise Problem(
            "an assistant turn of the prompt and one of the completion cannot be merged, because one is trained and "
            "the other is not; leave the assistant turn at the end of the prompt without reasoning and tool calls",
            message=second.number,
        )
    if first.train is not None and second.train is not None and first.train != second.train:
        problem = "successive assistant turns that are merged must both be trained or not; give both the same flag"
        raise Problem(problem, message=second.number)
    message = {**second.message, **first.message}
    for name, border in (("content", _BORDER), ("reasoning_content", _BORDER)):
        texts = [turn.message[name] for turn in (first, second) if turn.message.get(name)]
        if texts:
            message[name] = border.join(texts)
    calls = [call for turn in (first, second) for call in turn.message.get("tool_calls", ())]
    if calls:
        message["tool_calls"] = calls
    return Turn(message, first.number, second.train if first.train is None else first.train, first.is_completion)


def check_orders(turns: Sequence[Turn]) -> None:
    """Raise `Problem` for the first turn that cannot be where it is, or that is empty."""
    for index, turn in enumerate(turns):
        before = turns[index - 1] if index else None
        if turn.role in SYSTEMS and before is not None:
            raise Problem(
                "a system message must be the first message, and there can be only one; join them into one message, "
                "or leave them out by `conversation_config: {system: drop}`",
                message=turn.number,
            )
        if turn.role == TOOL and (before is None or not _allows_result(before)):
            raise Problem(
                "a tool result must follow an assistant turn with a tool call, or another result, got one after "
                f"{'nothing' if before is None else f'a message of {before.role}'}; add the call, or leave the row out",
                message=turn.number,
            )
        if turn.role == ASSISTANT:
            _check_assistant(turn, before)


def _allows_result(before: Turn) -> bool:
    # Some models write their calls into the text, each family with tags, brackets or braces of its own.
    is_call = "tool_calls" in before.message or any(mark in before.message["content"] for mark in "<[{")
    return before.role == TOOL or (before.role == ASSISTANT and is_call)


def _check_assistant(turn: Turn, before: Turn | None) -> None:
    message = turn.message
    if before is not None and before.role == ASSISTANT:
        raise Problem(
            "an assistant turn must not follow an assistant turn; join them by `conversation_config: {consecutive: "
            "merge}`, or leave the row out",
            message=turn.number,
        )
    if is_blank(message["content"]) and "reasoning_content" not in message and "tool_calls" not in message:
        raise Problem(
            f"an assistant turn must have a text, reasoning or a tool call, got content {message['content'][:40]!r}; "
            "leave the turn or the row out",
            reason="empty_response",
            message=turn.number,
        )


def selected(roles: Sequence[str], turns: Literal["all", "last", "last_round"]) -> tuple[int, ...]:
    """The indices of the assistant turns that `loss_config.turns` selects."""
    assistants = [index for index, role in enumerate(roles) if role == ASSISTANT]
    if turns == "last":
        return tuple(assistants[-1:])
    if turns == "last_round" and assistants:
        # Messages after the last assistant turn are no part of a round: nothing answers them.
        before = [index for index, role in enumerate(roles[: assistants[-1]]) if role == USER]
        return tuple(index for index in assistants if not before or index > before[-1])
    return tuple(assistants)


class PlainOrder(NamedTuple):
    """The order of messages that have only a text each.

    Attributes:
        roles: Our roles.
        is_ours: Whether the row has the same roles.
        trained: The indices of the trained messages, at least one.
    """

    roles: tuple[str, ...]
    is_ours: bool
    trained: tuple[int, ...]


def plain_order(theirs: tuple[str, ...], rules: ConversationRules) -> PlainOrder | None:
    """The order of messages with the roles of a row; None if it breaks a rule, or if only a closer look can tell."""
    orders = rules.known_orders
    if theirs in orders:
        known: PlainOrder | None = orders[theirs]
        return known
    order = _plain_order(theirs, rules)
    if len(orders) < _MAX_ORDERS:
        orders[theirs] = order
    return order


_MAX_ORDERS = 4096


def _plain_order(theirs: tuple[str, ...], rules: ConversationRules) -> PlainOrder | None:
    roles = tuple(rules.known_roles.get(role, "") for role in theirs)
    if not {SYSTEM, USER, ASSISTANT}.issuperset(roles) or (SYSTEM in roles and rules.system == "drop"):
        return None
    try:
        check_orders([Turn({"role": role, "content": "x"}, number) for number, role in enumerate(roles)])
    except Problem:
        return None
    trained = selected(roles, rules.turns)
    return PlainOrder(roles, roles == theirs, trained) if trained else None
