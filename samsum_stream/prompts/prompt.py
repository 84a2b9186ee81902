"""A prompt: the texts of a task around a row, written in a format.

    system · examples │ contexts · input · response prefix and template ║ response · suffix · EOS
    once per prompt   │ once per row                                    ║ border

One `TurnWriter` writes all texts. The methods of a prompt choose the turns.
"""

# ruff: noqa: RUF009  (formats are frozen, so they can be defaults)

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from samsum_stream.errors import ConfigError
from samsum_stream.prompts.checks import check_type
from samsum_stream.prompts.formats import ROLES, PromptFormat, as_format
from samsum_stream.prompts.message import Message, as_example
from samsum_stream.prompts.segments import (
    Pieces,
    fixed,
    from_row,
    merge,
    settle_borders,
    strip_end,
    strip_spaces,
    strip_start,
    text_of,
)
from samsum_stream.prompts.template import FIELD, Template, loose_braces, parse_template
from samsum_stream.prompts.turns import TurnWriter
from samsum_stream.values.renderings import Segment

_TEMPLATES = ("input_template", "context_template", "response_template")


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """The texts around a row.

    Args:
        system_message: The text before the first turn; no system role is written if it is empty.
        examples: The few-shot examples before each row: messages, or dicts of their fields.
        format: The format; None is the plain format.
        text_key: Another name for the placeholder `{text}` of the templates.
        input_template: The template of the input. The input replaces `{text}`, and columns of the row replace their
            names in braces. Without `{text}`, the row needs no input. A literal brace is doubled.
        context_template: The template of each context. The number of the context, from 0, replaces `{index}`.
        response_template: The template of the response. The model writes everything from the first placeholder on.
        strip: Whether white space is stripped at both ends of what each role says, and of the whole text. If not, only
            white space that the format itself writes there is stripped.

    Raises:
        ConfigError: an argument has a wrong type, a template has no placeholder, or an example lacks a column.
    """

    system_message: str = ""
    examples: Sequence[Message] = ()
    format: PromptFormat = PromptFormat()
    text_key: str = "text"
    input_template: str = "{text}"
    context_template: str = "{text}"
    response_template: str = "{text}"
    strip: bool = True

    def __post_init__(self) -> None:
        name = type(self).__name__
        for field in ("system_message", "text_key", *_TEMPLATES):
            check_type(f"{name}.{field}", getattr(self, field), str)
        check_type(f"{name}.strip", self.strip, bool)
        check_type(f"{name}.examples", self.examples, Sequence)
        examples = (as_example(value, where=f"{name}.examples[{i}]") for i, value in enumerate(self.examples))
        object.__setattr__(self, "examples", tuple(examples))
        object.__setattr__(self, "format", as_format(self.format, where=f"{name}.format"))
        _ = self._writer, self._few_shot  # a bad template or example is an error of the prompt, not of its first row

    def segments(self, message: Message) -> tuple[Segment, ...]:
        """The training text of one row; only the completion is trained. The joined texts are `render([message])`.

        If `message.response` is None, the segments are those of the prompt, without a completion.
        """
        pieces = self.turn(message, is_first=True)
        if message.response is None:  # the model generates the spaces at the end of the prompt
            return merge(strip_spaces(self.without_start(pieces)))
        return settle_borders(self.without_end(self.without_start(pieces)))

    def without_start(self, pieces: Pieces) -> Pieces:
        """The pieces of a first turn without the white space at their start; see `strip`."""
        if self.strip:
            return strip_start(pieces)
        return [*strip_start(pieces[:2]), *pieces[2:]]  # the format writes the BOS and a prefix

    def without_end(self, pieces: Pieces) -> Pieces:
        """The pieces of a turn without the white space at their end; see `strip`."""
        if self.strip:
            return strip_end(pieces, str.rstrip)
        return [*pieces[:-2], *strip_end(pieces[-2:], str.rstrip)]  # the format writes a suffix and the EOS

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
        own = self._format.system.wrap([from_row(system)]) if system else []
        if not self.examples:
            return self._writer.turn(message, system=own)
        return [*self._examples_after(own), *self.turn(message, is_first=False)]

    def render(self, messages: Sequence[Message]) -> str:
        """The text of a whole conversation; without messages, the system message and the few-shot examples."""
        if not messages:
            return text_of(self._examples or self.format.system_only(self._system))
        turns = self._writer.conversation(messages, system=self._opening_system)
        return text_of(self.without_end(self.without_start([*self._few_shot, *turns])))

    def render_instruction(
        self,
        input: str,
        contexts: Sequence[str] = (),
        *,
        with_response_prefix: bool = True,
        columns: Mapping[str, str] = {},
    ) -> str:
        """The text of a turn without its response and without few-shot examples.

        Args:
            input: The input.
            contexts: The contexts.
            with_response_prefix: Whether the text ends with the prefix of the response.
            columns: The texts of the columns that the templates name.
        """
        message = Message(input, contexts=contexts, columns=columns)
        if not with_response_prefix:
            return text_of(self._writer.request(message, system=self._system))
        *pieces, head = self._writer.turn(message, system=self._system)
        return text_of(pieces) + head.text.rstrip(None if self.strip else " ")

    def request_text(self, message: Message) -> str:
        """The contexts and the input in their templates, a line each, without the format."""
        return "\n".join(map(text_of, [*self._writer.filled_contexts(message), self._writer.filled_input(message)]))

    def response_texts(self, message: Message) -> tuple[str, str]:
        """The response in its template, without the format: the text before the response, and the rest."""
        head, *rest = self._writer.response.fill(message.response or "", message.columns)
        return head.text, text_of(rest)

    def words(self, message: Message) -> list[str]:
        """The texts of a message in the order in which they are written: contexts, input, response."""
        return self._writer.words(message)

    @property
    def names_in_prompt(self) -> tuple[str, ...]:
        """The columns that the templates of the input and of the contexts name."""
        of_contexts = self._writer.context.numbered(0)
        return tuple(dict.fromkeys((*self._writer.input.columns, *of_contexts.columns)))

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that all templates name."""
        return tuple(dict.fromkeys((*self.names_in_prompt, *self._writer.response.columns)))

    @property
    def slots(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names in the templates of the input and of the response, in their order; `FIELD` is the field itself."""
        return self._writer.input.names, self._writer.response.names

    @property
    def reads_input(self) -> bool:
        """Whether the template of the input contains the input, and not only other columns."""
        return FIELD in self._writer.input.names

    @property
    def loose_braces(self) -> dict[str, str]:
        """The rest of each template from a brace on that has no meaning, by the name of the template."""
        found = {name: loose_braces(getattr(self, name), text_key=self.text_key) for name in _TEMPLATES}
        return {name: rest for name, rest in found.items() if rest}

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
    def _format(self) -> PromptFormat:
        """The format, with roles that strip nothing if the prompt strips nothing."""
        if self.strip:
            return self.format
        roles: dict[str, Any] = {role: replace(getattr(self.format, role), strip_text=False) for role in ROLES}
        return replace(self.format, **roles)

    @cached_property
    def _writer(self) -> TurnWriter:
        input, context, response = map(self._template, _TEMPLATES)
        return TurnWriter(format=self._format, input=input, context=context, response=response)

    def _template(self, field: str) -> Template:
        where = f"{type(self).__name__}.{field}"
        template = parse_template(getattr(self, field), text_key=self.text_key, where=where)
        if field != "input_template" and FIELD not in template.names:
            raise ConfigError(f"{where}: must say where the text goes; put {{{self.text_key}}} there")
        return template

    @cached_property
    def _system(self) -> Pieces:
        """The system message in its role; empty if there is none."""
        return self._format.system.wrap([fixed(self.system_message)]) if self.system_message else []

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
        pieces = self._format.examples.wrap(self._writer.conversation(self.examples, system=system))
        is_of_row = any(piece.from_row for piece in system)
        # The system message is the first text that no role and no template writes.
        end = next(index for index, piece in enumerate(pieces, 1) if piece.from_row) if is_of_row else 0
        return [*pieces[:end], fixed(text_of(pieces[end:]))]
