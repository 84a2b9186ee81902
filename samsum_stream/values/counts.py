"""Counts by name: what they are called, and how a batch and a state list them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from samsum_stream.values.batches import Batch


class Leaf(Protocol):
    """What counts need of a source: its name among the children of a mixture, and where its shards start."""

    @property
    def name(self) -> str: ...
    @property
    def first_shard(self) -> int: ...


Counts = Counter[str]
"""Numbers by name, of the names in `COUNTED`."""


CHILD_COUNTED = ("examples", "tokens", "left_out")
"""What is counted of each child of a mixture, as `children.NAME.examples`; left out are dropped and skipped rows."""


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
