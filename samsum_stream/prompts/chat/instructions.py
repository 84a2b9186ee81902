"""Rows with an input and a response as conversations, for chat templates.

system message of the prompt, its few-shot examples     system, then user and assistant messages
contexts                                                documents, if the template reads them; else in the user message
input, response                                         a user message, an assistant message

The text of the response template before the response is a prefill: it belongs to the prompt.
"""

from collections.abc import Sequence
from dataclasses import replace

from samsum_stream.prompts.message import Message as InstructionMessage
from samsum_stream.prompts.prompt import Prompt
from samsum_stream.values.conversations import ASSISTANT, Conversation, Message


class InstructionWriter:
    """Writes rows as conversations.

    Args:
        prompt: The texts around a row; its format is not used.
        has_documents: Whether the template reads documents.
    """

    def __init__(self, prompt: Prompt, *, has_documents: bool) -> None:
        self._prompt, self._has_documents = prompt, has_documents
        system = [_message("system", prompt.system_message)] if prompt.system_message else []
        shots = [message for example in prompt.examples for message in self._turn(example)]
        self._start: list[Message] = [*system, *shots]

    def conversation(self, message: InstructionMessage) -> Conversation:
        """The conversation of a row; it ends with the user message if the row has no response."""
        messages = [*self._start, *self._turn(message)]
        contexts = message.contexts if self._has_documents else ()
        has_response = message.response is not None
        return Conversation(
            messages,
            documents=[{"title": "", "text": text} for text in contexts] or None,
            trained=[len(messages) - 1] if has_response else [],
            prefill=self._prompt.response_texts(message)[0] if has_response else "",
        )

    def _turn(self, message: InstructionMessage) -> list[Message]:
        request = replace(message, contexts=()) if self._has_documents else message
        turn = [_message("user", self._prompt.request_text(request))]
        if message.response is not None:
            turn.append(_message(ASSISTANT, "".join(self._prompt.response_texts(message))))
        return turn


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def completion_of(prompt: str, completion: str) -> Conversation:
    """A prompt and a completion as a user message and an assistant message."""
    messages: Sequence[Message] = [_message("user", prompt), _message(ASSISTANT, completion)]
    return Conversation(messages, trained=[1])
