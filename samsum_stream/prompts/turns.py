"""One turn after the other: the templates of a prompt inside the roles of a format."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from samsum_stream.prompts.formats import PromptFormat
from samsum_stream.prompts.message import Message
from samsum_stream.prompts.segments import Pieces, fixed, join
from samsum_stream.prompts.template import Template


class Turn(NamedTuple):
    """A turn, cut before the first word of its response; nothing is `answered` where the model is to answer."""

    asked: Pieces
    answered: Pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnWriter:
    """Writes messages down; what stands before the first turn is not its concern."""

    format: PromptFormat
    input: Template
    context: Template
    response: Template

    def conversation(self, messages: Sequence[Message], *, system: Pieces) -> Pieces:
        """All turns; the first one carries the system text."""
        first, *others = messages
        turns = [self.turn(first, system=system), *(self.turn(message, system=[]) for message in others)]
        return join([turn.asked + turn.answered for turn in turns], self.format.role_separator)

    def turn(self, message: Message, *, system: Pieces) -> Turn:
        """One turn, its last piece before the cut the head of the response template."""
        request = self.request(message, system=system)
        response = self._response(message.response)
        return Turn(join([request, response[:2]], self.format.role_separator), response[2:])

    def request(self, message: Message, *, system: Pieces) -> Pieces:
        """A turn without anything of the response."""
        words = self.input.fill(message.input)
        return self.format.request(system=system, contexts=self._contexts(message.contexts), input=words)

    def _contexts(self, contexts: Sequence[str]) -> Pieces:
        if not contexts:
            return []
        texts = [self.context.numbered(index).fill(text) for index, text in enumerate(contexts)]
        return self.format.contexts.wrap(join(texts, self.format.content_separator))

    def _response(self, words: str | None) -> Pieces:
        """The pieces `[prefix, head, words, tail, suffix, EOS]`, or the first two of them."""
        if words is None:
            return self.format.response.begin([fixed(self.response.head)])
        return [*self.format.response.wrap(self.response.fill(words)), fixed(self.format.EOS)]
