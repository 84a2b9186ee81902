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
        tail: What the template writes after the stop token of the last turn, without white space at its edges: an eos,
            or a header that it always writes. Empty if it writes nothing.
        missing: For a template that writes no stop token after the last turn: the stop token of a turn, by whether the
            turn calls tools. Empty for other templates.
    """

    tokens: tuple[str, ...]
    tail: str
    missing: Mapping[bool, str]

    def cut(self, text: str, *, calls_tools: bool) -> str | None:
        """The text of a turn in final position, up to and including its stop token; None if it has no stop token."""
        if self.missing:
            return text + self.missing[calls_tools] if calls_tools in self.missing else None
        turn = text.rstrip().removesuffix(self.tail).rstrip()
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
    # The order is part of the fingerprint of a stream, so it must not depend on the order of a set.
    tokens = tuple(sorted({token for token in added_tokens if token.strip()}, key=lambda text: (-len(text), text)))
    ending = _after_word(template, [_QUESTION, _ANSWER]).strip()
    tail = _tail(template, ending, tokens, eos=eos)
    if _last(ending.removesuffix(tail).rstrip(), tokens) is not None:
        return Stops(tokens, tail, missing={})
    missing = _missing(template, [token for token in tokens if token in stop_tokens])
    if False not in missing:
        raise ConfigError(
            f"the chat template writes {ending!r} after an assistant turn, and no stop token, so the model would never "
            "learn to stop; name the tokens at which generation stops under stop_tokens, or use another template"
        )
    return Stops(tokens, tail="", missing=missing)


def _tail(template: CompiledTemplate, ending: str, tokens: Sequence[str], *, eos: str) -> str:
    """What is no part of the turn in the text that the template writes after the last turn.

    That is what comes after the first token, if the template also writes it after a question, such as the header of the
    next turn. It can also be an eos after another token. A template writes neither in the history.
    """
    history = _text(template, [_QUESTION, _ANSWER, _QUESTION]).rpartition(_WORD)[2].lstrip()
    first = min((token for token in tokens if token in ending), key=ending.find, default="")
    before, _, rest = ending.partition(first) if first else (ending, "", "")
    rest, in_history = rest.lstrip(), history.removeprefix(before + first).lstrip()
    if rest and not in_history.startswith(rest) and _text(template, [_QUESTION]).rstrip().endswith(rest):
        return rest
    follows_token = _last(ending.removesuffix(eos).rstrip(), tokens) is not None
    return eos if ending.endswith(eos) and follows_token and not history.startswith(ending) else ""


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


def _text(template: CompiledTemplate, messages: Sequence[Message]) -> str:
    """The text of messages; empty if the template refuses them."""
    try:
        return template.render(Conversation(messages))
    except TemplateRefusal:
        return ""


def _last(text: str, tokens: Iterable[str]) -> str | None:
    """The longest token at the end of a text."""
    return next((token for token in tokens if text.endswith(token)), None)
