"""The stop token of a turn: the token with which a model ends its turn, and at which generation stops.

written after the turn          Hello<|im_end|>\\n             cut after <|im_end|>
written before an eos           Hello<|end|>\\n<|endoftext|>   cut after <|end|>
written before the next turn    Hello | <|user|>              <|user|> is added
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from samsum_stream.errors import ConfigError
from samsum_stream.prompts.chat.template import CompiledTemplate, TemplateRefusal
from samsum_stream.values.conversations import Conversation, Message

_WORD = "Certainly"
_QUESTION: Message = {"role": "user", "content": "Question"}
_ANSWER: Message = {"role": "assistant", "content": _WORD}
_CALL: Message = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": "abcdefghi", "type": "function", "function": {"name": _WORD, "arguments": {"key": _WORD}}}],
}
_RESULT: Message = {"role": "tool", "content": "Result", "name": _WORD, "tool_call_id": "abcdefghi"}


@dataclass(frozen=True)
class Stops:
    """How the turns of a template end.

    Attributes:
        tokens: The texts of the tokens that can end a turn, the longest first.
        eos: The eos that the template writes after the stop token of the last turn; empty if it writes none.
        missing: For a template that writes no stop token after the last turn: the stop token of a turn, by whether the
            turn calls tools. Empty for other templates.
    """

    tokens: tuple[str, ...]
    eos: str
    missing: Mapping[bool, str]

    def cut(self, text: str, *, calls_tools: bool) -> str | None:
        """The text of a turn in final position, up to and including its stop token; None if it has no stop token."""
        if self.missing:
            return text + self.missing[calls_tools] if calls_tools in self.missing else None
        turn = text.rstrip().removesuffix(self.eos).rstrip()
        return turn if _last(turn, self.tokens) is not None else None


def find_stops(
    template: CompiledTemplate, *, added_tokens: Iterable[str], eos: str, stop_tokens: Collection[str]
) -> Stops:
    """Find how the turns of a template end, from the texts of short conversations.

    Args:
        template: The template.
        added_tokens: The texts of the added vocabulary of the tokenizer.
        eos: The text of the eos of the tokenizer.
        stop_tokens: The texts of the tokens at which generation stops.

    Raises:
        ConfigError: the template cannot write a question and an answer, or writes no stop token after the answer.
    """
    tokens = tuple(sorted({token for token in added_tokens if token.strip()}, key=len, reverse=True))
    ending = _after_word(template, [_QUESTION, _ANSWER]).strip()
    last = _last(ending, tokens)
    if last is not None:
        before = _last(ending.removesuffix(last).rstrip(), tokens)
        return Stops(tokens, eos=eos if last == eos and before is not None else "", missing={})
    missing = _missing(template, [token for token in tokens if token in stop_tokens])
    if False not in missing:
        raise ConfigError(
            f"the chat template writes {ending!r} after an assistant turn, and no stop token, so the model would never "
            "learn to stop; name the tokens at which generation stops under stop_tokens, or use another template"
        )
    return Stops(tokens, eos="", missing=missing)


def _missing(template: CompiledTemplate, stop_tokens: Sequence[str]) -> dict[bool, str]:
    """The stop token that starts the next turn, by whether the turn calls tools."""
    missing = {}
    for calls_tools, messages in ((False, [_QUESTION, _ANSWER, _QUESTION]), (True, [_QUESTION, _CALL, _RESULT])):
        try:
            following = _after_word(template, messages)
        except ConfigError:
            continue
        firsts = [(following.find(token), token) for token in stop_tokens if token in following]
        if firsts:
            missing[calls_tools] = min(firsts)[1]
    return missing


def _after_word(template: CompiledTemplate, messages: Sequence[Message]) -> str:
    """The text that the template writes after the word of the assistant."""
    try:
        text = template.render(Conversation(messages))
    except TemplateRefusal as refusal:
        raise ConfigError(
            f"the chat template cannot write a question and an answer: {refusal}; use a template for text"
        ) from refusal
    if _WORD not in text:
        raise ConfigError("the chat template does not write the content of an assistant turn; use another template")
    return text.rpartition(_WORD)[2]


def _last(text: str, tokens: Iterable[str]) -> str | None:
    """The longest token at the end of a text."""
    return next((token for token in tokens if text.endswith(token)), None)
