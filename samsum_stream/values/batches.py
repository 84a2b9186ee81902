"""Packs and batches, with their provenance.

A batch is one buffer of int32 words, which crosses a process border as one copy:

[ num_packs, n | pack sizes | records, seven words each | spans, two words each | token ids ]
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from samsum_stream.errors.wording import counted
from samsum_stream.values.arrays import BoolArray, Int32Array, Int64Array, Ragged, offsets_of, sums_of
from samsum_stream.values.examples import EXAMPLE_RECORD, Example, Item, Records, trained_mask
from samsum_stream.values.rows import RowPosition

HEADER = 2
WORDS_PER_RECORD = EXAMPLE_RECORD.itemsize // 4

Locate = Callable[[int, int, int], RowPosition]
"""The position of a row, from its shard number, its row number and its epoch."""


@dataclass(frozen=True, slots=True, repr=False)
class Pack:
    """Examples that share one row of a batch."""

    examples: tuple[Example, ...]

    @property
    def num_tokens(self) -> int:
        """The tokens of all examples."""
        return sum(len(example.input_ids) for example in self.examples)

    def __repr__(self) -> str:
        return f"<Pack: {counted(len(self.examples), 'example')}, {self.num_tokens:,} tokens>"


class BatchViews(NamedTuple):
    """The parts of a batch's buffer; see `Batch`."""

    pack_sizes: Int32Array
    records: Records
    spans: Int32Array
    tokens: Ragged


@dataclass(frozen=True, eq=False)
class Batch:
    """The packs of one batch, end to end: `n` examples. All arrays are views into `buffer`."""

    buffer: bytes = field(repr=False)

    @classmethod
    def of_items(cls, packs: Sequence[Sequence[Item]], *, num_packs: int = 0) -> "Batch":
        """The batch of some packs; empty packs are added if there are fewer than `num_packs`."""
        items = [item for pack in packs for item in pack]
        sizes = [*map(len, packs), *[0] * (num_packs - len(packs))]
        header = np.array([len(sizes), len(items), *sizes], np.int32)
        _, _, ids, spans, records, _ = zip(*items, strict=True) if items else [()] * 6
        return cls(b"".join([header.tobytes(), *records, *spans, *ids]))

    @classmethod
    def of_packs(cls, packs: Sequence[Pack]) -> "Batch":
        """The batch of `Pack` objects, without row positions."""
        examples = [example for pack in packs for example in pack.examples]
        records = np.zeros(len(examples), EXAMPLE_RECORD)
        records["length"] = [len(example.input_ids) for example in examples]
        records["num_spans"] = [len(example.spans) for example in examples]
        header = np.array([len(packs), len(examples), *(len(pack.examples) for pack in packs)], np.int32)
        spans = [np.asarray(example.spans, np.int32).tobytes() for example in examples]
        ids = [np.asarray(example.input_ids, np.int32).tobytes() for example in examples]
        return cls(b"".join([header.tobytes(), records.tobytes(), *spans, *ids]))

    def __reduce__(self) -> tuple[Any, ...]:
        return Batch, (self.buffer,)  # without the views

    @cached_property
    def views(self) -> BatchViews:
        """The parts of the buffer."""
        words = np.frombuffer(self.buffer, np.int32)
        num_packs, n = words[:HEADER].tolist()
        records_at = HEADER + num_packs
        spans_at = records_at + n * WORDS_PER_RECORD
        records = words[records_at:spans_at].view(EXAMPLE_RECORD)
        offsets = offsets_of(records["length"])
        ids_at = len(words) - int(offsets[-1])
        spans = words[spans_at:ids_at].reshape(-1, 2)
        return BatchViews(words[HEADER:records_at], records, spans, Ragged(words[ids_at:], offsets))

    @property
    def pack_sizes(self) -> Int32Array:
        """The number of examples of each pack, shape `[num_packs]`."""
        return self.views.pack_sizes

    @property
    def records(self) -> Records:
        """The record of each example, shape `[n]`."""
        return self.views.records

    @property
    def spans(self) -> Int32Array:
        """The trained spans of all examples, shape `[sum of num_spans, 2]`."""
        return self.views.spans

    @property
    def tokens(self) -> Ragged:
        """The token ids of each example."""
        return self.views.tokens

    @cached_property
    def trained(self) -> BoolArray:
        """Whether each token has a label, shape `[sum T]`."""
        return trained_mask(self.spans, offsets=self.tokens.offsets, num_spans=self.records["num_spans"])

    @property
    def num_trained(self) -> Int64Array:
        """The number of tokens with a label in each example, shape `[n]`."""
        return sums_of(self.trained, self.tokens.lengths)

    @property
    def spans_of_examples(self) -> list[Int32Array]:
        """The trained spans of each example."""
        return Ragged(self.spans, offsets_of(self.records["num_spans"])).split()

    @property
    def pack_offsets(self) -> Int64Array:
        """The start of each pack among the tokens, then the end of the last one, shape `[num_packs + 1]`."""
        return self.tokens.offsets[offsets_of(self.pack_sizes)]

    def with_ids(self, ids: Int32Array) -> "Batch":
        """The same batch with other token ids, shape `[sum T]`."""
        return Batch(self.buffer[: len(self.buffer) - self.tokens.ids.nbytes] + ids.astype(np.int32).tobytes())

    def packs(self, locate: Locate) -> list[Pack]:
        """The packs as objects, the empty ones included; `locate` gives the position of a row."""
        records = self.records
        examples = [
            Example(ids, example_spans, locate(shard, row, epoch)._replace(part=part))
            for ids, example_spans, (_, _, shard, epoch, row, part) in zip(
                self.tokens.split(), self.spans_of_examples, records.tolist(), strict=True
            )
        ]
        ends = offsets_of(self.pack_sizes).tolist()
        return [Pack(tuple(examples[start:end])) for start, end in pairwise(ends)]


@dataclass(frozen=True)
class BatchInfo:
    """The provenance of one batch.

    Attributes:
        batch: The global number of the batch.
        lane: The lane that the batch comes from.
    """

    batch: int
    lane: int
    _batch: Batch = field(repr=False)
    _locate: Locate = field(repr=False)

    @cached_property
    def packs(self) -> tuple[Pack, ...]:
        """The packs with their examples; padding rows have none."""
        return tuple(pack for pack in self._batch.packs(self._locate) if pack.examples)

    @property
    def num_padding_rows(self) -> int:
        """The rows of the batch without an example, at the end of an epoch."""
        return len(self._batch.pack_sizes) - len(self.packs)

    @property
    def positions(self) -> tuple[tuple[RowPosition, ...], ...]:
        """The position of each example, pack by pack."""
        return tuple(tuple(example.position for example in pack.examples) for pack in self.packs)

    def __str__(self) -> str:
        rows = "; ".join(", ".join(map(str, pack)) for pack in self.positions)
        return f"batch {self.batch} of lane {self.lane}: {rows}"
