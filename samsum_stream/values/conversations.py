"""A conversation: messages, and what a chat template gets beside them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

ASSISTANT = "assistant"

Message = Mapping[str, Any]
"""A message as transformers defines it: `role`, `content`, and possibly `tool_calls` or `reasoning_content`."""

REASONING = ("reasoning_content", "thinking", "reasoning")
"""The names of the field with the reasoning of a message, in the order of `apply_chat_template`."""


def reasoning_of(message: Message) -> str | None:
    """The reasoning of a message; None if it has none."""
    return next((message[name] for name in REASONING if message.get(name) is not None), None)


@dataclass(frozen=True)
class Conversation:
    """A conversation.

    Attributes:
        messages: The messages.
        tools: The JSON schemas of the tools; None if there are no tools.
        documents: The documents; None if there are no documents.
        kwargs: The other variables of the template.
        trained: The indices of the assistant messages that are trained, ascending; None trains all of them.
        prefill: The start of the last message that belongs to its prompt; empty if the model writes the whole message.
        num_removed: The number of messages of the row after the last trained turn, which are not in `messages`.
    """

    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]] | None = None
    documents: Sequence[Mapping[str, Any]] | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    trained: Sequence[int] | None = None
    prefill: str = ""
    num_removed: int = 0

    @property
    def assistant_turns(self) -> Sequence[int]:
        """The indices of the assistant messages."""
        return [index for index, message in enumerate(self.messages) if message["role"] == ASSISTANT]

    @property
    def trained_turns(self) -> Sequence[int]:
        """The indices of the assistant messages that are trained."""
        return self.assistant_turns if self.trained is None else self.trained

    @property
    def texts(self) -> Iterator[str]:
        """All texts of the messages, in their order, and those of tools and documents."""
        for value in (self.messages, self.tools, self.documents):
            yield from texts_in(value)

    def first(self, num_messages: int) -> "Conversation":
        """The conversation up to a message."""
        return self.with_messages(self.messages[:num_messages])

    def with_messages(self, messages: Sequence[Message]) -> "Conversation":
        """The conversation with other messages."""
        return replace(self, messages=messages)

    def with_kwargs(self, **kwargs: Any) -> "Conversation":
        """The conversation with some variables of the template replaced."""
        return replace(self, kwargs={**self.kwargs, **kwargs})


def texts_in(value: Any) -> Iterator[str]:
    """All texts in a value of lists and dicts, the keys of dicts included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts_in(key)
            yield from texts_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts_in(item)


def common_prefix_length(one: str, other: str) -> int:
    """The number of equal characters at the start of two texts."""
    differing = (index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differing, min(len(one), len(other)))
