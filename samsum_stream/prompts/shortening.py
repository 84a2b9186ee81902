"""Truncation of rows: shorten the texts of a long row and render the row again, so that its prompt stays complete."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from samsum_stream.prompts.message import Message

WINDOW = 1 << 16
"""The characters of a long text in which its longest start is looked for first, before four times as many."""

MARGIN = 256
"""The characters at the end of a window whose tokens can depend on the text after it."""


class Shorter(NamedTuple):
    """A message with an example that fits into `max_length`.

    Attributes:
        message: The message.
        cut: The names of the parts that were shortened, as in `stats.truncated`.
    """

    message: Message
    cut: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LongMessage:
    """A message with an example that is too long.

    Attributes:
        message: The message.
        fits: Returns whether the example of a message is short enough.
        token_ends: Returns the end of each token of a text, in characters.
    """

    message: Message
    fits: Callable[[Message], bool]
    token_ends: Callable[[str], list[int]]

    def checked(self, message: Message, *, cut: tuple[str, ...]) -> Shorter | None:
        """The shorter message; None if it does not fit, or if only white space is left of the input."""
        if not self.fits(message) or (self.message.input.strip() and not message.input.strip()):
            return None
        return Shorter(message, cut)

    def with_shorter_input(self, message: Message) -> Message:
        """The message with the longest start of its input that fits."""
        start = self.longest_start(message.input, lambda text: replace(message, input=text))
        return replace(message, input=start)

    def longest_start(self, text: str, put: Callable[[str], Message]) -> str:
        """The longest start of `text` that fits, in whole tokens; empty if none fits.

        Args:
            put: Returns the message with a text instead of `text`.
        """
        size = WINDOW
        while True:
            ends = [0, *self._ends(text, size)]
            number = _most(len(ends) - 1, lambda number, ends=ends: self.fits(put(text[: ends[number]])))  # type: ignore[misc]
            if number < len(ends) - 1 or size >= len(text):
                return text[: ends[max(number, 0)]]
            size *= 4

    def _ends(self, text: str, size: int) -> list[int]:
        """The ends of the tokens in the first `size` characters, which do not depend on the text after them."""
        if size >= len(text):
            return self.token_ends(text)
        return [end for end in self.token_ends(text[:size]) if end <= size - MARGIN]


def shorten_input(row: LongMessage) -> Shorter | None:
    """Shorten the input at its end."""
    return row.checked(row.with_shorter_input(row.message), cut=("input",))


def shorten_contexts(row: LongMessage) -> Shorter | None:
    """Shorten the contexts, from the end of the last one. If that is not enough, drop them and cut the input."""
    message, contexts = row.message, row.message.contexts
    if not contexts:
        return shorten_input(row)
    num_whole = _most(len(contexts) - 1, lambda number: row.fits(replace(message, contexts=contexts[:number])))
    if num_whole < 0:
        return row.checked(row.with_shorter_input(replace(message, contexts=())), cut=("contexts", "input"))
    whole = contexts[:num_whole]
    start = row.longest_start(contexts[num_whole], lambda text: replace(message, contexts=(*whole, text)))
    return row.checked(replace(message, contexts=(*whole, start) if start else whole), cut=("contexts",))


SHORTENERS: dict[str, Callable[[LongMessage], Shorter | None]] = {
    "contexts": shorten_contexts,
    "input": shorten_input,
    "turns": lambda row: None,  # a row with one turn has none to remove
}
"""The truncation methods that shorten the texts of a row, by name."""


def _most(limit: int, fits: Callable[[int], bool]) -> int:
    """The largest number from 0 to `limit` that fits, by bisection; -1 if none fits."""
    return bisect_left(range(limit + 1), True, key=lambda number: not fits(number)) - 1
