"""The batches of the order as the micro-batches of a model, which can be smaller or larger.

batches of 4 packs     [a b c d] [e f g h]
micro-batches of 2     [a b] [c d] [e f] [g h]
micro-batches of 8     [a b c d e f g h]

A step that accumulates the same number of packs has the same documents, so a run continues with other micro-batches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, pairwise
from math import gcd

import numpy as np

from samsum_stream.errors import ConfigError
from samsum_stream.lanes.epochs import partition, split_packs
from samsum_stream.pipeline.pipeline import ProducedBatch
from samsum_stream.values.arrays import Int32Array
from samsum_stream.values.batches import Batch, Pack
from samsum_stream.values.examples import Example
from samsum_stream.values.rows import RowPosition


@dataclass(frozen=True)
class MicroBatches:
    """Batches as micro-batches of another size.

    Attributes:
        size: The packs of a micro-batch.
        batch_size: The packs of a batch.

    Raises:
        ConfigError: neither size is a multiple of the other.
    """

    size: int
    batch_size: int

    def __post_init__(self) -> None:
        if self.batch_size % self.size and self.size % self.batch_size:
            raise ConfigError(
                f"a micro-batch of {self.size} packs is neither a part nor a multiple of a batch of {self.batch_size} "
                f"packs; take a divisor or a multiple of {self.batch_size}"
            )

    @property
    def num_pieces(self) -> int:
        """The micro-batches of a batch, at least 1."""
        return max(self.batch_size // self.size, 1)

    @property
    def num_joined(self) -> int:
        """The batches in a micro-batch, at least 1."""
        return max(self.size // self.batch_size, 1)

    def number(self, num_batches: int) -> int:
        """The micro-batches of some batches."""
        return -(-num_batches * self.num_pieces // self.num_joined)

    def batches_per_step(self, num_micro_batches: int) -> int:
        """The smallest number of batches that is a whole number of steps of some micro-batches."""
        return num_micro_batches * self.num_joined // gcd(num_micro_batches, self.num_pieces)

    def of(self, batches: Iterator[ProducedBatch]) -> Iterator[tuple[Batch, Sequence[ProducedBatch]]]:
        """Each micro-batch, with the batches that are complete after it.

        Raises:
            ConfigError: a batch has fewer trained tokens than pieces.
        """
        if self.num_pieces > 1:
            for produced in batches:
                *pieces, last = _pieces(produced, self.num_pieces)
                yield from ((piece, ()) for piece in pieces)
                yield last, (produced,)
        else:
            while group := tuple(islice(batches, self.num_joined)):
                yield group[0].batch if len(group) == 1 else _joined([produced.batch for produced in group]), group


def _pieces(produced: ProducedBatch, number: int) -> list[Batch]:
    """The packs of a batch in `number` pieces, each with trained tokens.

    The last batches of an epoch have fewer packs. Their packs are split between examples. If there are too few
    examples as well, an example is in several pieces, and each piece trains some of its labels.
    """
    packs = _packs(produced.batch)
    examples = [example for pack in packs for example in pack]
    if (num_trained := int(produced.batch.num_trained.sum())) < number:
        raise ConfigError(
            f"global batch {produced.number} has {num_trained} trained tokens, and needs one for each of {number} "
            "micro-batches; make larger micro-batches"
        )
    if len(packs) >= number:
        borders = np.cumsum([0, *partition(len(packs), number)]).tolist()
        pieces = [packs[start:end] for start, end in pairwise(borders)]
    elif len(examples) >= number:
        pieces = [[piece] for piece in split_packs(packs, number)]
    else:
        pieces = [[(example,)] for example in _in_parts(examples, number)]
    num_packs = -(-len(produced.batch.pack_sizes) // number)
    return [_batch(piece, num_packs=num_packs) for piece in pieces]


def _in_parts(examples: Sequence[Example], number: int) -> list[Example]:
    """The examples, repeated, so that together they have each label once."""
    labels = [[(index, token) for token in np.flatnonzero(one.trained).tolist()] for index, one in enumerate(examples)]
    parts = split_packs(labels, number)
    return [examples[part[0][0]]._replace(spans=_spans([token for _, token in part])) for part in parts]


def _spans(tokens: Sequence[int]) -> Int32Array:
    """The spans of some tokens, ascending."""
    runs = [[*run] for _, run in groupby(enumerate(tokens), key=lambda pair: pair[1] - pair[0])]
    return np.array([[run[0][1], run[-1][1] + 1] for run in runs], np.int32)


def _joined(batches: Sequence[Batch]) -> Batch:
    """One batch of the packs of several; empty packs come last."""
    packs = [pack for batch in batches for pack in _packs(batch)]
    return _batch(packs, num_packs=sum(len(batch.pack_sizes) for batch in batches))


def _packs(batch: Batch) -> list[Sequence[Example]]:
    """The examples of each pack that has some; a micro-batch needs no row positions."""
    packs = batch.packs(lambda shard, row, epoch: RowPosition("", "", row, epoch))
    return [pack.examples for pack in packs if pack.examples]


def _batch(packs: Sequence[Sequence[Example]], *, num_packs: int) -> Batch:
    """The batch of some packs, with empty ones up to `num_packs`."""
    filled = [*packs, *[()] * (num_packs - len(packs))]
    return Batch.of_packs([Pack(tuple(pack)) for pack in filled])
