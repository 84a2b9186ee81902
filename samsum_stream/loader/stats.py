"""What went through the stream, counted: every drop and every cut by its reason."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from rich.table import Table

from samsum_stream.showing.marks import HEADER
from samsum_stream.showing.pages import as_html
from samsum_stream.sources.base import Leaf
from samsum_stream.values.counts import (
    CHILD_COUNTED,
    LEFT_OUT,
    Counts,
    _of_child,
    by_reason,
    num_rows_of,
)
from samsum_stream.values.rows import BadRow

MAX_QUARANTINED = 10_000


class ChildStats(NamedTuple):
    """What became of a child of a mixture.

    Attributes:
        rows: Rows of its examples handed over, and of the dropped and the skipped ones.
        examples: Its examples.
        tokens: Their tokens.
        share: Its share of the tokens of all children, 0 to 1.
        share_of_examples: Its share of their examples.
        epochs: How often its rows went by; None where their number is not known.
    """

    rows: int
    examples: int
    tokens: int
    share: float
    share_of_examples: float
    epochs: float | None


class Stats:
    """Totals of what was handed over, and of what was left out on the way.

    Args:
        leaves: The sources of the stream.

    Attributes:
        num_ranks: How many ranks share the rows, of which these are one's.
        counts: The numbers by name.
        rows_passed_over: Rows that workers read only to reach their own; 0 where rows can be read in any order. Unlike
            the counts it depends on who reads, and is no part of a state.
        seconds_waited: Seconds that the training process waited for batches. No part of a state.
        seconds_waited_for_files: Seconds that workers, taken together, waited for remote files. No part of a state.
        quarantine: The last `MAX_QUARANTINED` bad rows that were skipped: position, field, reason. No part of a state.
    """

    def __init__(self, leaves: Sequence[Leaf] = ()) -> None:
        self.counts = Counts()
        self.num_ranks = 1
        self._children = {leaf.name: leaf.source.num_rows for leaf in leaves if leaf.name}
        self.rows_passed_over = 0
        self.seconds_waited = self.seconds_waited_for_files = 0.0
        self.quarantine: deque[BadRow] = deque(maxlen=MAX_QUARANTINED)

    @property
    def rows(self) -> int:
        """Rows of the examples handed over, and of the dropped and the skipped ones."""
        return num_rows_of(self.counts)

    @property
    def examples(self) -> int:
        return self.counts["examples"]

    @property
    def tokens(self) -> int:
        """Real tokens, no padding."""
        return self.counts["tokens"]

    @property
    def trained_tokens(self) -> int:
        """Tokens with a label."""
        return self.counts["trained_tokens"]

    @property
    def packs(self) -> int:
        return self.counts["packs"]

    @property
    def capacity(self) -> int:
        """Room in the rows of all batches, in tokens: that of the packs, and of rows of padding beside them."""
        return self.counts["capacity"]

    @property
    def special_tokens_in_rows(self) -> int:
        """Rows whose own text spells a special token."""
        return self.counts["special_tokens_in_rows"]

    @property
    def dropped(self) -> Counts:
        """How many rows never reached a batch, by reason."""
        return by_reason(self.counts, "dropped")

    @property
    def truncated(self) -> Counts:
        """How many rows were shortened, by what was cut."""
        return by_reason(self.counts, "truncated")

    @property
    def skipped(self) -> Counts:
        """How many bad rows were skipped, by reason."""
        return by_reason(self.counts, "skipped")

    @property
    def children(self) -> dict[str, ChildStats]:
        """The children of a mixture by name; those of a mixture in it read `outer/inner`."""
        return {name: self._child(name, num_rows) for name, num_rows in self._children.items()}

    def _child(self, name: str, num_rows: int | None) -> ChildStats:
        examples, tokens, left_out = (self.counts[_of_child(name, what)] for what in CHILD_COUNTED)
        rows = examples + left_out
        epochs = None if num_rows is None else rows * self.num_ranks / num_rows
        share, share_of_examples = tokens / max(self.tokens, 1), examples / max(self.examples, 1)
        return ChildStats(rows, examples, tokens, share, share_of_examples, epochs)

    @property
    def efficiency(self) -> float:
        """Real tokens / capacity, 0 to 1; 0 before the first pack."""
        return self.tokens / self.capacity if self.capacity else 0.0

    def _repr_html_(self) -> str:
        return as_html(shown_stats(self))

    def __str__(self) -> str:
        names = ("rows", "examples", "tokens", "trained_tokens", "packs")
        counts = [f"{name} {getattr(self, name):,}" for name in names]
        left_out = [f"{name} {dict(getattr(self, name))}" for name in LEFT_OUT if getattr(self, name)]
        shares = [f"{name} {child.share:.1%}" for name, child in self.children.items()]
        return ", ".join([*counts, f"efficiency {self.efficiency:.2%}", *left_out, *shares])


def shown_stats(stats: Stats) -> Table:
    """A number a row: totals, what was left out by reason, and the shares of a mixture's children."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style=HEADER)
    table.add_column(justify="right")
    for name in ("rows", "examples", "tokens", "trained_tokens", "packs"):
        table.add_row(name, f"{getattr(stats, name):,}")
    table.add_row("efficiency", f"{stats.efficiency:.2%}")
    for what in LEFT_OUT:
        for reason, number in getattr(stats, what).items():
            table.add_row(f"{what}: {reason}", f"{number:,}")
    for name, child in stats.children.items():
        table.add_row(f"tokens of {name}", f"{child.tokens:,} ({child.share:.1%})")
    return table
