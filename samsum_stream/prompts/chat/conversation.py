"""A conversation: messages, and what a chat template gets beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

ASSISTANT = "assistant"

Message = Mapping[str, Any]
"""A message as transformers defines it: `role`, `content`, and possibly `tool_calls` or `reasoning_content`."""


REASONING = ("reasoning_content", "reasoning", "thinking")
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
    """

    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]] | None = None
    documents: Sequence[Mapping[str, Any]] | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def assistant_turns(self) -> list[int]:
        """The indices of the assistant messages."""
        return [index for index, message in enumerate(self.messages) if message["role"] == ASSISTANT]

    def first(self, num_messages: int) -> "Conversation":
        """The conversation up to a message."""
        return self.with_messages(self.messages[:num_messages])

    def with_messages(self, messages: Sequence[Message]) -> "Conversation":
        """The conversation with other messages."""
        return replace(self, messages=messages)

    def with_kwargs(self, **kwargs: Any) -> "Conversation":
        """The conversation with some variables of the template replaced."""
        return replace(self, kwargs={**self.kwargs, **kwargs})
