"""What went through the stream, counted: every drop and every cut by its reason."""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from samsum_stream.notebooks import repr_html
from samsum_stream.sources.base import Leaf
from samsum_stream.values.examples import BadRow, Batch

Counts = Counter[str]
"""Numbers by name, of the names in `COUNTED`."""

CHILD_COUNTED = ("examples", "tokens", "left_out")
"""What is counted of each child of a mixture, as `children.NAME.examples`; left out are dropped and skipped rows."""

MAX_QUARANTINED = 10_000
LEFT_OUT = ("dropped", "truncated", "skipped")

COUNTED = (
    "examples",
    "tokens",
    "trained_tokens",
    "packs",
    "capacity",
    "special_tokens_in_rows",
    "dropped.longer_than_max_length",
    "dropped.no_trained_token",
    "truncated.contexts",
    "truncated.input",
    "truncated.right",
    "skipped.missing_field",
    "skipped.wrong_type",
    "skipped.empty_response",
    "skipped.not_unicode",
    "skipped.not_utf8",
    "skipped.not_json",
    "skipped.not_a_row",
)
"""Everything that is counted, in the order in which a state lists it; new names go to the end."""

COUNTED_ROWS = {name for name in COUNTED if name.startswith(("examples", "dropped.", "skipped."))}
"""Of those, what each row is counted as once."""


def counted_of(leaves: Sequence[Leaf]) -> tuple[str, ...]:
    """Everything that is counted of a stream, in the order in which a state lists it."""
    return (*COUNTED, *(_of_child(leaf.name, what) for leaf in leaves if leaf.name for what in CHILD_COUNTED))


def counts_of_batch(batch: Batch, *, max_length: int, leaves: Sequence[Leaf] = ()) -> Counts:
    """What a batch adds when it is handed over."""
    lengths = batch.tokens.lengths
    counts = {
        "examples": len(lengths),
        "tokens": int(lengths.sum()),
        "trained_tokens": int((lengths - batch.num_masked_tokens).sum()),
        "packs": int(np.count_nonzero(batch.pack_sizes)),
        "capacity": len(batch.pack_sizes) * max_length,
    }
    return Counter(counts | _counts_of_children(batch, leaves))


def _counts_of_children(batch: Batch, leaves: Sequence[Leaf]) -> dict[str, int]:
    if not any(leaf.name for leaf in leaves):
        return {}
    children = np.searchsorted([leaf.first_shard for leaf in leaves], batch.records["shard"], side="right") - 1
    examples = np.bincount(children, minlength=len(leaves)).tolist()
    tokens = np.bincount(children, weights=batch.tokens.lengths, minlength=len(leaves)).astype(int).tolist()
    found = zip(leaves, examples, tokens, strict=True)
    return {
        _of_child(leaf.name, what): number
        for leaf, *numbers in found
        for what, number in zip(CHILD_COUNTED, numbers, strict=False)
    }


def left_out_of_child(name: str, counts: Mapping[str, int]) -> Counts:
    """What is counted of a child's rows that were dropped or skipped; nothing where the source is no child."""
    number = by_reason(counts, "dropped").total() + by_reason(counts, "skipped").total() if name else 0
    return Counter({_of_child(name, "left_out"): number} if number else {})


def _of_child(name: str, what: str) -> str:
    return f"children.{name}.{what}"


def all_dropped(counts: Mapping[str, int]) -> str:
    """What an error says where no row is left: why they were dropped, and the remedy."""
    found = by_reason(counts, "dropped") + by_reason(counts, "skipped")
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in found.items())
    remedies = {
        "dropped": "raise packing_config.kwargs.max_length, or choose another truncation_config.method",
        "skipped": "mend the rows, or name their columns under `columns:`",
    }
    remedy = "; ".join(text for what, text in remedies.items() if by_reason(counts, what))
    return f"were all left out ({reasons}); {remedy}"


def named(counts: Mapping[str, int]) -> dict[str, int]:
    """The numbers that are not 0, in the order of `COUNTED`, and those of children behind them."""
    return {name: counts[name] for name in [*COUNTED, *sorted({*counts} - {*COUNTED})] if counts.get(name)}


def listed(counts: Mapping[str, int], names: Sequence[str]) -> list[int]:
    """The numbers in the order of `names`, less the zeros at the end."""
    numbers = [counts.get(name, 0) for name in names]
    while numbers and not numbers[-1]:
        numbers.pop()
    return numbers


def unlisted(numbers: Sequence[int], names: Sequence[str]) -> Counts:
    """The counts that `listed` wrote down."""
    return Counter({name: number for name, number in zip(names, numbers, strict=False) if number})


def by_reason(counts: Mapping[str, int], what: str) -> Counts:
    """The counts of `dropped`, `truncated` or `skipped` rows, by reason."""
    parts = ((name.partition("."), number) for name, number in counts.items() if number)
    return Counter({reason: number for (start, _, reason), number in parts if start == what})


def num_rows_of(counts: Mapping[str, int]) -> int:
    """Rows of the examples, and of the dropped and the skipped ones."""
    return sum(number for name, number in counts.items() if name in COUNTED_ROWS)


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
        return repr_html(self)

    def __str__(self) -> str:
        names = ("rows", "examples", "tokens", "trained_tokens", "packs")
        counts = [f"{name} {getattr(self, name):,}" for name in names]
        left_out = [f"{name} {dict(getattr(self, name))}" for name in LEFT_OUT if getattr(self, name)]
        shares = [f"{name} {child.share:.1%}" for name, child in self.children.items()]
        return ", ".join([*counts, f"efficiency {self.efficiency:.2%}", *left_out, *shares])
