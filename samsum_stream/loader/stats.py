"""Counts of the delivered data, and of every dropped, truncated and skipped row by its reason."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.table import Table

from samsum_stream.showing.marks import HEADER
from samsum_stream.showing.pages import as_html
from samsum_stream.sources.base import Leaf
from samsum_stream.values.counts import (
    CHILD_COUNTED,
    LEFT_OUT,
    Counts,
    by_reason,
    efficiency,
    of_child,
    untrained_turns,
)
from samsum_stream.values.rows import BadRow

MAX_QUARANTINED = 10_000

TOTALS = ("rows", "examples", "tokens", "trained_tokens", "packs")
"""The attributes of `Stats` that its views show, in their order."""


OF_CONVERSATIONS = ("turns", "splits", "untrained_turns")
"""The attributes that the views show after those of `LEFT_OUT`, if a stream has conversations."""


class ChildStats(NamedTuple):
    """Totals of one child of a mixture.

    Attributes:
        rows: Number of rows that the lanes have passed, dropped and skipped rows included.
        examples: Number of delivered examples.
        tokens: Number of tokens in these examples.
        share: Share of the tokens of all children, 0 to 1.
        share_of_examples: Share of the examples of all children, 0 to 1.
        epochs: Rows / number of rows of the child, over all ranks; None if the number of rows is unknown.
    """

    rows: int
    examples: int
    tokens: int
    share: float
    share_of_examples: float
    epochs: float | None


class Stats:
    """Totals of the data that was delivered, dropped, truncated and skipped.

    Args:
        leaves: The sources of the stream; several for a mixture.

    Attributes:
        num_ranks: Number of ranks that share the rows. The totals are those of one rank.
        counts: The counts by name.
        rows_passed_over: Rows that workers read only to reach their own rows; 0 if rows can be read in any order. It
            depends on the number of ranks and workers, unlike the counts, and is not part of a state.
        seconds_waited: Seconds that the training process waited for batches. Not part of a state.
        seconds_waited_for_files: Seconds that all workers together waited for remote files. Not part of a state.
        quarantine: The last `MAX_QUARANTINED` skipped bad rows: position, field, reason. Not part of a state.
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
        """The rows that the lanes have passed: each row counts once, also a dropped or skipped one."""
        return self.counts["rows"]

    @property
    def examples(self) -> int:
        """Number of delivered examples."""
        return self.counts["examples"]

    @property
    def tokens(self) -> int:
        """Number of delivered tokens, without padding."""
        return self.counts["tokens"]

    @property
    def trained_tokens(self) -> int:
        """Number of delivered tokens with a label."""
        return self.counts["trained_tokens"]

    @property
    def packs(self) -> int:
        """Number of delivered packs, without rows of padding."""
        return self.counts["packs"]

    @property
    def capacity(self) -> int:
        """Tokens that fit into the rows of all batches, including rows of padding."""
        return self.counts["capacity"]

    @property
    def special_tokens_in_rows(self) -> int:
        """Number of rows in which a text of the row spells a special token."""
        return self.counts["special_tokens_in_rows"]

    @property
    def dropped(self) -> Counts:
        """Number of dropped examples by reason. A dropped example reaches no batch."""
        return by_reason(self.counts, "dropped")

    @property
    def truncated(self) -> Counts:
        """Number of truncated examples by the part that was cut."""
        return by_reason(self.counts, "truncated")

    @property
    def skipped(self) -> Counts:
        """Number of skipped bad rows by reason."""
        return by_reason(self.counts, "skipped")

    @property
    def turns(self) -> Counts:
        """Number of trained turns (`trained`), of turns for which serving must set `enable_thinking` (`thinking_on`,
        `thinking_off`), and of rows with messages after their last trained turn (`after_last_turn`).

        A row that is not a conversation has one turn in each example.
        """
        return by_reason(self.counts, "turns") - self.untrained_turns

    @property
    def splits(self) -> Counts:
        """Number of examples after the first one of a row, by reason. `history`: the chat template rewrites earlier
        turns. `border`: a token would cross the border of a turn. `length`: the text is longer than `max_length`.
        """
        return by_reason(self.counts, "splits")

    @property
    def untrained_turns(self) -> Counts:
        """Number of turns of conversations that are not trained, by reason."""
        return untrained_turns(self.counts)

    @property
    def examples_per_row(self) -> float:
        """`examples / rows`; 0 before the first row."""
        return self.examples / self.rows if self.rows else 0.0

    @property
    def children(self) -> dict[str, ChildStats]:
        """The children of a mixture by name; the child of a nested mixture is named `outer/inner`."""
        return {name: self._child(name, num_rows) for name, num_rows in self._children.items()}

    def _child(self, name: str, num_rows: int | None) -> ChildStats:
        examples, tokens, rows = (self.counts[of_child(name, what)] for what in CHILD_COUNTED)
        epochs = None if num_rows is None else rows * self.num_ranks / num_rows
        share, share_of_examples = tokens / max(self.tokens, 1), examples / max(self.examples, 1)
        return ChildStats(rows, examples, tokens, share, share_of_examples, epochs)

    @property
    def efficiency(self) -> float:
        """`tokens / capacity`, 0 to 1; 0 before the first pack."""
        return efficiency(self.tokens, self.capacity)

    def _repr_html_(self) -> str:
        return as_html(shown_stats(self))

    def __str__(self) -> str:
        counts = [f"{name} {getattr(self, name):,}" for name in TOTALS]
        by_reasons = [f"{name} {dict(numbers)}" for name, numbers in _by_reasons(self)]
        shares = [f"{name} {child.share:.1%}" for name, child in self.children.items()]
        return ", ".join([*counts, f"efficiency {self.efficiency:.2%}", *by_reasons, *shares])


def shown_stats(stats: Stats) -> Table:
    """A table with one number per row: totals, left-out rows by reason, and the shares of a mixture's children."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style=HEADER)
    table.add_column(justify="right")
    for name in TOTALS:
        table.add_row(name, f"{getattr(stats, name):,}")
    table.add_row("efficiency", f"{stats.efficiency:.2%}")
    if stats.splits:
        table.add_row("examples per row", f"{stats.examples_per_row:.2f}")
    for what, numbers in _by_reasons(stats):
        for reason, number in numbers.items():
            table.add_row(f"{what}: {reason}", f"{number:,}")
    for name, child in stats.children.items():
        table.add_row(f"tokens of {name}", f"{child.tokens:,} ({child.share:.1%})")
    return table


def _by_reasons(stats: Stats) -> Iterator[tuple[str, Counts]]:
    """The counts by reason that are not all zero. One turn in each example is not worth a line."""
    has_only_single_turns = stats.turns == Counts(trained=stats.examples)
    for name in (*LEFT_OUT, *OF_CONVERSATIONS):
        numbers: Counts = getattr(stats, name)
        if numbers and not (name == "turns" and has_only_single_turns):
            yield name, numbers
