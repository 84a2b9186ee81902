"""Conversations from the values of rows.

messages ────────────────────────────▶ turns ──▶ system, merging, order ──▶ trained turns ──▶ Conversation
input, response, contexts, history ──▶
prompt, completion ──────────────────▶

Messages with only a role and a text each, which most rows have, are used as they are after a few checks of whole lists.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

from samsum_stream.sources.rows.conversations.contents import REASONING_ENDS, split_reasoning
from samsum_stream.sources.rows.conversations.extras import Extras
from samsum_stream.sources.rows.conversations.messages import Turn, turns_of
from samsum_stream.sources.rows.conversations.orders import (
    SYSTEMS,
    check_orders,
    merged,
    plain_order,
    selected,
)
from samsum_stream.sources.rows.conversations.plain import NOT_UNICODE, as_list, as_text, is_unicode, parsed
from samsum_stream.sources.rows.conversations.problem import Problem
from samsum_stream.sources.rows.gather import typed_repr
from samsum_stream.sources.rows.rules import ASSISTANT, SYSTEM, USER, USUAL_RULES, ConversationRules
from samsum_stream.values.conversations import Conversation
from samsum_stream.values.rows import has_blank

_OURS = ("role", "content")


def plain_conversation(messages: Any, rules: ConversationRules) -> Conversation | None:
    """The conversation of messages with only a role and a text each; None if only a closer look can tell."""
    if type(messages) is not list or set(map(type, messages)) != {dict} or set(map(len, messages)) != {2}:
        return None
    names = next((names for names in rules.plain_names if names[0] in messages[0]), None)
    if names is None:
        return None
    try:
        theirs, contents = tuple(map(itemgetter(names[0]), messages)), [*map(itemgetter(names[1]), messages)]
        if set(map(type, theirs)) != {str} or set(map(type, contents)) != {str}:
            return None
    except KeyError:
        return None
    order, text = plain_order(theirs, rules), "".join(contents)
    if order is None or has_blank(contents) or not is_unicode(text):
        return None
    if "<" in text and any(end in text for end in REASONING_ENDS):
        return None
    if names != _OURS or not order.is_ours:
        messages = [{"role": role, "content": content} for role, content in zip(order.roles, contents, strict=True)]
    kept = order.trained[-1] + 1
    return Conversation(messages[:kept], trained=order.trained, num_removed=len(messages) - kept)


@dataclass(frozen=True)
class Builder:
    """Conversations from the values of one row; with `is_prompt`, what the model gets before it answers."""

    rules: ConversationRules
    is_prompt: bool = False

    def of_messages(self, messages: Any, extras: Extras | None) -> Conversation:
        """The conversation in a list of messages."""
        items = messages if type(messages) is list else as_list(messages, what="messages") or []
        if not self.is_prompt and (extras is None or not extras.system):
            plain = plain_conversation(items, self.rules) or plain_conversation(_without_nulls(items), self.rules)
            if plain is not None:
                return _with_extras(plain, extras)
        return self._of_turns(turns_of(items, self.rules), extras)

    def of_instruction(
        self, text: str, response: str, contexts: Sequence[str], history: Any, extras: Extras | None
    ) -> Conversation:
        """The conversation of an input and a response, after the questions and answers before them."""
        user = "\n\n".join([part for part in (text, *contexts) if part])
        pairs = [pair for question, answer in _history(history) for pair in ((USER, question), (ASSISTANT, answer))]
        answer = [] if self.is_prompt else [(ASSISTANT, response)]
        messages = [{"role": role, "content": text} for role, text in (*pairs, (USER, user), *answer)]
        return self._of_turns(turns_of(messages, USUAL_RULES, field="history"), extras)

    def of_completion(self, prompt: Any, completion: Any, extras: Extras | None) -> Conversation:
        """The conversation of the messages of a prompt and of its completion, which alone is trained."""
        if self.is_prompt:
            return self._of_prompt(_chat_part(prompt, "prompt", self.rules), extras)
        first, second = (
            _chat_part(part, field, self.rules) for part, field in ((prompt, "prompt"), (completion, "completion"))
        )
        turns = turns_of(first, self.rules, field="prompt")
        answer = turns_of(second, self.rules, field="completion", is_completion=True, num_before=len(first))
        prefill = _prefill(turns, answer)
        if prefill:
            turns.pop()
            answer[0] = _with_prefill(answer[0], prefill)
        return self._of_turns([*turns, *answer], extras, prefill=prefill, is_completion=True)

    def _of_prompt(self, messages: list[Any], extras: Extras | None) -> Conversation:
        turns = turns_of(messages, self.rules, field="prompt")
        turns = self._ordered(turns, extras)
        prefill = _start_of_turn(turns)
        if turns and turns[-1].role == ASSISTANT and not prefill:
            problem = "an assistant turn at the end of a prompt must have only a text; leave it out"
            raise Problem(problem, field="prompt", message=turns[-1].number)
        return _conversation(turns, extras, trained=(), num_removed=0, prefill=prefill)

    def _of_turns(
        self, turns: list[Turn], extras: Extras | None, *, prefill: str = "", is_completion: bool = False
    ) -> Conversation:
        if self.is_prompt and turns and turns[-1].role == ASSISTANT:
            last = turns.pop()
            while self.rules.consecutive == "merge" and turns and turns[-1].role == last.role:
                turns.pop()
        turns = self._ordered(turns, extras)
        if self.is_prompt:
            return _conversation(turns, extras, trained=(), num_removed=0)
        trained = _trained(turns, self.rules, is_completion=is_completion)
        kept = trained[-1] + 1
        if prefill:
            prefill = _checked_prefill(prefill, turns, trained)
        return _conversation(turns[:kept], extras, trained=trained, num_removed=len(turns) - kept, prefill=prefill)

    def _ordered(self, turns: list[Turn], extras: Extras | None) -> list[Turn]:
        """The turns as the template gets them; raises `Problem` for an order that no template can express."""
        turns = _with_system(turns, extras.system if extras else "")
        if self.rules.system == "drop":
            turns = [turn for turn in turns if turn.role not in SYSTEMS]
        if self.rules.consecutive == "merge":
            turns = merged(turns)
        check_orders(turns)
        _check_unicode(turns)
        return turns


def _without_nulls(messages: list[Any]) -> list[Any] | None:
    """The messages without the nulls that Arrow adds; None if one is no dict."""
    if set(map(type, messages)) != {dict}:
        return None
    return [{name: value for name, value in message.items() if value is not None} for message in messages]


def _conversation(
    turns: Sequence[Turn], extras: Extras | None, *, trained: tuple[int, ...], num_removed: int, prefill: str = ""
) -> Conversation:
    messages = [turn.message for turn in turns]
    return _with_extras(Conversation(messages, trained=trained, prefill=prefill, num_removed=num_removed), extras)


def _with_extras(conversation: Conversation, extras: Extras | None) -> Conversation:
    if extras is None or not (extras.tools or extras.documents or extras.kwargs):
        return conversation
    return replace(conversation, tools=extras.tools, documents=extras.documents, kwargs=extras.kwargs)


def _with_system(turns: list[Turn], system: str) -> list[Turn]:
    """The turns with the system message of the column `system`."""
    if not system:
        return turns
    if not turns or turns[0].role not in SYSTEMS:
        return [Turn({"role": SYSTEM, "content": system}, 0), *turns]
    if turns[0].message["content"] != system:
        raise Problem(
            f"the system message must be the same in the column and in the messages, got {system[:80]!r} and "
            f"{turns[0].message['content'][:80]!r}; keep one of them",
            field="system",
        )
    return turns


def _trained(turns: Sequence[Turn], rules: ConversationRules, *, is_completion: bool) -> tuple[int, ...]:
    chosen = selected([turn.role for turn in turns], rules.turns)
    if not chosen:
        raise Problem("a conversation must have an assistant turn, got none; leave the row out, or check the roles")
    trained = [index for index in chosen if turns[index].train is not False]
    if is_completion:
        trained = [index for index in trained if turns[index].is_completion]
    if not trained:
        where = "the completion" if is_completion else "the row"
        raise Problem(
            f"a conversation must have a turn to train, but {where} has none: `loss_config.turns` selects "
            f"{len(chosen)} of {len(turns)} messages, and the row marks them as not trained; leave the row out",
            reason="no_trained_turn",
        )
    return tuple(trained)


def _check_unicode(turns: Sequence[Turn]) -> None:
    if is_unicode([turn.message for turn in turns]):
        return
    number = next(turn.number for turn in turns if not is_unicode(turn.message))
    raise Problem(NOT_UNICODE, reason="not_unicode", message=number)


def _history(value: Any) -> list[tuple[str, str]]:
    pairs = as_list(value, what="history", field="history") or []
    return [_pair(pair) for pair in pairs]


def _pair(value: Any) -> tuple[str, str]:
    is_text = isinstance(value, str) and not value.lstrip().startswith("[")
    pair = [] if is_text else as_list(value, what="an entry of history", field="history") or []
    if len(pair) != 2 or not all(isinstance(text, str) for text in pair):
        problem = f"an entry of history must be a question and an answer, two texts, got {typed_repr(value)}"
        remedy = "write the history as [[question, answer], ...]"
        raise Problem(f"{problem}; {remedy}", reason="wrong_type", field="history")
    return as_text(pair[0], what="a question"), as_text(pair[1], what="an answer")


def is_chat(prompt: Any, completion: Any, rules: ConversationRules) -> bool | None:
    """Whether a prompt and a completion are messages, or texts; None if they are not of one kind."""
    if all(as_messages(part, rules) is not None for part in (prompt, completion)):
        return True
    return False if isinstance(prompt, str) and isinstance(completion, str) else None


def as_messages(value: Any, rules: ConversationRules) -> list[Any] | None:
    """The messages in a list, or in the JSON text of a list of mappings with a role; None for any other value."""
    if value is None or isinstance(value, dict):
        return None
    if not isinstance(value, str):
        try:
            return as_list(value, what="messages")
        except Problem:
            return None
    if not value.lstrip().startswith(("[", '"')):
        return None
    try:
        messages = parsed(value, what="messages")
    except Problem:
        return None
    names = set(rules.names["role"])
    is_list = isinstance(messages, list) and bool(messages)
    return messages if is_list and all(isinstance(item, dict) and names & item.keys() for item in messages) else None


def _chat_part(value: Any, field: str, rules: ConversationRules) -> list[Any]:
    messages = as_messages(value, rules)
    if messages is None:
        raise Problem(
            f"it must be a list of messages, as in the first row of the source, got {typed_repr(value)}; write texts "
            "as messages, or leave the row out",
            reason="wrong_type",
            field=field,
        )
    return messages


def _prefill(prompt: Sequence[Turn], completion: Sequence[Turn]) -> str:
    """The text of an assistant turn that starts in the prompt and ends in the completion; empty without one."""
    if not prompt or not completion or not prompt[-1].role == completion[0].role == ASSISTANT:
        return ""
    return _start_of_turn(prompt)


def _start_of_turn(turns: Sequence[Turn]) -> str:
    """The text of an assistant turn at the end that has only a text; empty without one."""
    if not turns or turns[-1].role != ASSISTANT or not turns[-1].message.keys() <= {"role", "content", "name"}:
        return ""
    text: str = turns[-1].message["content"]
    return text


def _checked_prefill(prefill: str, turns: Sequence[Turn], trained: tuple[int, ...]) -> str:
    """The prefill, or an empty text if its turn is not trained; raises `Problem` if other trained turns follow."""
    first = next(index for index, turn in enumerate(turns) if turn.is_completion)
    if first in trained and len(trained) > 1:
        raise Problem(
            "a completion that continues an assistant turn of the prompt must end with this turn, got more turns to "
            "train; leave out the assistant turn at the end of the prompt, or set `loss_config: {turns: last}`",
            field="completion",
        )
    return prefill if first in trained else ""


def _with_prefill(turn: Turn, prefill: str) -> Turn:
    text = prefill + turn.message["content"]
    if "reasoning_content" in turn.message or split_reasoning(text)[0]:
        raise Problem(
            "an assistant turn that starts in the prompt must have no reasoning, because reasoning comes before the "
            "text of a turn; leave out the assistant turn at the end of the prompt",
            field="completion",
        )
    return replace(turn, message={**turn.message, "content": text})
