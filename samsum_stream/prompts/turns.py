"""The turns of a conversation: the templates of a prompt inside the roles of a format."""

from collections.abc import Sequence
from dataclasses import dataclass

from samsum_stream.prompts.formats import PromptFormat
from samsum_stream.prompts.message import Message
from samsum_stream.prompts.segments import Pieces, fixed, join, trained
from samsum_stream.prompts.template import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnWriter:
    """Writes messages as turns.

    Attributes:
        format: The format.
        input: The template of the input.
        context: The template of each context.
        response: The template of the response.
    """

    format: PromptFormat
    input: Template
    context: Template
    response: Template

    def conversation(self, messages: Sequence[Message], *, system: Pieces) -> Pieces:
        """All turns; the first one contains the system message."""
        first, *others = messages
        turns = [self.turn(first, system=system), *(self.turn(message, system=[]) for message in others)]
        return join(turns, self.format.role_separator)

    def turn(self, message: Message, *, system: Pieces) -> Pieces:
        """One turn; the response is trained, without its prefix and the head of its template."""
        request, head = self.request(message, system=system), self._head(message.response)
        return [*join([request, head], self.format.role_separator), *trained(self._completion(message.response))]

    def request(self, message: Message, *, system: Pieces) -> Pieces:
        """A turn without the response, its prefix and its template."""
        filled = self.input.fill(message.input)
        return self.format.request(system=system, contexts=self._contexts(message.contexts), input=filled)

    def _contexts(self, contexts: Sequence[str]) -> Pieces:
        if not contexts:
            return []
        texts = [self.context.numbered(index).fill(text) for index, text in enumerate(contexts)]
        return self.format.contexts.wrap(join(texts, self.format.content_separator))

    def _head(self, response: str | None) -> Pieces:
        """The pieces before the response: `[prefix, head]`."""
        if response is None:
            return self.format.response.begin([fixed(self.response.head)])
        return self._response(response)[:2]

    def _completion(self, response: str | None) -> Pieces:
        """The pieces `[response, tail, suffix, EOS]`; none if the model generates the response."""
        return [] if response is None else self._response(response)[2:]

    def _response(self, response: str) -> Pieces:
        """The pieces `[prefix, head, response, tail, suffix, EOS]`."""
        return [*self.format.response.wrap(self.response.fill(response)), fixed(self.format.EOS)]
