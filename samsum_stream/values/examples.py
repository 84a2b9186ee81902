"""The values that travel from stage to stage.

Rows ──prompt──▶ Segments ──tokenizer──▶ Chunk of Examples ──packer──▶ Pack
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from samsum_stream.notebooks import repr_html
from samsum_stream.wording import counted

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


class Ragged(NamedTuple):
    """Sequences of different lengths, end to end: sequence `i` is `ids[offsets[i]:offsets[i + 1]]`."""

    ids: Int32Array
    offsets: Int64Array

    @property
    def lengths(self) -> Int64Array:
        return self.offsets[1:] - self.offsets[:-1]

    @classmethod
    def of(cls, sequences: Sequence[Int32Array]) -> "Ragged":
        ids = np.concatenate(sequences) if sequences else np.empty(0, np.int32)
        return cls(ids, offsets_of([len(sequence) for sequence in sequences]))

    def replace(self, sequences: Mapping[int, Int32Array]) -> "Ragged":
        """A copy in which the sequences at some indices are others."""
        if not sequences:
            return self
        return Ragged.of([sequences.get(index, sequence) for index, sequence in enumerate(self.split())])

    def split(self) -> list[Int32Array]:
        """One view per sequence."""
        ends = self.offsets.tolist()
        return [self.ids[start:end] for start, end in pairwise(ends)]


def offsets_of(lengths: Sequence[int] | Int64Array | Int32Array) -> Int64Array:
    """`[0, l0, l0 + l1, ...]`: where sequences of these lengths start, and where the last one ends."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


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

    def _repr_html_(self) -> str:
        return repr_html(self)


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


@dataclass(frozen=True, slots=True, repr=False)
class Pack:
    """Examples that share one row of a batch."""

    examples: tuple[Example, ...]

    @property
    def num_tokens(self) -> int:
        return sum(len(example.input_ids) for example in self.examples)

    def __repr__(self) -> str:
        return f"<Pack: {counted(len(self.examples), 'example')}, {self.num_tokens:,} tokens>"

    def _repr_html_(self) -> str:
        return repr_html(self)


@dataclass(frozen=True, slots=True)
class Batch:
    """The packs of one batch, end to end: `n` examples, of which pack `p` has `pack_sizes[p]`."""

    tokens: Ragged
    records: Records
    pack_sizes: Int32Array

    @classmethod
    def of_packs(cls, packs: Sequence[Pack]) -> "Batch":
        examples = [example for pack in packs for example in pack.examples]
        records = np.zeros(len(examples), EXAMPLE_RECORD)
        records["length"] = [len(example.input_ids) for example in examples]
        records["num_prompt_tokens"] = [example.num_prompt_tokens for example in examples]
        tokens = Ragged.of([example.input_ids for example in examples])
        return cls(tokens, records, np.array([len(pack.examples) for pack in packs], np.int32))

    @property
    def num_masked_tokens(self) -> Int32Array:
        """Tokens without a label at the start of each example, shape `[n]`: the prompt, and always the first one."""
        masked: Int32Array = np.minimum(np.maximum(self.records["num_prompt_tokens"], 1), self.records["length"])
        return masked

    @property
    def pack_offsets(self) -> Int64Array:
        """Where each pack starts among the tokens, and where the last one ends, shape `[num_packs + 1]`."""
        return self.tokens.offsets[offsets_of(self.pack_sizes)]
