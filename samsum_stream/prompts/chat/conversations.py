"""Conversations to the texts of their examples, by the slow and certain way: the template writes every turn."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from samsum_stream.errors import RowError
from samsum_stream.errors.wording import quoted
from samsum_stream.prompts.chat.chat_template import ERROR, LAST_ROUND, SKIP
from samsum_stream.prompts.chat.examples import ChatExample, Continuation, examples_of
from samsum_stream.prompts.chat.forms import switch_name
from samsum_stream.prompts.chat.loading import LoadedTemplate
from samsum_stream.prompts.chat.losses import losses
from samsum_stream.prompts.chat.turns import Turn, Unrenderable, with_other_words
from samsum_stream.values.conversations import REASONING, Conversation, Message, common_prefix_length
from samsum_stream.values.renderings import Problem

_INLINE = re.compile(r"\s*<think>.*?</think>\s*", re.DOTALL)
"""Reasoning in the content of a message."""

LONG = 200
"""The characters of a text in a message from which the text is not the end of a prompt, but most of it."""

_KWARGS = "prompt_format_config.kwargs"
_REMEDIES = {
    "prompt_is_no_prefix": "set template_kwargs to what this data needs, or use another template",
    "no_stop_token": f"name the token under {_KWARGS}.stop_tokens, or use another template",
    "template_refuses": "fix the row, or use another template",
}
_RULES = {
    "prompt_is_no_prefix": "the chat template does not write the turn after its prompt, so the turn cannot be trained "
    "as inference would see it",
    "no_stop_token": "the chat template writes no stop token after the turn, so the model would not learn to stop",
    "template_refuses": "the chat template refuses the messages",
}


class CannotRender(RowError):
    """A conversation cannot be rendered; the argument is the `Problem`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.text, field=problem.field, reason=problem.reason)
        self.problem = problem


class RenderedExamples(NamedTuple):
    """The examples of a conversation, and the counts of what was noticed, each with the number of an example."""

    examples: list[ChatExample]
    events: list[tuple[int, str]]


class RenderedTurn(NamedTuple):
    """A turn, and what was noticed; None is a turn that is not trained."""

    turn: Turn | None
    event: str


