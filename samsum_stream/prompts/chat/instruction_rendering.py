"""Rows with an input and a response, or with a prompt and a completion, to renderings with a chat template."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from samsum_stream.prompts.chat.instructions import InstructionWriter, completion_of
from samsum_stream.prompts.chat.rendering import ChatRenderer
from samsum_stream.prompts.rendering import Renderer, message_of
from samsum_stream.values.conversations import Conversation
from samsum_stream.values.renderings import Renderings, Segment
from samsum_stream.values.rows import Completions, Conversations, Rows


class InstructionChatRenderer(Renderer):
    """Renders each row as a conversation.

    Args:
        chat: Renders conversations.
        writer: Writes rows as conversations.
    """

    def __init__(self, chat: ChatRenderer, writer: InstructionWriter) -> None:
        self._chat, self._writer = chat, writer

    def render(self, rows: Rows) -> Renderings:
        return self._chat.render(_as_conversations(rows, self._conversation))

    def prompt_segments(self, rows: Rows, index: int) -> Sequence[Segment]:
        return self._chat.prompt_segments(_as_conversations(rows, self._prompt), index)

    def rendered_prompt(self, rows: Rows, index: int) -> Renderings:
        return self._chat.rendered_prompt(_as_conversations(rows, self._prompt), index)

    def full_text(self, rows: Rows, index: int) -> str:
        return self._chat.full_text(_as_conversations(rows, self._conversation), index)

    def _conversation(self, rows: Rows, index: int) -> Conversation:
        message = message_of(rows, index)
        if isinstance(rows.content, Completions):
            return completion_of(message.input, message.response or "")
        return self._writer.conversation(message)

    def _prompt(self, rows: Rows, index: int) -> Conversation:
        """The conversation up to the answer; with the answer, if the answer starts with a text of the prompt."""
        conversation = self._conversation(rows, index)
        if conversation.prefill:
            return conversation
        return replace(conversation, messages=conversation.messages[:-1], trained=())


def _as_conversations(rows: Rows, conversation: Callable[[Rows, int], Conversation]) -> Rows:
    return replace(rows, content=Conversations([conversation(rows, index) for index in range(len(rows))]))
