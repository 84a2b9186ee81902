"""A prompt: the texts of a task around a row, written in a format.

    system · examples │ contexts · input · response prefix and template ║ response · suffix · EOS
    once per prompt   │ once per row                                    ║ border

One `TurnWriter` writes all texts. The methods of a prompt choose the turns.
"""

# ruff: noqa: RUF009  (formats are frozen, so they can be defaults)

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from samsum_stream.prompts.checks import check_type
from samsum_stream.prompts.formats import PromptFormat, as_format
from samsum_stream.prompts.message import Message, as_example
from samsum_stream.prompts.segments import (
    Pieces,
    fixed,
    from_row,
    merge,
    settle_borders,
    strip,
    strip_spaces,
    strip_start,
    text_of,
)
from samsum_stream.prompts.template import Template, parse_template
from samsum_stream.prompts.turns import TurnWriter
from samsum_stream.values.renderings import Segment

_TEXTS = ("system_message", "text_key", "input_template", "context_template", "response_template")


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """The texts around a row.

    Args:
        system_message: The text before the first turn; no system role is written if it is empty.
        examples: The few-shot examples before each row: messages, or dicts of their fields.
        format: The format; None is the plain format.
        text_key: Another name for the placeholder `{text}` of the templates.
        input_template: The template of the input. The text of the row replaces the placeholder.
        context_template: The template of each context. The number of the context, from 0, replaces `{index}`.
        response_template: The template of the response.

    Raises:
        ConfigError: an argument has a wrong type, or a template has no placeholder.
    """

    system_message: str = ""
    examples: Sequence[Message] = ()
    format: PromptFormat = PromptFormat()
    text_key: str = "text"
    input_template: str = "{text}"
    context_template: str = "{text}"
    response_template: str = "{text}"

    def __post_init__(self) -> None:
        name = type(self).__name__
        for field in _TEXTS:
            check_type(f"{name}.{field}", getattr(self, field), str)
        check_type(f"{name}.examples", self.examples, Sequence)
        examples = (as_example(value, where=f"{name}.examples[{i}]") for i, value in enumerate(self.examples))
        object.__setattr__(self, "examples", tuple(examples))
        object.__setattr__(self, "format", as_format(self.format, where=f"{name}.format"))
        _ = self._writer  # a template without its placeholder is an error of the prompt, not of its first row

    def segments(self, message: Message) -> tuple[Segment, ...]:
        """The training text of one row; only the completion is trained. The joined texts are `render([message])`.

        If `message.response` is None, the segments are those of the prompt, without a completion.
        """
        pieces = self.turn(message, is_first=True)
        if message.response is None:  # the model generates the spaces at the end of the prompt
            return merge(strip_spaces(strip_start(pieces)))
        return settle_borders(strip(pieces))

    def turn(self, message: Message, *, is_first: bool, system: str | None = None) -> Pieces:
        """One turn of a conversation, with all that comes before it; only the response is trained.

        Args:
            message: The texts of the turn.
            is_first: Whether the system message and the few-shot examples come before the turn, and not another turn.
            system: A text of the row in the place of `system_message`, for the first turn; None keeps `system_message`.
        """
        if not is_first:
            return [fixed(self.format.role_separator), *self._writer.turn(message, system=[])]
        if system is None:
            return [*self._few_shot, *self._writer.turn(message, system=self._opening_system)]
        own = self.format.system.wrap([from_row(system)]) if system else []
        if not self.examples:
            return self._writer.turn(message, system=own)
        return [*self._examples_after(own), *self.turn(message, is_first=False)]

    def render(self, messages: Sequence[Message]) -> str:
        """The text of a whole conversation; without messages, the system message and the few-shot examples."""
        if not messages:
            return text_of(self._examples or self.format.system_only(self._system))
        turns = self._writer.conversation(messages, system=self._opening_system)
        return text_of([*self._few_shot, *turns]).strip()

    def render_instruction(self, input: str, contexts: Sequence[str] = (), *, with_response_prefix: bool = True) -> str:
        """The text of a turn without its response and without few-shot examples.

        Args:
            input: The input.
            contexts: The contexts.
            with_response_prefix: Whether the text ends with the prefix of the response.
        """
        message = Message(input, contexts=contexts)
        if not with_response_prefix:
            return text_of(self._writer.request(message, system=self._system))
        *pieces, head = self._writer.turn(message, system=self._system)
        return text_of(pieces) + head.text.rstrip()

    def request_text(self, input: str, contexts: Sequence[str] = ()) -> str:
        """The contexts and the input in their templates, a line each, without the format."""
        filled = [self._writer.context.numbered(index).fill(text) for index, text in enumerate(contexts)]
        return "\n".join(map(text_of, [*filled, self._writer.input.fill(input)]))

    def response_texts(self, response: str) -> tuple[str, str]:
        """The response in its template, without the format: the text before the response, and the rest."""
        head, *rest = self._writer.response.fill(response)
        return head.text, text_of(rest)

    @property
    def stop_strings(self) -> list[str]:
        """The stop strings of the format."""
        return self.format.stop_strings

    @property
    def has_border(self) -> bool:
        """Whether a visible text of the prompt or the format marks the start of the response.

        The role separator does not count, because it is the same between all roles.
        """
        before = (self._writer.input.tail, self.format.input.suffix)
        after = (self.format.response.prefix, self._writer.response.head)
        return any(text.strip() for text in before + after)

    @cached_property
    def _writer(self) -> TurnWriter:
        input, context, response = map(self._template, ("input_template", "context_template", "response_template"))
        return TurnWriter(format=self.format, input=input, context=context, response=response)

    def _template(self, field: str) -> Template:
        return parse_template(getattr(self, field), text_key=self.text_key, where=f"{type(self).__name__}.{field}")

    @cached_property
    def _system(self) -> Pieces:
        """The system message in its role; empty if there is none."""
        return self.format.system.wrap([fixed(self.system_message)]) if self.system_message else []

    @cached_property
    def _examples(self) -> Pieces:
        """The system message and all few-shot turns, in the role of examples, as one piece; empty if there are none."""
        return self._examples_after(self._system) if self.examples else []

    @cached_property
    def _few_shot(self) -> Pieces:
        """The few-shot examples, with the separator before the first turn."""
        return [*self._examples, fixed(self.format.role_separator)] if self._examples else []

    @cached_property
    def _opening_system(self) -> Pieces:
        """The system message of the first turn after the few-shot examples; empty if the examples contain it."""
        return [] if self.examples else self._system

    def _examples_after(self, system: Pieces) -> Pieces:
        """A system message and all few-shot turns, in the role of examples; only a system message can be of the row."""
        pieces = self.format.examples.wrap(self._writer.conversation(self.examples, system=system))
        is_of_row = any(piece.from_row for piece in system)
        # The system message is the first text that no role and no template writes.
        end = next(index for index, piece in enumerate(pieces, 1) if piece.from_row) if is_of_row else 0
        return [*pieces[:end], fixed(text_of(pieces[end:]))]
