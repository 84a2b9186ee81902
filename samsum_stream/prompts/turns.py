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
        request, head = self.request(message, system=system), self._head(message)
        return [*join([request, head], self.format.role_separator), *trained(self._completion(message))]

    def request(self, message: Message, *, system: Pieces) -> Pieces:
        """A turn without the response, its prefix and its template."""
        filled = self.filled_input(message)
        return self.format.request(system=system, contexts=self._contexts(message), input=filled)

    def filled_input(self, message: Message) -> Pieces:
        """The input in its template."""
        return self.input.fill(message.input, message.columns)

    def filled_contexts(self, message: Message) -> list[Pieces]:
        """Each context in its template."""
        numbered = [(self.context.numbered(index), text) for index, text in enumerate(message.contexts)]
        return [template.fill(text, message.columns) for template, text in numbered]

    def words(self, message: Message) -> list[str]:
        """The texts of a message in the order in which they are written: contexts, input, response."""
        filled = [*self.filled_contexts(message), self.filled_input(message)]
        if message.response is not None:
            filled.append(self.response.fill(message.response, message.columns))
        return [piece.text for pieces in filled for piece in pieces if piece.from_row]

    def _contexts(self, message: Message) -> Pieces:
        filled = self.filled_contexts(message)
        return self.format.contexts.wrap(join(filled, self.format.content_separator)) if filled else []

    def _head(self, message: Message) -> Pieces:
        """The pieces before the response: `[prefix, head]`."""
        if message.response is None:
            return self.format.response.begin([fixed(self.response.head)])
        return self._response(message)[:2]

    def _completion(self, message: Message) -> Pieces:
        """The pieces from the response on, then `[suffix, EOS]`; none if the model generates the response."""
        return [] if message.response is None else self._response(message)[2:]

    def _response(self, message: Message) -> Pieces:
        """The pieces `[prefix, head, ..., tail, suffix, EOS]`."""
        filled = self.response.fill(message.response or "", message.columns)
        return [*self.format.response.wrap(filled), fixed(self.format.EOS)]
