"""Rows longer than `max_length`: dropped, shortened at one of three places, or an error.

A shortened row is a row whose own text is shorter, rendered and encoded anew, so that its prompt is again
what inference would see. Only `right` cuts tokens: off the response, which then has no end to learn.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from samsum_stream.prompts import Message
from samsum_stream.samples import Int32Array


class Fitted(NamedTuple):
    """A row that fits: both sides, whether the response still has its eos, and what was cut."""

    prompt: Int32Array
    response: Int32Array
    has_eos: bool
    cut: tuple[str, ...]


class Dropped(NamedTuple):
    """A row that never reaches a batch, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class LongRow:
    """A row that is too long, and what a method needs to shorten it.

    `room` is the number of tokens that prompt, response and eos may have together; `encode` gives both sides of a
    message; `token_ends` says where each token of a text ends, in characters.
    """

    message: Message
    prompt: Int32Array
    response: Int32Array
    room: int
    encode: Callable[[Message], tuple[Int32Array, Int32Array]]
    token_ends: Callable[[str], list[int]]

    def excess(self, message: Message) -> int:
        """How many tokens `message` has too many."""
        prompt, response = self.encode(message)
        return len(prompt) + len(response) + 1 - self.room

    def fitted(self, message: Message, *, cut: tuple[str, ...]) -> Fitted | Dropped:
        if self.excess(message) > 0:
            return drop(self)
        return Fitted(*self.encode(message), has_eos=True, cut=cut)


def drop(row: LongRow) -> Fitted | Dropped:
    """Leave the row out."""
    return Dropped("longer_than_max_length")


def cut_right(row: LongRow) -> Fitted | Dropped:
    """Cut tokens off the end of the response; no eos is invented."""
    room = max(row.room - len(row.prompt), 0)
    if not room:
        return Dropped("no_trained_token")
    return Fitted(row.prompt, row.response[:room], has_eos=False, cut=("right",))


def shorten_input(row: LongRow) -> Fitted | Dropped:
    """Shorten the input from its end; drop the row where nothing of it fits."""
    return row.fitted(_with_shorter_input(row, row.message), cut=("input",))


def shorten_contexts(row: LongRow) -> Fitted | Dropped:
    """Shorten the contexts from the end of the last one; where they are not enough, the input as well."""
    message, cut = row.message, ("contexts",) if row.message.contexts else ()
    while message.contexts and row.excess(message) > 0:
        message = _with_shorter_last_context(row, message)
    if row.excess(message) > 0:
        message, cut = _with_shorter_input(row, message), (*cut, "input")
    return row.fitted(message, cut=cut)


METHODS: dict[str, Callable[[LongRow], Fitted | Dropped]] = {
    "contexts": shorten_contexts,
    "drop": drop,
    "input": shorten_input,
    "right": cut_right,
}


def _with_shorter_input(row: LongRow, message: Message) -> Message:
    return replace(message, input=_longest_start(row, message.input, lambda text: replace(message, input=text)))


def _with_shorter_last_context(row: LongRow, message: Message) -> Message:
    """The last context shortened where that is enough, and gone where it is not."""
    *others, last = message.contexts
    without = replace(message, contexts=tuple(others))
    if row.excess(without) > 0:
        return without
    start = _longest_start(row, last, lambda text: replace(message, contexts=(*others, text)))
    return replace(message, contexts=(*others, start)) if start else without


def _longest_start(row: LongRow, text: str, put: Callable[[str], Message]) -> str:
    """The longest start of `text`, in whole tokens, with which the row fits; empty where none does."""
    ends = row.token_ends(text)
    num_kept = len(ends) - row.excess(put(text))
    while num_kept > 0:
        start = text[: ends[num_kept - 1]]
        if (excess := row.excess(put(start))) <= 0:
            return start
        num_kept -= excess
    return ""
