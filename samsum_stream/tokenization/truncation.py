"""Truncation methods that need only tokens: `drop`, `last_turns`, and `right`, which cuts the end of an example.

The other methods shorten the texts of the row, and render the row again so that its prompt stays complete. The renderer
implements them.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from samsum_stream.values.arrays import Int32Array


class TokenizedExample(NamedTuple):
    """One example, without the tokens that the tokenizer adds at the start.

    Attributes:
        ids: The token ids without the eos, shape `[T]`.
        spans: The trained spans, the eos included, shape `[S, 2]`.
        has_eos: Whether an eos follows the ids.
        cut: The names of the parts that were cut, as in `stats.truncated`.
    """

    ids: Int32Array
    spans: Int32Array
    has_eos: bool
    cut: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """The number of tokens, the eos included."""
        return len(self.ids) + self.has_eos


def drop(example: TokenizedExample, *, room: int) -> TokenizedExample | str:
    """The reason to drop any example."""
    return "longer_than_max_length"


def cut_right(example: TokenizedExample, *, room: int) -> TokenizedExample | str:
    """The first `room` tokens of the example, without an eos; the reason to drop it if no span starts in them."""
    spans = np.minimum(example.spans, max(room, 0))
    spans = spans[spans[:, 0] < spans[:, 1]]
    shorter = TokenizedExample(example.ids[: max(room, 0)], spans, False, ("right",))
    return shorter if len(spans) else "no_trained_token"


def cut_last_turns(example: TokenizedExample, *, room: int) -> TokenizedExample | str:
    """The example up to the end of the last span that fits into `room` tokens; the reason to drop it if none fits."""
    ends = example.spans[:, 1]
    num_kept = int(np.searchsorted(ends, max(room, 0), side="right"))
    if not num_kept:
        return "longer_than_max_length"
    return TokenizedExample(example.ids[: ends[num_kept - 1]], example.spans[:num_kept], False, ("last_turns",))


METHODS: dict[str, Callable[..., TokenizedExample | str]] = {
    "drop": drop,
    "last_turns": cut_last_turns,
    "right": cut_right,
    "split": drop,  # texts are split later
}
"""The methods by name. A method returns an example of at most `room` tokens, or the reason to drop the example."""
