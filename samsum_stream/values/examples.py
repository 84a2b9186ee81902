"""Tokenized examples: token ids, trained spans, and a record of each.

input_ids   <s>  Summarize  this  :  A  B  </s>  Next  :  C  </s>
spans                                [4    7)             [9   11)       the tokens that have a label
"""

from dataclasses import dataclass, replace
from itertools import compress, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from samsum_stream.values.arrays import BoolArray, Int32Array, Int64Array, Ragged, offsets_of, sums_of
from samsum_stream.values.rows import RowPosition

IGNORE_INDEX = -100
"""The label that the loss leaves out (`torch.nn.CrossEntropyLoss.ignore_index`)."""


class Example(NamedTuple):
    """One tokenized example of a row.

    Attributes:
        input_ids: The token ids, int32, shape `[T]`.
        spans: The start and the end of each trained span, in tokens, ascending, int32, shape `[S, 2]`.
        position: The position of the row, with the number of the example in its row.
    """

    input_ids: Int32Array
    spans: Int32Array
    position: RowPosition

    @property
    def trained(self) -> BoolArray:
        """Whether each token has a label, shape `[T]`."""
        offsets = offsets_of([len(self.input_ids)])
        return trained_mask(self.spans, offsets=offsets, num_spans=np.array([len(self.spans)]))

    @property
    def labels(self) -> Int32Array:
        """`input_ids` on the trained tokens, `IGNORE_INDEX` on the others, int32, shape `[T]`."""
        return np.where(self.trained, self.input_ids, np.int32(IGNORE_INDEX))

    def __repr__(self) -> str:
        num_trained = np.count_nonzero(self.trained)
        return f"<Example: {self.position}, {len(self.input_ids):,} tokens, {num_trained:,} trained>"


def trained_mask(spans: Int32Array, *, offsets: Int64Array, num_spans: Int64Array | Int32Array) -> BoolArray:
    """Whether each token of examples, end to end, has a label, shape `[offsets[-1]]`.

    The first token of an example has no label: in a pack, the model would predict it from the previous document.

    Args:
        spans: The spans of all examples, shape `[sum of num_spans, 2]`; tokens count from the start of their example.
        offsets: The first token of each example, then the number of tokens, shape `[n + 1]`.
        num_spans: The number of spans of each example, shape `[n]`.
    """
    borders = np.zeros(2 * len(spans) + 2, np.int64)
    borders[-1] = offsets[-1]
    first_to_last = np.maximum(spans, 1) + np.repeat(offsets[:-1], num_spans)[:, None]
    borders[1:-1] = np.minimum(first_to_last, offsets[-1]).ravel()  # the last examples may have no token
    is_trained = np.zeros(len(borders) - 1, np.bool_)
    is_trained[1::2] = True
    return np.repeat(is_trained, borders[1:] - borders[:-1])


EXAMPLE_RECORD = np.dtype(
    [
        ("length", np.int32),
        ("num_spans", np.int32),
        ("shard", np.int32),
        ("epoch", np.int32),
        ("row", np.int64),
        ("part", np.int32),
    ]
)
"""The metadata of an example: 28 bytes, which stay beside its tokens and spans from chunk to batch."""

Records = NDArray[np.void]
"""Examples as an array of `EXAMPLE_RECORD`, shape `[n]`."""


class Event(NamedTuple):
    """What happened to an example or its row: a name of `COUNTED`; `row` and `part` as in `Chunk`."""

    row: int
    part: int
    name: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """`n` examples of some rows, without a Python object for each token.

    Attributes:
        ids: The token ids of each example, int32, as bytes.
        spans: The trained spans of all examples, shape `[sum of num_spans, 2]`.
        records: The record of each example.
        rows: The index of each example's row among the rows, ascending, shape `[n]`.
        num_rendered: The number of examples that each row was rendered to, dropped examples included, shape `[rows]`.
        events: What was dropped, truncated or noticed.
    """

    ids: list[bytes]
    spans: Int32Array
    records: Records
    rows: Int64Array
    num_rendered: Int64Array
    events: tuple[Event, ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    @classmethod
    def none(cls) -> "Chunk":
        """No example, of no row."""
        numbers = np.empty(0, np.int64)
        return cls([], np.empty((0, 2), np.int32), np.empty(0, EXAMPLE_RECORD), numbers, numbers)

    @property
    def tokens(self) -> Ragged:
        """The ids of all examples, in one array."""
        return Ragged(np.frombuffer(b"".join(self.ids), np.int32), offsets_of(self.records["length"]))

    @property
    def num_trained(self) -> Int64Array:
        """The number of tokens with a label in each example, shape `[n]`."""
        offsets = offsets_of(self.records["length"])
        mask = trained_mask(self.spans, offsets=offsets, num_spans=self.records["num_spans"])
        return sums_of(mask, self.records["length"])

    def record_bytes(self) -> list[bytes]:
        """The record of each example, as bytes."""
        records: list[bytes] = self.records.view(f"V{EXAMPLE_RECORD.itemsize}").tolist()
        return records

    def span_bytes(self) -> list[bytes]:
        """The spans of each example, int32, as bytes."""
        spans: list[bytes] = np.ascontiguousarray(self.spans).view("V8").ravel().tolist()
        if (self.records["num_spans"] == 1).all():
            return spans
        ends = offsets_of(self.records["num_spans"]).tolist()
        return [b"".join(spans[start:end]) for start, end in pairwise(ends)]

    def select(self, kept: BoolArray) -> "Chunk":
        """The examples where `kept` is true, shape `[n]`, with the events of all rows."""
        spans = self.spans[np.repeat(kept, self.records["num_spans"])]
        ids = [*compress(self.ids, kept.tolist())]
        return Chunk(ids, spans, self.records[kept], self.rows[kept], self.num_rendered, self.events)

    def of_rows(self, indices: Int64Array, *, num_rows: int) -> "Chunk":
        """The same examples, of the rows at `indices` of `num_rows` rows; the other rows have no example."""
        num_rendered = np.zeros(num_rows, np.int64)
        num_rendered[indices] = self.num_rendered
        events = tuple(event._replace(row=int(indices[event.row])) for event in self.events)
        return replace(self, rows=indices[self.rows], num_rendered=num_rendered, events=events)


Item = tuple[int, int, bytes, bytes, bytes, int]
"""An example on its way to a pack: length in tokens, 1 if it is the first example of its row and 0 if not, ids, spans,
record, example index.

Ids, spans and record are bytes: bytes take about half the time of arrays to slice and join, and the garbage collector
skips them.
"""
