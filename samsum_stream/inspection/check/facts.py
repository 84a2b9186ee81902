"""What is known of a stream from its config, the headers of its files and some hundred rows: a second's work."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from samsum_stream.config import StreamConfig
from samsum_stream.inspection.lengths import KEPT, RowMeasure
from samsum_stream.inspection.simulation import Epoch, fed_lengths, packed, plan_epoch, reckon_epoch
from samsum_stream.lanes.share import check_num_lanes
from samsum_stream.loader.epochs.lengths import Lengths
from samsum_stream.pipeline.pipeline import Pipeline
from samsum_stream.sources import Block, IndexedSource, Leaf, Mixture, SequentialSource, Source
from samsum_stream.sources.faults import Faults, Take
from samsum_stream.stream.stream import SFTStream
from samsum_stream.values.arrays import Int32Array, Int64Array
from samsum_stream.values.counts import Counts
from samsum_stream.values.rows import RowPosition, Rows

NUM_SAMPLED, NUM_SHARDS = 512, 4
"""Rows that are looked at, of all sources together, and shards that they come from at least."""

MIN_SAMPLED = 64
"""Rows of each source that are looked at, and rows that are encoded at a time."""

NUM_PACKED = 4096
"""Examples that packing is tried on: those that were looked at, over and over."""

MAX_CHARACTERS = 1 << 20
"""Text of a source after which no more rows are looked at, so that long ones do not take long."""


class Sample(NamedTuple):
    """Some rows of a source.

    Attributes:
        leaf: The source.
        positions: Where they stand.
        measured: What `RowMeasure` found of them, shape `[num_rows, 4]`.
        counts: What befell them.
        with_contexts: The share of those that are no bad rows which have contexts.
        seconds: How long reading and encoding them took.
    """

    leaf: Leaf
    positions: tuple[RowPosition, ...]
    measured: Int32Array
    counts: Counts
    with_contexts: float
    seconds: float

    @property
    def title(self) -> str:
        """What a person calls the source."""
        return self.leaf.name or self.leaf.source.name

    @property
    def is_whole(self) -> bool:
        """Whether these are all rows, in their order."""
        return isinstance(self.leaf.source, IndexedSource) and len(self.measured) == self.leaf.source.num_rows

    @property
    def is_spread(self) -> bool:
        """Whether they come from all over the source, and not from its start."""
        return _reaches_any(self.leaf.source)


@dataclass(frozen=True)
class Facts:
    """What is known of a stream.

    Attributes:
        stream: The stream itself.
        samples: Some rows of each source.
        warned: What the stream warned of while it was made.
        ranks: Ranks that shall read.
        workers: Workers of each; at least 1.
    """

    stream: SFTStream
    samples: tuple[Sample, ...]
    warned: tuple[str, ...]
    ranks: int
    workers: int

    @property
    def config(self) -> StreamConfig:
        return self.stream.config

    @property
    def pipeline(self) -> Pipeline:
        return self.stream.pipeline

    @property
    def max_length(self) -> int:
        return self.pipeline.packer.max_length

    @property
    def num_lanes(self) -> int:
        return self.pipeline.lanes_for(self.ranks * self.workers)

    @cached_property
    def measured(self) -> Int32Array:
        """What was found of the rows of all sources, shape `[num_rows, 4]`."""
        return np.concatenate([sample.measured for sample in self.samples])

    @cached_property
    def to_pack(self) -> Int32Array:
        """Lengths of about `NUM_PACKED` examples to try packing on; none where all rows were dropped."""
        measured = [sample.measured for sample in self.samples]
        return fed_lengths(self.pipeline.source, measured, NUM_PACKED, column=KEPT)

    @cached_property
    def efficiency(self) -> float:
        """Tokens / room of packs, 0 to 1."""
        return packed(self.to_pack, self.pipeline.packer)[1]

    @property
    def is_whole(self) -> bool:
        """Whether the samples are all rows."""
        return all(sample.is_whole for sample in self.samples)

    @cached_property
    def counts(self) -> Counts:
        return sum((sample.counts for sample in self.samples), Counts())

    @cached_property
    def epoch(self) -> Epoch | None:
        """Packs and batches of an epoch; None where nobody knows how many rows it has."""
        source, num_rows = self.pipeline.source, self.pipeline.num_rows
        if self.is_whole and self.pipeline.epochs is not None:
            sizes = [0] * len(source.shards)
            for sample in self.samples:
                sizes[sample.leaf.first_shard] = len(sample.measured)
            lengths = Lengths(self.measured[:, KEPT], tuple(sizes), self.counts)
            return plan_epoch(self.pipeline, lengths, num_lanes=self.num_lanes)
        if num_rows is None or isinstance(source, Mixture):
            return None
        return reckon_epoch(self.pipeline, self.measured[:, KEPT], num_rows=num_rows)


def gather(config: StreamConfig, *, ranks: int = 1, num_workers: int | None = None, trust: Sequence[str] = ()) -> Facts:
    """Make the stream and look at some of its rows; without a number of workers, there are the config's `num_proc`.

    Raises:
        SamsumStreamError: the stream cannot be made, a row that was looked at is bad, or the ranks do not fit.
    """
    with heard() as warned:
        stream = SFTStream(config, trust=trust)
    pipeline, leaves = stream.pipeline, stream.pipeline.source.leaves
    workers = max(config.num_proc if num_workers is None else num_workers, 1)
    num_lanes = pipeline.lanes_for(ranks * workers)
    check_num_lanes(num_lanes, num_rows=pipeline.source.max_lanes, ranks=ranks)
    number = max(NUM_SAMPLED // len(leaves), MIN_SAMPLED)
    measure = RowMeasure(pipeline.tokenizer)
    samples = tuple(_sample(leaf, measure, pipeline.faults, number) for leaf in leaves)
    facts = Facts(stream, samples, tuple(warned), ranks, workers)
    _ = facts.epoch  # an error where none can be dealt
    return facts


@contextmanager
def heard() -> Iterator[list[str]]:
    """What the package warns of, which is not shown in the meantime."""
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("samsum_stream")
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates


def _sample(leaf: Leaf, measure: RowMeasure, faults: Faults, number: int) -> Sample:
    positions, measured, counts, num_characters = list[RowPosition](), list[Int32Array](), Counts(), 0
    start, num_with_contexts = time.perf_counter(), 0
    for take, indices in _pieces(leaf, number):
        rows = faults.take(take, indices)
        positions += _positions(leaf.source, rows)
        found, befell = measure(rows.of_shards_from(leaf.first_shard))
        measured.append(found)
        counts += befell + Counts(f"skipped.{bad.reason}" for _, bad in rows.skipped)
        num_with_contexts += sum(map(bool, rows.contexts or ()))
        num_characters += _characters(rows)
        if num_characters > MAX_CHARACTERS:
            break
    with_contexts, seconds = num_with_contexts / max(len(positions), 1), time.perf_counter() - start
    return Sample(leaf, tuple(positions), np.concatenate(measured), counts, with_contexts, seconds)


def _positions(source: Source, rows: Rows) -> list[RowPosition]:
    """Where all rows stand that were asked for, the bad ones as well."""
    found = {place: bad.position for place, bad in rows.skipped}
    good = zip(rows.places.tolist(), rows.shards.tolist(), rows.rows.tolist(), strict=True)
    found |= {place: source.position(shard, row, 0) for place, shard, row in good}
    return [found[place] for place in range(rows.num_asked)]


def _pieces(leaf: Leaf, number: int) -> Iterator[tuple[Take, Int64Array]]:
    """Some rows at a time, out of the whole source where they are reached at once, else from its start."""
    source = leaf.source
    if isinstance(source, IndexedSource):
        indices = np.linspace(0, source.num_rows - 1, min(number, source.num_rows)).astype(np.int64)
        if len(indices) < source.num_rows:  # in random order: those that come first may be all that are looked at
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
    num_shards = len(source.shards)
    of_each = max(number // min(num_shards, NUM_SHARDS), 1)
    for shard in np.random.default_rng(0).permutation(num_shards).tolist():
        block = next(source.blocks(shard, num_rows=of_each))
        yield block
        number -= block.num_rows
        if number <= 0:
            return


def _reaches_any(source: Source) -> bool:
    """Whether a row in the middle is as near as the first one."""
    return isinstance(source, IndexedSource) or (
        isinstance(source, SequentialSource) and source.seeks and not source.is_remote
    )


def _characters(rows: Rows) -> int:
    contexts = (text for texts in rows.contexts or () for text in texts)
    return sum(map(len, (*rows.inputs, *rows.responses, *contexts)))
