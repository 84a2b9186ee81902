"""Counts by name: which names there are, what a batch adds, and how a state lists the counts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from samsum_stream.values.batches import Batch


class Leaf(Protocol):
    """The attributes of a source, not a mixture, that counting uses."""

    @property
    def name(self) -> str:
        """The name of the source among the children of a mixture; empty outside of a mixture."""

    @property
    def first_shard(self) -> int:
        """The number of the source's first shard among the shards of all sources."""


Counts = Counter[str]
"""Numbers by name; the names are those of `COUNTED`, and those of `CHILD_COUNTED` for each child of a mixture."""

CHILD_COUNTED = ("examples", "tokens", "rows")
"""What is counted for each child of a mixture, as `children.NAME.examples`."""

LEFT_OUT = ("dropped", "truncated", "skipped")

NOT_SELECTED = {
    "dropped.where": "where",
    "dropped.filter": "filter",
    "dropped.shorter_than_min_tokens": "min_tokens",
    "dropped.longer_than_max_tokens": "max_tokens",
}
"""The outcomes of rows and examples that the config does not select, and the key of the config that decides."""

UNTRAINED_TURNS = ("turns.prompt_is_no_prefix", "turns.no_stop_token", "turns.template_refuses")
"""The turns of conversations that are not trained, by reason."""

SPLITS = ("splits.history", "splits.border", "splits.length")
"""The examples that start because the example before cannot contain more of the row, by reason."""

COUNTED = (
    "rows",
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
    "skipped.bad_conversation",
    "skipped.no_trained_turn",
    "skipped.template_refuses",
    "skipped.prompt_is_no_prefix",
    "skipped.no_stop_token",
    "skipped.content_is_lost",
    "skipped.rewritten_history",
    "truncated.turns",
    "truncated.last_turns",
    "turns.trained",
    "turns.prompt_is_no_prefix",
    "turns.no_stop_token",
    "turns.template_refuses",
    "turns.thinking_on",
    "turns.thinking_off",
    "turns.after_last_turn",
    "splits.history",
    "splits.border",
    "splits.length",
    "skipped.empty_text",
    "skipped.bad_ids",
    "skipped.bad_labels",
    "skipped.no_borders",
    "dropped.where",
    "dropped.filter",
    "skipped.map_failed",
    "skipped.filter_failed",
    "dropped.shorter_than_min_tokens",
    "dropped.longer_than_max_tokens",
    "skipped.no_place_for_a_cut",
)
"""All names, in the order in which a state lists their numbers. New names go to the end.

Rows are counted when the cursor of their lane passes them; examples, tokens and packs when their batch is delivered.
"""


def counted_of(leaves: Sequence[Leaf]) -> tuple[str, ...]:
    """All names that are counted for a stream, in the order in which a state lists their numbers."""
    return (*COUNTED, *(of_child(leaf.name, what) for leaf in leaves if leaf.name for what in CHILD_COUNTED))


def counts_of_batch(batch: Batch, *, max_length: int, leaves: Sequence[Leaf] = ()) -> Counts:
    """What a batch adds when it is delivered."""
    counts = {
        "examples": len(batch.records),
        "tokens": len(batch.tokens.ids),
        "trained_tokens": int(np.count_nonzero(batch.trained)),
        "packs": int(np.count_nonzero(batch.pack_sizes)),
        "capacity": len(batch.pack_sizes) * max_length,
        "turns.trained": len(batch.spans),
    }
    return Counter(counts | _counts_of_children(batch, leaves))


def _counts_of_children(batch: Batch, leaves: Sequence[Leaf]) -> dict[str, int]:
    if not any(leaf.name for leaf in leaves):
        return {}
    children = child_of_each(batch, leaves)
    examples = np.bincount(children, minlength=len(leaves)).tolist()
    tokens = np.bincount(children, weights=batch.tokens.lengths, minlength=len(leaves)).astype(int).tolist()
    counts: dict[str, int] = {}
    for leaf, num_examples, num_tokens in zip(leaves, examples, tokens, strict=True):
        counts |= {of_child(leaf.name, "examples"): num_examples, of_child(leaf.name, "tokens"): num_tokens}
    return counts


def child_of_each(batch: Batch, leaves: Sequence[Leaf]) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """The index of the leaf that each example comes from, shape `[n]`."""
    return np.searchsorted([leaf.first_shard for leaf in leaves], batch.records["shard"], side="right") - 1


def counts_of_rows(number: int, *, child: str) -> Counts:
    """The counts of rows that a lane passes; `child` is the name of their source among the children of a mixture."""
    return Counter({"rows": number, of_child(child, "rows"): number} if child else {"rows": number})


def efficiency(num_tokens: int, capacity: int) -> float:
    """The share of the capacity of packs that tokens fill, 0 to 1; 0 without a pack."""
    return num_tokens / capacity if capacity else 0.0


def of_child(name: str, what: str) -> str:
    """The name of a count of a mixture's child."""
    return f"children.{name}.{what}"


def untrained_turns(counts: Mapping[str, int]) -> Counts:
    """The turns of conversations that are not trained, by reason."""
    turns = by_reason(counts, "turns")
    return Counter({reason: turns[reason] for name in UNTRAINED_TURNS if turns[reason := name.partition(".")[2]]})


def why_none_is_left(counts: Mapping[str, int]) -> str:
    """The part of an error that says why no row is left, and the remedy."""
    numbers = by_reason(counts, "dropped") + by_reason(counts, "skipped")
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in numbers.items())
    outcomes = [name for name, number in counts.items() if number]
    remedies = (_REMEDIES.get(name) or _REMEDIES.get(name.partition(".")[0]) for name in outcomes)
    remedy = "; ".join(dict.fromkeys(filter(None, remedies)))
    return f"were all left out ({reasons or 'they have no example'}); {remedy or 'check the rows'}"


_REMEDIES = {
    **dict.fromkeys(
        ("dropped.where", "dropped.filter"),
        "check `where` and `filter` of the source, or lower lanes if few rows are selected",
    ),
    "dropped.shorter_than_min_tokens": "lower truncation_config.min_tokens",
    "dropped.longer_than_max_tokens": "raise truncation_config.max_tokens",
    "dropped": "raise packing_config.kwargs.max_length, or choose another truncation_config.method",
    "skipped": "fix the rows, or name their columns under `columns:`",
}
"""What helps against an outcome, or against the other outcomes of a group."""


def nonzero(counts: Mapping[str, int]) -> dict[str, int]:
    """The numbers that are not 0, in the order of `COUNTED`, then those of children."""
    return {name: counts[name] for name in [*COUNTED, *sorted({*counts} - {*COUNTED})] if counts.get(name)}


def to_numbers(counts: Mapping[str, int], names: Sequence[str]) -> list[int]:
    """The numbers in the order of `names`, without the zeros at the end."""
    numbers = [counts.get(name, 0) for name in names]
    while numbers and not numbers[-1]:
        numbers.pop()
    return numbers


def from_numbers(numbers: Sequence[int], names: Sequence[str]) -> Counts:
    """The counts that `to_numbers` wrote."""
    return Counter({name: number for name, number in zip(names, numbers, strict=False) if number})


def by_reason(counts: Mapping[str, int], what: str) -> Counts:
    """The counts of a group such as `dropped`, `skipped` or `splits`, by reason."""
    parts = ((name.partition("."), number) for name, number in counts.items() if number)
    return Counter({reason: number for (start, _, reason), number in parts if start == what})
