"""The task: what a prompt says around a row, written down in the dialect of a format.

    system · examples │ contexts · input · response prefix and template ║ response · suffix · EOS
    once per prompt   │ once per row                                    ║ border

All texts come from one `TurnWriter`; a method here is a choice of turns.
"""

# ruff: noqa: RUF009  (roles and formats are frozen, so they can be defaults)

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat

from samsum_stream.prompts.checks import check_type
from samsum_stream.prompts.formats import PromptFormat, as_format
from samsum_stream.prompts.frame import Frame, is_blank, make_frame
from samsum_stream.prompts.message import Message, as_example
from samsum_stream.prompts.segments import Pieces, SplitSegments, fixed, split, strip, strip_start, text_of
from samsum_stream.prompts.template import Template, parse_template
from samsum_stream.prompts.turns import TurnWriter

_TEXTS = ("system_message", "text_key", "input_template", "context_template", "response_template")


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What to say around a row, and in which format.

    A template says `{text}` (or `{text_key}`, spelt out) where the row's text goes; `context_template` may also say
    `{index}`, from 0. `examples` are messages, or dicts of their fields, that are shown before each row.
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

    def segments(self, message: Message) -> SplitSegments:
        """The training text of one row, cut where the model's answer begins: joined, it is `render([message])`.

        Where `message.response` is None the prompt is the same as with one, and the response is empty.
        """
        frame = self._frame(len(message.contexts))
        if frame is None or any(map(is_blank, message.words)):
            return self._segments(message)
        return frame.fill(message)

    def texts(
        self, inputs: Sequence[str], responses: Sequence[str], contexts: Sequence[Sequence[str]] | None = None
    ) -> tuple[list[str], list[str]]:
        """The texts of `segments` on both sides of the border, for many rows given as columns."""
        frame = self._frame(0)
        if contexts is None and frame:
            return self._framed(frame, inputs, responses)
        rows = map(Message, inputs, responses, repeat(()) if contexts is None else contexts)
        sides = [self.segments(row) for row in rows]
        return [text_of(side.prompt) for side in sides], [text_of(side.response) for side in sides]

    def _framed(self, frame: Frame, inputs: Sequence[str], responses: Sequence[str]) -> tuple[list[str], list[str]]:
        """Whole columns at once; then rows with blank words, which no frame fits, anew."""
        asked, answered = frame.prompt.fill_each(inputs), frame.response.fill_each(responses)
        if not (all(map(str.strip, inputs)) and all(map(str.strip, responses))):
            for index, words in enumerate(zip(inputs, responses, strict=True)):
                if any(map(is_blank, words)):
                    sides = self._segments(Message(*words))
                    asked[index], answered[index] = text_of(sides.prompt), text_of(sides.response)
        return asked, answered

    def render(self, messages: Sequence[Message]) -> str:
        """The text of a whole conversation; of the system message and the few-shot examples where there is none."""
        if not messages:
            return text_of(self._examples or self.format.system_only(self._system))
        turns = self._writer.conversation(messages, system=self._opening_system)
        return text_of([*self._shots, *turns]).strip()

    def render_instruction(self, input: str, contexts: Sequence[str] = (), *, with_response_prefix: bool = True) -> str:
        """The text of a question without the few-shot examples, up to where the response begins."""
        message = Message(input, contexts=contexts)
        if not with_response_prefix:
            return text_of(self._writer.request(message, system=self._system))
        *asked, head = self._writer.turn(message, system=self._system).asked
        return text_of(asked) + head.text.rstrip()

    @property
    def stop_strings(self) -> list[str]:
        """What a model writes when it has begun to speak for somebody else."""
        return self.format.stop_strings

    @property
    def has_border(self) -> bool:
        """Whether the prompt or the format says where the answer starts; a separator between any two roles does not."""
        before = (self._writer.input.tail, self.format.input.suffix)
        behind = (self.format.response.prefix, self._writer.response.head)
        return any(mark.strip() for mark in before + behind)

    @cached_property
    def _writer(self) -> TurnWriter:
        input, context, response = map(self._template, ("input_template", "context_template", "response_template"))
        return TurnWriter(format=self.format, input=input, context=context, response=response)

    def _template(self, field: str) -> Template:
        return parse_template(getattr(self, field), text_key=self.text_key, where=f"{type(self).__name__}.{field}")

    @cached_property
    def _system(self) -> Pieces:
        """The system message in its role, if there is one."""
        return self.format.system.wrap([fixed(self.system_message)]) if self.system_message else []

    @cached_property
    def _examples(self) -> Pieces:
        """The system message and all few-shot turns in the role of examples, if there are any: one piece."""
        if not self.examples:
            return []
        turns = self._writer.conversation(self.examples, system=self._system)
        return [fixed(text_of(self.format.examples.wrap(turns)))]

    @cached_property
    def _shots(self) -> Pieces:
        """The few-shot examples with what separates them from the first turn."""
        return [*self._examples, fixed(self.format.role_separator)] if self._examples else []

    @cached_property
    def _opening_system(self) -> Pieces:
        """The system text of the first turn: where there are few-shot examples, theirs is the first."""
        return [] if self.examples else self._system

    @cached_property
    def _frames(self) -> dict[int, Frame | None]:
        return {}

    def _frame(self, num_contexts: int) -> Frame | None:
        if num_contexts not in self._frames:
            self._frames[num_contexts] = make_frame(self._segments, num_contexts=num_contexts)
        return self._frames[num_contexts]

    def _segments(self, message: Message) -> SplitSegments:
        turn = self._writer.turn(message, system=self._opening_system)
        prompt = [*self._shots, *turn.asked]
        if message.response is None:
            # What `split` moves over the border is for the model to write.
            return SplitSegments(split(strip_start(prompt), border=len(prompt)).prompt, ())
        return split(strip([*prompt, *turn.answered]), border=len(prompt))
