"""A conversation as turns of a format: a system message if there is one, then user and assistant messages in turn.

messages   system: Be brief. │ user: Hi    assistant: Hello │ user: Bye    assistant: Bye
turns                        │ Message("Hi", "Hello")       │ Message("Bye", "Bye")
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from samsum_stream.errors.wording import quoted, shown
from samsum_stream.prompts.message import Message
from samsum_stream.values import conversations
from samsum_stream.values.conversations import ASSISTANT, Conversation
from samsum_stream.values.renderings import Problem
from samsum_stream.values.rows import is_blank

SYSTEM, USER = "system", "user"
_REMEDY = "use a chat template (prompt_format_config: {method: ChatTemplate})"


class Exchange(NamedTuple):
    """A user message with its answer.

    Attributes:
        message: Both texts; the response is None if the model generates it.
        is_trained: Whether the answer is trained.
    """

    message: Message
    is_trained: bool


class Exchanges(NamedTuple):
    """A conversation that a format can write.

    Attributes:
        system: The system message; None if the conversation has none.
        turns: The turns, at least one.
        prefill: The start of the last response that belongs to its prompt; empty if there is none.
    """

    system: str | None
    turns: Sequence[Exchange]
    prefill: str

    def only(self, trained: Sequence[int]) -> "Exchanges":
        """The conversation with other trained turns, up to the last one of them; all turns if none is trained."""
        turns = [turn._replace(is_trained=number in trained) for number, turn in enumerate(self.turns)]
        end = trained[-1] + 1 if trained else len(turns)
        return self._replace(turns=turns[:end], prefill=self.prefill if end == len(turns) else "")


def exchanges_of(conversation: Conversation, *, last: str) -> Exchanges | Problem:
    """The turns of a conversation, or why a format cannot write it.

    Args:
        conversation: The conversation.
        last: The role that the last message must have: the user or the assistant.
    """
    problem = next(_problems(conversation, last), None)
    if problem is not None:
        return problem
    messages, start = conversation.messages, _num_system(conversation.messages)
    texts = [message["content"] for message in messages[start:]]
    trained = [index in conversation.trained_turns for index in range(start + 1, len(messages) + 1, 2)]
    pairs = zip(texts[::2], [*texts[1::2], None], strict=False)
    turns = [Exchange(Message(*pair), is_trained) for pair, is_trained in zip(pairs, trained, strict=True)]
    return Exchanges(messages[0]["content"] if start else None, turns, conversation.prefill)


def _num_system(messages: Sequence[conversations.Message]) -> int:
    """The number of system messages at the start: 0 or 1."""
    return int(bool(messages) and messages[0]["role"] == SYSTEM)


def _problems(conversation: Conversation, last: str) -> Iterator[Problem]:
    """What a format cannot write, in the order of the messages."""
    messages = conversation.messages
    for name in ("tools", "documents"):
        if getattr(conversation, name):
            yield _problem(f"the row has {name}, which a prompt format cannot write", field=name)
    start = _num_system(messages)
    for index, message in enumerate(messages):
        role = (USER, ASSISTANT)[(index - start) % 2] if index >= start else SYSTEM
        yield from map(_problem, _faults(message, f"messages[{index}]", role=role))
    if len(messages) == start:
        yield _problem("the row has no user message, and a prompt format needs one")
    elif messages[-1]["role"] != last:
        role = messages[-1]["role"]
        yield _problem(f"the last message has the role {quoted(role)}, and a prompt format needs one of the {last}")


def _faults(message: conversations.Message, place: str, *, role: str) -> Iterator[str]:
    """What a format cannot write of a message.

    Args:
        message: The message.
        place: The place of the message.
        role: The role that it must have.
    """
    content: Any = message.get("content")
    if message["role"] != role:
        yield f"{place} has the role {quoted(message['role'])}, and a prompt format needs the role {quoted(role)} there"
    if message.get("tool_calls"):
        yield f"{place} has tool_calls, which a prompt format cannot write"
    if conversations.reasoning_of(message):
        yield f"{place} has reasoning, which a prompt format cannot write"
    if not isinstance(content, str):
        yield f"{place}.content is {shown(content)}, and a prompt format needs text"
    elif role == ASSISTANT and is_blank(content):
        yield f"{place}.content is {quoted(content)}, and a prompt format needs a response that is not blank"


def _problem(text: str, *, field: str = "messages") -> Problem:
    return Problem(field, "bad_conversation", f"{text}; {_REMEDY}")
