"""The prompt and the target of each assistant turn, from the texts of a chat template.

messages   user: Hi, assistant: Hello
prompt     <|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\n
target                                                              Hello<|im_end|>

The prompt is what the model gets at inference. The target is what the template writes after the prompt for the turn in
final position, up to its stop token. Three ways to find the target are tried in order:

1. The text of the conversation up to the turn starts with the prompt.
2. The same, with `enable_thinking` as the turn has reasoning. Inference must use the same value.
3. Splice: the text behind the last header of the assistant before the first word of the turn. It is not used for
   consecutive assistant turns, which some templates join.
"""

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

from samsum_stream.prompts.chat.stops import Stops
from samsum_stream.prompts.chat.template import CompiledTemplate, TemplateRefusal
from samsum_stream.values.conversations import ASSISTANT, Conversation, Message, common_prefix_length, reasoning_of

THINKING = "enable_thinking"
"""The variable with which most templates turn reasoning on and off."""

_UNCHANGED = frozenset({"role", "type", "id", "tool_call_id"})
"""The fields of a message that a template may compare with fixed values or with other messages."""


class Turn(NamedTuple):
    """An assistant turn whose target the template writes after its prompt.

    Attributes:
        message: The index of the message.
        prompt: The text before the turn at inference.
        target: The text of the turn, up to and including its stop token.
        thinking: The value of `enable_thinking` that inference needs for this text; None if it needs no other value.
        is_spliced: Whether the target was found by a splice.
    """

    message: int
    prompt: str
    target: str
    thinking: bool | None = None
    is_spliced: bool = False


class Unrenderable(NamedTuple):
    """An assistant turn without an exact target.

    Attributes:
        message: The index of the message.
        reason: `prompt_is_no_prefix`, `no_stop_token` or `template_refuses`.
        details: The words of the template, if it refuses; else empty.
    """

    message: int
    reason: str
    details: str = ""


class TurnFinder:
    """Finds the prompt and the target of the assistant turns of conversations.

    Args:
        template: The template.
        stops: How its turns end.
        chooses_thinking: Whether the second way is tried (`thinking: auto`).
    """

    def __init__(self, template: CompiledTemplate, stops: Stops, *, chooses_thinking: bool = True) -> None:
        self.template, self.stops = template, stops
        self._chooses_thinking = chooses_thinking and THINKING in template.variables

    def with_template(self, template: CompiledTemplate) -> "TurnFinder":
        """The finder for another form of the same template."""
        finder = copy.copy(self)
        finder.template = template
        return finder

    def turns(self, conversation: Conversation) -> Iterator[Turn | Unrenderable]:
        """Each trained turn of a conversation, in order."""
        return (self.turn(conversation, index) for index in conversation.trained_turns)

    def turn(self, conversation: Conversation, index: int) -> Turn | Unrenderable:
        """The assistant turn at the index of a message."""
        try:
            return self._turn(conversation, index)
        except TemplateRefusal as refusal:
            return Unrenderable(index, "template_refuses", str(refusal))

    def not_continued(self, conversation: Conversation, index: int) -> str:
        """The end of the prompt of a turn that the text with the turn does not have."""
        prompt = self.template.render(conversation.first(index), add_generation_prompt=True)
        return prompt[common_prefix_length(prompt, self.template.render(conversation.first(index + 1))) :]

    def thinking_that_continues(self, conversation: Conversation, index: int) -> bool | None:
        """The value of `enable_thinking` with which a turn continues its prompt; None if there is none."""
        for thinking in (True, False) if THINKING in self.template.variables else ():
            try:
                if self._continued(conversation.with_kwargs(**{THINKING: thinking}), index):
                    return thinking
            except TemplateRefusal:
                continue
        return None

    def _turn(self, conversation: Conversation, index: int) -> Turn | Unrenderable:
        turn = self._continued(conversation, index) or self._with_thinking(conversation, index)
        turn = turn or self._spliced(conversation, index)
        if turn is None:
            return Unrenderable(index, "prompt_is_no_prefix")
        target = self.stops.cut(turn.target, calls_tools=bool(conversation.messages[index].get("tool_calls")))
        return Unrenderable(index, "no_stop_token") if target is None else turn._replace(target=target)

    def _continued(self, conversation: Conversation, index: int) -> Turn | None:
        """The turn, if the text up to and including the turn starts with the prompt."""
        prompt = self.template.render(conversation.first(index), add_generation_prompt=True)
        text = self.template.render(conversation.first(index + 1))
        return Turn(index, prompt, text.removeprefix(prompt)) if text.startswith(prompt) else None

    def _with_thinking(self, conversation: Conversation, index: int) -> Turn | None:
        """The turn, if it continues the prompt with `enable_thinking` as the turn has reasoning."""
        if not self._chooses_thinking:
            return None
        thinking = bool(reasoning_of(conversation.messages[index]))
        turn = self._continued(conversation.with_kwargs(**{THINKING: thinking}), index)
        return turn and turn._replace(thinking=thinking)

    def _spliced(self, conversation: Conversation, index: int) -> Turn | None:
        """The turn behind the last header of the assistant that comes before the words of the turn."""
        before = conversation.first(index)
        if not before.messages or before.messages[-1]["role"] == ASSISTANT:
            return None
        prompt, history = self.template.render(before, add_generation_prompt=True), self.template.render(before)
        header = prompt.removeprefix(history)
        if not header or not prompt.startswith(history):
            return None
        turn = conversation.messages[index]
        text, other = (
            self.template.render(conversation.with_messages([*before.messages, message]))
            for message in (turn, with_other_words(turn))
        )
        start = text.rfind(header, 0, common_prefix_length(text, other))
        if start < 0 or text.count(header, 0, start + len(header)) != prompt.count(header):
            return None  # there is no header of this turn
        return Turn(index, prompt, text[start + len(header) :], is_spliced=True)


def with_other_words(message: Message) -> Message:
    """The message with another first character in every text, so that two renders differ from its first word on."""
    return {name: value if name in _UNCHANGED else _other(value) for name, value in message.items()}


def _other(value: Any) -> Any:
    if isinstance(value, str) and value:
        return ("\u2602" if value.startswith("\u2603") else "\u2603") + value
    if isinstance(value, list):
        return [_other(item) for item in value]
    if isinstance(value, dict):
        return with_other_words(value)
    return value
