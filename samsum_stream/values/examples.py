"""The values that travel from stage to stage.

Rows ──prompt──▶ Segments ──tokenizer──▶ Chunk of Examples ──packer──▶ Pack
"""

from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from samsum_stream.values.arrays import Int32Array, Int64Array, Ragged, offsets_of
from samsum_stream.values.rows import RowPosition

IGNORE_INDEX = -100
"""The label that the loss leaves out (`torch.nn.CrossEntropyLoss.ignore_index`)."""


class Segment(NamedTuple):
    """A piece of rendered text that knows whether a row or the format wrote it."""

    text: str
    from_row: bool


class Example(NamedTuple):
    """One tokenized row. The arrays are views, int32, of shape `[T]`."""

    input_ids: Int32Array
    num_prompt_tokens: int
    position: RowPosition

    @property
    def num_masked_tokens(self) -> int:
        """Tokens without a label at the start: the prompt, and always the first one.

        In a pack the first token would be predicted from the previous document, so it never trains.
        """
        return max(self.num_prompt_tokens, 1)

    @property
    def labels(self) -> Int32Array:
        """`input_ids` on the response, `IGNORE_INDEX` on the prompt and on the first token."""
        labels = self.input_ids.copy()
        labels[: self.num_masked_tokens] = IGNORE_INDEX
        return labels

    def __repr__(self) -> str:
        return (
            f"<Example: {self.position}, {len(self.input_ids):,} tokens, the first {self.num_masked_tokens:,} masked>"
        )


EXAMPLE_RECORD = np.dtype(
    [
        ("length", np.int32),
        ("num_prompt_tokens", np.int32),
        ("shard", np.int32),
        ("epoch", np.int32),
        ("row", np.int64),
    ]
)
"""What is known of an example beside its tokens: 24 bytes, which travel with them from chunk to batch."""


Records = NDArray[np.void]
"""Examples as an array of `EXAMPLE_RECORD`, shape `[n]`."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """`n` examples: no Python object per token.

    `ids` are those of each example, int32, as bytes; `rows` says which row of the chunk each example is; `events` are
    what befell rows on the way, dropped ones included, as the row of the chunk and a name of `stats.COUNTED`.
    """

    ids: list[bytes]
    records: Records
    rows: Int64Array
    events: tuple[tuple[int, str], ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    @property
    def tokens(self) -> Ragged:
        """The ids of all examples, in one array."""
        return Ragged(np.frombuffer(b"".join(self.ids), np.int32), offsets_of(self.records["length"]))

    def record_bytes(self) -> list[bytes]:
        """The record of each example, as an `EXAMPLE_RECORD`."""
        records: list[bytes] = self.records.view(f"V{EXAMPLE_RECORD.itemsize}").tolist()
        return records

    def select(self, kept: NDArray[np.bool_]) -> "Chunk":
        """The examples where `kept` is true, shape `[n]`, with the events of all rows."""
        return Chunk([*compress(self.ids, kept.tolist())], self.records[kept], self.rows[kept], self.events)


Item = tuple[int, bytes, bytes, int]
"""An example that waits for its pack: its length in tokens, its ids, its record, its row's ordinal.

Ids and record are bytes: cut and joined in about half the time of arrays, and passed over by the garbage collector.
"""