class ExampleRenderer:
    """Renders conversations.

    Args:
        loaded: The template.
        continuation: How a text is encoded after another one.
        trains_reasoning: Whether the reasoning of a turn is trained (`loss_config.reasoning`).
    """

    def __init__(self, loaded: LoadedTemplate, continuation: Continuation, *, trains_reasoning: bool = True) -> None:
        self.loaded, self.continuation = loaded, continuation
        self.trains_reasoning = trains_reasoning

    def render(self, conversation: Conversation, *, continuation: Continuation | None = None) -> RenderedExamples:
        """The examples of a conversation in the form that the template takes.

        Raises:
            CannotRender: the conversation cannot be rendered.
        """
        events: list[tuple[int, str]] = []
        turns = [*self._turns(conversation, events)]
        if self.loaded.settings.on_rewritten_history == LAST_ROUND:
            turns = _of_last_round(turns, conversation)
        examples, reasons = examples_of(turns, continuation or self.continuation)
        if reasons and self.loaded.settings.on_rewritten_history == ERROR:
            raise CannotRender(self._rewritten(examples[1].turns[0]))
        if self.loaded.settings.on_rewritten_history == LAST_ROUND:
            examples, reasons = examples[-1:], []
        events += [(number, f"splits.{reason}") for number, reason in enumerate(reasons, start=1)]
        return RenderedExamples(examples, events)

    def last_turn(self, conversation: Conversation) -> Turn | None:
        """The last trained turn of a conversation; None if it is not trained.

        Raises:
            CannotRender: the turn cannot be rendered.
        """
        return self.turn(conversation, conversation.trained_turns[-1]).turn

    def prompt(self, conversation: Conversation) -> str:
        """The text that the model gets at inference after the messages of a conversation."""
        if conversation.prefill:
            turn = self.turn(conversation, len(conversation.messages) - 1).turn
            return "" if turn is None else turn.prompt
        return self.loaded.template.render(conversation, add_generation_prompt=True)

    def _turns(self, conversation: Conversation, events: list[tuple[int, str]]) -> Iterator[Turn]:
        for index in conversation.trained_turns:
            rendered = self.turn(conversation, index)
            if rendered.event:
                events.append((0, rendered.event))
            if rendered.turn is not None and rendered.turn.target:
                yield rendered.turn

    def turn(self, conversation: Conversation, index: int) -> RenderedTurn:
        """The assistant turn at the index of a message. It depends on the messages up to this one only.

        Raises:
            CannotRender: the turn cannot be rendered, and `on_unrenderable_turn` is `error`, or a part of it is lost.
        """
        turn = self.loaded.finder.turn(conversation, index)
        if isinstance(turn, Unrenderable):
            if self.loaded.settings.on_unrenderable_turn != SKIP:
                raise CannotRender(self._unrenderable(conversation, turn))
            return RenderedTurn(None, f"turns.{turn.reason}")
        if lost := losses(conversation.messages[index], turn.target):
            raise CannotRender(_lost(index, lost))
        event = "" if turn.thinking is None else f"turns.thinking_{'on' if turn.thinking else 'off'}"
        return RenderedTurn(self._with_longer_prompt(conversation, turn), event)

    def _with_longer_prompt(self, conversation: Conversation, turn: Turn) -> Turn:
        """The turn, with the start that is not trained in its prompt: a prefill, or reasoning."""
        message = conversation.messages[turn.message]
        length = 0
        if conversation.prefill and turn.message == len(conversation.messages) - 1:
            rest = message["content"].removeprefix(conversation.prefill)
            length = self._length_before(
                conversation, turn, {**message, "content": f"{conversation.prefill}\u2603{rest}"}
            )
            length = len(turn.target[:length].rstrip(" "))  # C1: the model writes the spaces at the end of a prompt
        if not self.trains_reasoning and has_reasoning(message):
            length = max(length, self._length_before(conversation, turn, with_other_answer(message)))
        return turn._replace(prompt=turn.prompt + turn.target[:length], target=turn.target[length:])

    def _length_before(self, conversation: Conversation, turn: Turn, message: Message) -> int:
        """The characters of the target before the first one that differs if the turn has another message."""
        messages = [*conversation.messages[: turn.message], message]
        other = self.loaded.finder.turn(conversation.with_messages(messages), turn.message)
        return 0 if isinstance(other, Unrenderable) else common_prefix_length(turn.target, other.target)

    def _unrenderable(self, conversation: Conversation, turn: Unrenderable) -> Problem:
        details, remedy = turn.details, _REMEDIES[turn.reason]
        if turn.reason == "prompt_is_no_prefix":
            finder = self.loaded.finder
            rest = finder.not_continued(conversation, turn.message)
            details = f"its prompt ends with {quoted(rest)}"
            if len(rest) > LONG:
                details = f"with the turn, the template writes another text where its prompt has {quoted(rest)}"
            thinking = finder.thinking_that_continues(conversation, turn.message)
            if thinking is not None:
                value = str(thinking).lower()
                remedy = (
                    f"write thinking: {value} under {_KWARGS} if serving sets enable_thinking: {value}, or {remedy}"
                )
        skip = "" if turn.reason == "template_refuses" else "; or skip such turns with on_unrenderable_turn: skip"
        rule = f"{_RULES[turn.reason]}{f' ({details})' if details else ''}"
        return Problem("messages", turn.reason, f"message {turn.message}: {rule}; {remedy}{skip}")

    def _rewritten(self, turn: Turn) -> Problem:
        switch = switch_name(self.loaded.template)
        remedy = f"set template_kwargs: {{{switch}}} if serving does the same, or " if switch else ""
        return Problem(
            "messages",
            "rewritten_history",
            f"message {turn.message}: the chat template writes earlier turns in another way than they were trained, "
            f"and on_rewritten_history is error; {remedy}set on_rewritten_history to split or last_round",
        )


def has_reasoning(message: Message) -> bool:
    """Whether a message has reasoning, in a field or inline."""
    return any(name in message for name in REASONING) or bool(_INLINE.match(message["content"]))


def with_other_answer(message: Message) -> Message:
    """The message with the same reasoning and other words after it."""
    other = with_other_words(message)
    kept = {name: message[name] for name in REASONING if name in message}
    if inline := _INLINE.match(message["content"]):
        rest = {"content": message["content"][inline.end() :]}
        kept["content"] = inline.group() + str(with_other_words(rest)["content"])
    return {**other, **kept}


def _of_last_round(turns: Sequence[Turn], conversation: Conversation) -> list[Turn]:
    """The turns after the last user message that comes before a trained turn."""
    last = turns[-1].message if turns else 0
    users = [index for index, message in enumerate(conversation.messages[:last]) if message["role"] == "user"]
    return [turn for turn in turns if not users or turn.message > users[-1]]


def _lost(index: int, lost: Sequence[str]) -> Problem:
    what = " and ".join(name.replace("_", " ") for name in lost)
    remedy = "set conversation_config.reasoning to drop if that is intended, or " if "reasoning" in lost else ""
    return Problem(
        "messages",
        "content_is_lost",
        f"message {index}: the chat template does not write the {what} of this turn; {remedy}use a template that "
        "writes it, under prompt_format_config.kwargs.template",
    )
