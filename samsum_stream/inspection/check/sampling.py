"""Samples some rows of each source, and measures them."""

import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from samsum_stream.inspection.check.noticed import Noticed, Noticer
from samsum_stream.inspection.lengths import WHOLE, Measurements, RowMeasure
from samsum_stream.loader.epochs.lengths import Lengths
from samsum_stream.sources import Block, IndexedSource, Leaf, SequentialSource, Source
from samsum_stream.sources.faults import Faults, Take
from samsum_stream.values.arrays import BoolArray, Int64Array
from samsum_stream.values.rows import Instructions, RowPosition, Rows

NUM_SAMPLED, NUM_SHARDS = 512, 4
"""The rows that are sampled, of all sources together, and the fewest shards that they come from."""

MIN_SAMPLED = 64
"""The fewest rows of each source that are sampled, and the rows that are encoded at one time."""

MAX_CHARACTERS = 1 << 20
"""The characters of a source after which sampling stops, so that long rows do not take long."""


class Sample(NamedTuple):
    """Some rows of a source.

    Attributes:
        leaf: The source.
        positions: The position of each row.
        measured: The measurements of the rows, with what happened to them.
        with_contexts: The share of the rows that have contexts, 0 to 1.
        seconds: The seconds to read and encode the rows.
        noticed: What else was noticed in the rows.
    """

    leaf: Leaf
    positions: tuple[RowPosition, ...]
    measured: Measurements
    with_contexts: float
    seconds: float
    noticed: Noticed

    @property
    def title(self) -> str:
        """The name of the source for people."""
        return self.leaf.name or self.leaf.source.name

    @property
    def num_rows(self) -> int:
        """The number of sampled rows."""
        return len(self.positions)

    @property
    def is_whole(self) -> bool:
        """Whether the sample has all rows of the source, in their order."""
        return isinstance(self.leaf.source, IndexedSource) and self.num_rows == self.leaf.source.num_rows

    @property
    def is_spread(self) -> bool:
        """Whether the rows come from the whole source, and not only from its start."""
        return _reaches_any(self.leaf.source)

    @property
    def examples_per_row(self) -> float:
        """The examples that are not dropped / the rows."""
        return self.measured.num_examples / max(self.num_rows, 1)

    @property
    def tokens_per_row(self) -> float:
        """The tokens of the examples that are not dropped / the rows."""
        return self.measured.num_tokens / max(self.num_rows, 1)

    @property
    def growth(self) -> float:
        """The tokens of all examples / those of the longest example of each row, which is about the conversation."""
        lengths, offsets = self.measured.lengths[:, WHOLE], self.measured.offsets
        if offsets is None or not lengths.any():
            return 1.0
        longest = np.maximum.reduceat(lengths, offsets[:-1])
        return float(lengths.sum() / longest.sum())

    def share(self, number: int) -> str:
        """`31% of the rows`; for a part of the rows, also which part."""
        total = self.num_rows
        share = f"{number / total:.0%}" if number >= 0.1 * total else f"{number / total:.1%}"
        if self.is_whole:
            return f"{share} of the rows"
        return f"{share} of {total:,} sampled rows" if self.is_spread else f"{share} of the first {total:,} rows"

    def place_of_first_with(self, *names: str) -> str:
        """The place of the first row or example that has one of these outcomes."""
        return self.place_of_first(self.measured.has_outcome(*names))

    def place_of_first(self, chosen: BoolArray) -> str:
        """The place of the first chosen example; `chosen` has the shape `[indices]`."""
        row, part = self.measured.row_and_part(int(chosen.argmax()))
        return self.positions[row]._replace(part=part).place


def _num_with_contexts(rows: Rows) -> int:
    contexts = rows.content.contexts if isinstance(rows.content, Instructions) else None
    return sum(map(bool, contexts or ()))


class Sampler(NamedTuple):
    """Samples about `number` rows of each source."""

    measure: RowMeasure
    noticers: Mapping[str, Noticer]
    faults: Faults
    number: int

    def sample(self, leaf: Leaf) -> Sample:
        positions, parts, num_characters, num_with_contexts = list[RowPosition](), list[Lengths](), 0, 0
        taken, start = list[tuple[Rows, int]](), time.perf_counter()
        for take, indices in _parts(leaf, self.number):
            rows = self.faults.take(take, indices)
            taken.append((rows.of_shards_from(leaf.first_shard), len(positions)))
            positions += _positions(leaf.source, rows)
            measured = self.measure(taken[-1][0])
            parts.append(Lengths(measured.values, measured.offsets, (rows.num_read,), measured.counts))
            num_with_contexts += _num_with_contexts(rows)
            num_characters += sum(map(len, rows.texts))
            if num_characters > MAX_CHARACTERS:
                break
        with_contexts, seconds = num_with_contexts / max(len(positions), 1), time.perf_counter() - start
        noticed = self.noticers[leaf.name].look(taken)
        joined = Measurements.joined(parts, shard_sizes=[len(positions)])
        return Sample(leaf, tuple(positions), joined, with_contexts, seconds, noticed)


def _positions(source: Source, rows: Rows) -> list[RowPosition]:
    """The position of each row that was read, those that are left out included."""
    positions = {index: row.position for index, row in rows.skipped}
    valid = zip(rows.indices.tolist(), rows.shards.tolist(), rows.rows.tolist(), strict=True)
    positions |= {index: source.position(shard, row, 0) for index, shard, row in valid}
    return [positions[index] for index in range(rows.num_read)]


def _parts(leaf: Leaf, number: int) -> Iterator[tuple[Take, Int64Array]]:
    """About `number` rows in parts: from the whole source if any row can be reached, else from its start."""
    source = leaf.source
    if isinstance(source, IndexedSource):
        indices = np.linspace(0, source.num_rows - 1, min(number, source.num_rows)).astype(np.int64)
        if len(indices) < source.num_rows:  # in random order, because sampling may stop after the first parts
            indices = np.random.default_rng(0).permutation(indices)
        blocks: Iterator[tuple[Take, Int64Array]] = iter([(source.take, indices)])
    else:
        assert isinstance(source, SequentialSource)
        blocks = ((block.take, np.arange(block.num_rows)) for block in _blocks(source, number))
    for take, indices in blocks:
        for start in range(0, len(indices), MIN_SAMPLED):
            yield take, indices[start : start + MIN_SAMPLED]


def _blocks(source: SequentialSource, number: int) -> Iterator[Block]:
    if not _reaches_any(source):
        yield source.first_block(number)
        return
    shards = [number for number, shard in enumerate(source.shards) if shard.num_rows != 0]  # a view may leave all out
    rows_per_shard = max(number // min(len(shards), NUM_SHARDS), 1)
    for shard in np.random.default_rng(0).permutation(shards).tolist():
        block = next(source.blocks(shard, num_rows=rows_per_shard))
        yield block
        number -= block.num_rows
        if number <= 0:
            return


def _reaches_any(source: Source) -> bool:
    """Whether a row in the middle takes no longer to read than the first one."""
    return isinstance(source, IndexedSource) or (
        isinstance(source, SequentialSource) and source.seeks and not source.is_remote
    )
