"""Turns to examples: each example contains as many turns as stay exact.

turn 1    prompt  [system, question 1]                                target  answer 1
turn 2    prompt  [system, question 1, answer 1, question 2]          target  answer 2
example   system, question 1 │ answer 1 │ question 2 │ answer 2       one example, if prompt 2 starts with the first two

A turn joins the first example that its prompt starts with, token for token. If a template rewrites earlier turns, there
is no such example, and the turn starts a new one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from samsum_stream.prompts.chat.turns import Turn


class Continuation(Protocol):
    """How a text is encoded after another one."""

    def __call__(self, left: str, right: str, *, follows_turn: bool = False) -> str | None:
        """The text to encode after `left`, so that both have the ids of the joined text; None if there is none.

        Args:
            left: A text.
            right: The text after it.
            follows_turn: Whether `left` is a trained turn, whose stop token can change how `right` starts.
        """


HISTORY, BORDER = "history", "border"
"""Why a turn starts a new example: the template rewrites earlier turns, or a token would cross the border of one."""


@dataclass
class ChatExample:
    """The texts of one example.

    Attributes:
        text: The whole text.
        runs: The text to encode of each run: the prompt and the target of a turn, by turns.
        turns: The turns.
    """

    text: str = ""
    runs: list[str] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)

    def append(self, turn: Turn, prompt: str) -> None:
        """Append a turn; `prompt` is the text to encode between the last turn and its target."""
        self.text = turn.prompt + turn.target
        self.runs += (prompt, turn.target)
        self.turns.append(turn)


def examples_of(turns: Iterable[Turn], continuation: Continuation) -> tuple[list[ChatExample], list[str]]:
    """The examples of the turns of a conversation, and for each example after the first why it is needed."""
    examples: list[ChatExample] = []
    reasons: list[str] = []
    for turn in turns:
        candidates = [example for example in examples if turn.prompt.startswith(example.text)]
        for example in candidates:
            prompt = _continued(example, turn, continuation)
            if prompt is not None:
                example.append(turn, prompt)
                break
        else:
            reasons += [BORDER if candidates else HISTORY] if examples else []
            examples.append(ChatExample())
            examples[-1].append(turn, turn.prompt)
    return examples, reasons


def _continued(example: ChatExample, turn: Turn, continuation: Continuation) -> str | None:
    """The text to encode after an example, before the target of the turn; None if a token would cross a border."""
    prompt, target = example.runs[-2:]
    if continuation(prompt, target) != target:
        return None
    return continuation(target, turn.prompt[len(example.text) :], follows_turn=True)
