"""The values that travel from stage to stage.

    Rows ──prompt──▶ Segments ──tokenizer──▶ Chunk of Examples ──packer──▶ Pack
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

IGNORE_INDEX = -100
"""The label that the loss leaves out (`torch.nn.CrossEntropyLoss.ignore_index`)."""

Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]


class Segment(NamedTuple):
    """A piece of rendered text that knows whether a row or the format wrote it."""

    text: str
    from_row: bool


class RowPosition(NamedTuple):
    """Where a row stands: `str()` of it reads like `samsum/train.jsonl:1234 (epoch 0)`."""

    source: str
    shard: str
    row: int
    epoch: int

    def __str__(self) -> str:
        place = "/".join(part for part in (self.source, self.shard) if part)
        return f"{place}:{self.row} (epoch {self.epoch})"


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows as columns, validated, with their positions: `n` entries in each.

    `contexts` is None where no row has any, so that the common case costs nothing.
    """

    inputs: list[str]
    responses: list[str]
    contexts: list[list[str]] | None
    shards: Int32Array
    rows: Int64Array

    def __len__(self) -> int:
        return len(self.inputs)

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
