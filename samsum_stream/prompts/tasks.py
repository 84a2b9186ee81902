"""Prompts for common tasks: each prompt overrides defaults of `Prompt`."""

from collections.abc import Sequence
from dataclasses import dataclass

from samsum_stream.prompts.message import Message
from samsum_stream.prompts.prompt import Prompt


@dataclass(frozen=True, kw_only=True)
class DefaultPrompt(Prompt):
    """Adds no text: the format alone marks the texts of the row."""


@dataclass(frozen=True, kw_only=True)
class ZeroShotQA(Prompt):
    """Answers a question from the contexts of the row."""

    system_message: str = (
        "Answer the question from the given contexts alone. "
        "Keep the answer short, and say that the contexts do not tell if they do not."
    )
    input_template: str = "Question: {text}"
    context_template: str = "Context: {text}"
    response_template: str = "Answer: {text}"


@dataclass(frozen=True, kw_only=True)
class FewShotQA(ZeroShotQA):
    """`ZeroShotQA` with two examples: one with an answer, and one in which the contexts do not contain the answer."""

    examples: Sequence[Message] = (
        Message(
            "When does the night ferry leave?",
            "At 22:40.",
            (
                "The day ferry crosses at 9:15 and takes four hours.",
                "The night ferry leaves at 22:40 from the north pier.",
            ),
        ),
        Message(
            "Who painted the ceiling of the town hall?",
            "The contexts do not tell.",
            ("The town hall was built in 1911 and restored after a fire.",),
        ),
    )


@dataclass(frozen=True, kw_only=True)
class StandaloneQuestion(Prompt):
    """Rewrites a follow-up question as a question that needs no chat; the contexts are the turns of the chat so far."""

    system_message: str = (
        "Rewrite the follow-up question so that somebody who has not read the chat understands it. "
        "Put names in the place of words that point back, add nothing else, "
        "and repeat a question that stands on its own as it is."
    )
    examples: Sequence[Message] = (
        Message(
            "And how long does it keep?",
            "How long does sourdough bread keep?",
            ("User: Can I freeze sourdough bread?", "Assistant: Yes, sliced and well wrapped."),
        ),
        Message(
            "What is the tallest mountain in Norway?",
            "What is the tallest mountain in Norway?",
            ("User: Which fjord is the longest?", "Assistant: The Sognefjord, with about 205 kilometres."),
        ),
    )
    input_template: str = "Follow-up question: {text}"
    response_template: str = "Standalone question: {text}"


@dataclass(frozen=True, kw_only=True)
class TextSummarization(Prompt):
    """Summarizes a text or a conversation."""

    system_message: str = (
        "Summarize the following text in a few plain sentences. "
        "Say who is involved, what happens and what is decided, and nothing that the text does not say."
    )
    input_template: str = "Text: {text}"
    response_template: str = "Summary: {text}"
