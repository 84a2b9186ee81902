"""Rows, their positions, and bad rows."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from samsum_stream.values.arrays import Int32Array, Int64Array


class RowPosition(NamedTuple):
    """Where a row stands: `str()` of it reads like `samsum/train.jsonl:1234 (epoch 0)`."""

    source: str
    shard: str
    row: int
    epoch: int

    @property
    def place(self) -> str:
        """The same in every epoch: `samsum/train.jsonl:1234`."""
        return f"{'/'.join(part for part in (self.source, self.shard) if part)}:{self.row}"

    def __str__(self) -> str:
        return f"{self.place} (epoch {self.epoch})"


class BadRow(NamedTuple):
    """A row that was skipped: where it stands, which field broke a rule (empty: the whole row), and which rule."""

    position: RowPosition
    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows as columns, validated, with their positions: `n` entries in each.

    `contexts` is None where no row has any, so that the common case costs nothing. `skipped` are bad rows that were
    asked for as well, each with its place among all that were.
    """

    inputs: list[str]
    responses: list[str]
    contexts: list[list[str]] | None
    shards: Int32Array
    rows: Int64Array
    skipped: tuple[tuple[int, BadRow], ...] = ()

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def num_asked(self) -> int:
        """Rows that were asked for: good ones and bad ones."""
        return len(self) + len(self.skipped)

    @property
    def places(self) -> Int64Array:
        """The place of each row among all that were asked for, shape `[n]`."""
        asked = np.arange(self.num_asked)
        return np.delete(asked, [place for place, _ in self.skipped]) if self.skipped else asked

    @classmethod
    def none(cls, *skipped: BadRow) -> "Rows":
        """No good row, and as many bad ones as are given."""
        return cls([], [], None, np.empty(0, np.int32), np.empty(0, np.int64), tuple(enumerate(skipped)))

    @classmethod
    def joined(cls, first: "Rows", second: "Rows") -> "Rows":
        """The rows of both, one behind the other."""
        has_contexts = first.contexts is not None or second.contexts is not None
        return cls(
            inputs=first.inputs + second.inputs,
            responses=first.responses + second.responses,
            contexts=[texts for rows in (first, second) for texts in rows.contexts or [[]] * len(rows)]
            if has_contexts
            else None,
            shards=np.concatenate([first.shards, second.shards]),
            rows=np.concatenate([first.rows, second.rows]),
            skipped=first.skipped + tuple((first.num_asked + place, bad) for place, bad in second.skipped),
        )

    def of_shards_from(self, first_shard: int) -> "Rows":
        """The same rows where shards are counted from another number on."""
        return replace(self, shards=self.shards + np.int32(first_shard)) if first_shard else self

    def select(self, indices: Int64Array) -> "Rows":
        """The rows at `indices`, in that order."""
        picked = indices.tolist()
        return Rows(
            inputs=[self.inputs[i] for i in picked],
            responses=[self.responses[i] for i in picked],
            contexts=None if self.contexts is None else [self.contexts[i] for i in picked],
            shards=self.shards[indices],
            rows=self.rows[indices],
        )
