"""Rows longer than `max_length`: dropped, shortened at one of three places, or an error.

A shortened row is a row whose own text is shorter, rendered and encoded anew, so that its prompt is again
what inference would see. Only `right` cuts tokens: off the response, which then has no end to learn.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from samsum_stream.prompts import Message
from samsum_stream.values.arrays import Int32Array


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

    def fits(self, message: Message) -> bool:
        """Whether `message`, with an eos, has room."""
        prompt, response = self.encode(message)
        return len(prompt) + len(response) + 1 <= self.room

    def fitted(self, message: Message, *, cut: tuple[str, ...]) -> Fitted | Dropped:
        """The encoded message where it fits; nothing is trained on an input of which nothing is left."""
        if not self.fits(message) or (self.message.input.strip() and not message.input.strip()):
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
    contexts = row.message.contexts
    if not contexts:
        return shorten_input(row)
    num_whole = _most(len(contexts) - 1, lambda number: row.fits(replace(row.message, contexts=contexts[:number])))
    if num_whole < 0:
        without = replace(row.message, contexts=())
        return row.fitted(_with_shorter_input(row, without), cut=("contexts", "input"))
    whole = contexts[:num_whole]
    start = _longest_start(row, contexts[num_whole], lambda text: replace(row.message, contexts=(*whole, text)))
    return row.fitted(replace(row.message, contexts=(*whole, start) if start else whole), cut=("contexts",))


METHODS: dict[str, Callable[[LongRow], Fitted | Dropped]] = {
    "contexts": shorten_contexts,
    "drop": drop,
    "input": shorten_input,
    "right": cut_right,
}


def _with_shorter_input(row: LongRow, message: Message) -> Message:
    return replace(message, input=_longest_start(row, message.input, lambda text: replace(message, input=text)))


def _longest_start(row: LongRow, text: str, put: Callable[[str], Message]) -> str:
    """The longest start of `text`, in whole tokens, with which the row fits; empty where none does."""
    starts = [0, *row.token_ends(text)]
    at = _most(len(starts) - 1, lambda number: row.fits(put(text[: starts[number]])))
    return text[: starts[max(at, 0)]]


def _most(limit: int, fits: Callable[[int], bool]) -> int:
    """The largest number from 0 to `limit` that fits, by bisection; -1 where not even 0 does."""
    return bisect_left(range(limit + 1), True, key=lambda number: not fits(number)) - 1
