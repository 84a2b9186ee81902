"""Packs and batches, with their provenance."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np

from samsum_stream.errors.wording import counted
from samsum_stream.values.arrays import Int32Array, Int64Array, Ragged, offsets_of
from samsum_stream.values.examples import EXAMPLE_RECORD, Example, Records
from samsum_stream.values.rows import RowPosition


@dataclass(frozen=True, slots=True, repr=False)
class Pack:
    """Examples that share one row of a batch."""

    examples: tuple[Example, ...]

    @property
    def num_tokens(self) -> int:
        return sum(len(example.input_ids) for example in self.examples)

    def __repr__(self) -> str:
        return f"<Pack: {counted(len(self.examples), 'example')}, {self.num_tokens:,} tokens>"


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


@dataclass(frozen=True)
class BatchInfo:
    """The provenance of one batch.

    Attributes:
        batch: Its global number.
        lane: The lane it comes from.
    """

    batch: int
    lane: int
    _batch: Batch = field(repr=False)
    _locate: Callable[[int, int, int], RowPosition] = field(repr=False)

    @cached_property
    def packs(self) -> tuple[Pack, ...]:
        """The packs with their examples; rows of padding have none."""
        return tuple(pack for pack in packs_of(self._batch, self._locate) if pack.examples)

    @property
    def num_padding_rows(self) -> int:
        """Rows of the batch without an example, at the end of an epoch."""
        return len(self._batch.pack_sizes) - len(self.packs)

    @property
    def positions(self) -> tuple[tuple[RowPosition, ...], ...]:
        """The position of each example, pack by pack."""
        return tuple(tuple(example.position for example in pack.examples) for pack in self.packs)

    def __str__(self) -> str:
        rows = "; ".join(", ".join(map(str, pack)) for pack in self.positions)
        return f"batch {self.batch} of lane {self.lane}: {rows}"


def packs_of(batch: Batch, locate: Callable[[int, int, int], RowPosition]) -> Iterator[Pack]:
    """The packs of a batch, as objects; `locate` turns `(shard, row, epoch)` into a position."""
    examples = [
        Example(ids, num_prompt_tokens, locate(shard, row, epoch))
        for ids, (_, num_prompt_tokens, shard, epoch, row) in zip(
            batch.tokens.split(), batch.records.tolist(), strict=True
        )
    ]
    ends = offsets_of(batch.pack_sizes).tolist()
    return (Pack(tuple(examples[start:end])) for start, end in pairwise(ends))
