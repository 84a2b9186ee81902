"""The length of every example, measured in one pass before the first batch of a finite stream: four bytes each.

Rank r, worker k reads the chunks r K + k, r K + k + R K, ... Every rank gets the results of all ranks.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import chain, islice, repeat
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import DataLoader

from samsum_stream.errors import SamsumStreamError, SourceError
from samsum_stream.lanes.order import SHUFFLED_BLOCK
from samsum_stream.loader.processes.progress import counting
from samsum_stream.loader.processes.ranks import Ranks, gathered, has_group
from samsum_stream.loader.processes.sending import WorkerDataset
from samsum_stream.loader.processes.starting import started
from samsum_stream.loader.processes.supervision import POLL, identity, received
from samsum_stream.pipeline.encoder import Encoder
from samsum_stream.pipeline.read_ahead import ReadAhead
from samsum_stream.sources import Block, IndexedSource, Leaf, SequentialSource, Source
from samsum_stream.sources.faults import RAISE, Faults, Take
from samsum_stream.values.arrays import Int32Array, Int64Array, offsets_of
from samsum_stream.values.counts import Counts, by_reason
from samsum_stream.values.rows import BadRow, Rows

CHUNK = 512

COUNTING = "counting their share of the rows (a stream with epochs: null needs no count)"

START_AGAIN = "the rows were being counted; start again"


class Measured(NamedTuple):
    """What a `Measure` returns for rows.

    Attributes:
        values: One number for each example, or several, int32, shape `[indices]` or `[indices, k]`. Examples have the
            indices of `EncodedRows`.
        offsets: As in `EncodedRows`, shape `[num_read + 1]`.
        counts: What happened to the rows.
    """

    values: Int32Array
    offsets: Int64Array
    counts: Counts


Measure = Callable[[Rows], Measured]


class MeasuredRows(NamedTuple):
    """What was measured of consecutive rows of a shard.

    Attributes:
        worker: The number of the worker that measured them.
        shard: The number of the shard.
        start: The first row.
        measured: The result.
        last_bad: The last bad row that was skipped.
    """

    worker: int
    shard: int
    start: int
    measured: Measured
    last_bad: BadRow | None

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        return len(self.measured.offsets) - 1


class Lengths(NamedTuple):
    """What was measured of all rows, shard after shard.

    Attributes:
        lengths: The length of each example, 0 for an index without an example, int32, shape `[indices]`; of a `Measure`
            with several numbers, shape `[indices, k]`.
        offsets: The first index of each row, then the number of indices, shape `[rows + 1]`; None if each row has one.
        shard_sizes: The rows of each shard.
        counts: What happened to the rows.
    """

    lengths: Int32Array
    offsets: Int64Array | None
    shard_sizes: tuple[int, ...]
    counts: Counts

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        return sum(self.shard_sizes)

    def of_shards(self, first: int, number: int) -> "Lengths":
        """The part of `number` shards, with the counts of all rows."""
        start, end = sum(self.shard_sizes[:first]), sum(self.shard_sizes[: first + number])
        sizes = self.shard_sizes[first : first + number]
        if self.offsets is None:
            return Lengths(self.lengths[start:end], None, sizes, self.counts)
        offsets = self.offsets[start : end + 1]
        return Lengths(self.lengths[offsets[0] : offsets[-1]], offsets - offsets[0], sizes, self.counts)

    def row_of(self, index: int) -> int:
        """The number of the row that has the example at an index, over all shards."""
        return index if self.offsets is None else int(np.searchsorted(self.offsets, index, side="right")) - 1

    def items(self, rows: Int64Array) -> Iterator[tuple[int, int]]:
        """The examples of rows: the length, and 1 if the example is the first of its row and 0 if not."""
        if self.offsets is None:
            lengths = self.lengths[rows]
            return zip(lengths[lengths > 0].tolist(), repeat(1))
        sizes = self.offsets[rows + 1] - self.offsets[rows]
        row_of = np.repeat(np.arange(len(rows)), sizes)
        indices = (self.offsets[rows] - offsets_of(sizes)[:-1])[row_of] + np.arange(len(row_of))
        lengths, kept = self.lengths[indices], self.lengths[indices] > 0
        starts_row = np.diff(row_of[kept], prepend=-1) > 0
        return zip(lengths[kept].tolist(), starts_row.tolist(), strict=True)


def measure_lengths(encoder: Encoder, rows: Rows) -> Measured:
    """The length of each example."""
    chunk, indices, offsets, outcomes = encoder.encode(rows, epoch=0)
    lengths = np.zeros(offsets[-1], np.int32)
    lengths[indices] = chunk.records["length"]
    return Measured(lengths, offsets, Counts(outcome.name for outcome in outcomes))


def count_lengths(
    source: Source,
    measure: Measure,
    *,
    faults: Faults = RAISE,
    rank: int,
    world_size: int,
    num_workers: int,
    multiprocessing_context: Any = None,
    timeout: float = 0,
) -> Lengths:
    """Measure every row once. With a process group, each rank measures its share; without one, it measures all rows.

    Args:
        measure: Measures rows, such as `measure_lengths` of an encoder; it is sent to workers.

    Raises:
        RowError: a row is bad; every rank raises it.
        SourceError: the rows cannot be read, or more of them are bad than all ranks may skip. The limit holds for all
            ranks together, because in a mixture each epoch may read other rows.
        WorkerError: a worker died, or sent nothing for `timeout` seconds (if `timeout` is not 0); or another rank died,
            or needs more time than the process group allows.
    """
    num_ranks, shares = world_size, has_group(Ranks(rank, world_size))
    rank, world_size = (rank, world_size) if shares else (0, 1)
    dataset = _Counter(source, measure, faults=faults, rank=rank, world_size=world_size)
    loader = DataLoader(
        dataset,
        batch_size=None,
        collate_fn=identity,
        num_workers=num_workers,
        multiprocessing_context=multiprocessing_context if num_workers else None,
        timeout=POLL if num_workers else 0,
    )
    pieces = list[MeasuredRows]()
    location = partial(_location, source, pieces)
    start = partial(started, loader.__iter__) if num_workers else loader.__iter__
    sent = received(start, location=location, remedy=START_AGAIN, timeout=timeout)
    result: list[MeasuredRows] | Exception = pieces
    try:
        for piece in _shown(sent, total=dataset.num_rows):
            pieces.append(piece)
    except Exception as error:
        if world_size == 1:
            raise
        result = error
    of_all_ranks = _gathered(result, world_size=world_size)
    lengths = _joined(of_all_ranks, num_shards=len(source.shards))
    for last in [piece.last_bad for piece in of_all_ranks if piece.last_bad][-1:]:
        faults.require_few(by_reason(lengths.counts, "skipped").total(), lengths.counts, last, num_ranks=num_ranks)
    return lengths


def _location(source: Source, pieces: Sequence[MeasuredRows], worker: int) -> str:
    """The rows that a worker is measuring, from the pieces that it has sent."""
    last = next((piece for piece in reversed(pieces) if piece.worker == worker), None)
    if last is None:
        return "it is counting its first rows"
    return f"it is counting rows after {source.read_position(last.shard, last.start + last.num_rows - 1, 0)}"


class _Counter(WorkerDataset[MeasuredRows]):
    def __init__(self, source: Source, measure: Measure, *, faults: Faults = RAISE, rank: int, world_size: int) -> None:
        self.source, self.measure, self.faults = source, measure, faults
        self.rank, self.world_size = rank, world_size

    @property
    def num_rows(self) -> int | None:
        sizes = [leaf.source.num_rows for leaf in self.source.leaves]
        return None if None in sizes else sum(filter(None, sizes)) // self.world_size

    def of_worker(self, worker: int, num_workers: int) -> Generator[MeasuredRows]:
        reader, num_readers = self.rank * num_workers + worker, self.world_size * num_workers
        parts = chain.from_iterable(_share(leaf, reader, num_readers) for leaf in self.source.leaves)
        for shard, start, num_rows, take in parts:
            rows = self.faults.take(take, np.arange(num_rows))
            last_bad = bad[-1] if (bad := rows.bad) else None
            yield MeasuredRows(worker, shard, start, self.measure(rows), last_bad)


Part = tuple[int, int, int, Take]
"""The shard, the first row, the number of rows, and a function that takes rows by their number in the part."""


def _share(leaf: Leaf, reader: int, num_readers: int) -> Iterator[Part]:
    """The parts of one reader: whole shards if there are enough of them, else every `num_readers`-th part."""
    source, first = leaf.source, leaf.first_shard
    if isinstance(source, IndexedSource):
        return islice(_parts(source, first), reader, None, num_readers)
    assert isinstance(source, SequentialSource)
    shards = range(len(source.shards))
    if len(shards) >= num_readers:
        return _blocks(source, first, shards[reader::num_readers])
    return islice(_blocks(source, first, shards), reader, None, num_readers)


def _parts(source: IndexedSource, first: int) -> Iterator[Part]:
    for start in range(0, source.num_rows, CHUNK):
        num_rows = min(CHUNK, source.num_rows - start)
        yield first, start, num_rows, partial(_take_from, source, first, start)


def _take_from(source: IndexedSource, first: int, start: int, indices: Int64Array) -> Rows:
    return source.take(start + indices).of_shards_from(first)


def _blocks(source: SequentialSource, first: int, shards: Iterable[int]) -> Iterator[Part]:
    numbered = (
        ((shard, number), block)
        for shard in shards
        for number, block in enumerate(source.blocks(shard, num_rows=SHUFFLED_BLOCK))
    )
    with closing(ReadAhead()) as read_ahead:
        for (shard, number), block in read_ahead.of(source, numbered):
            start = number * SHUFFLED_BLOCK
            yield first + shard, start, block.num_rows, partial(_take_of_block, block, first)


def _take_of_block(block: Block, first: int, indices: Int64Array) -> Rows:
    return block.take(indices).of_shards_from(first)


def _shown(pieces: Iterable[MeasuredRows], *, total: int | None) -> Iterator[MeasuredRows]:
    """The pieces, with a progress bar on a terminal."""
    with counting("counting rows") as bar:
        task = bar.add_task("", total=total)
        for piece in pieces:
            bar.advance(task, piece.num_rows)
            yield piece


def _gathered(result: list[MeasuredRows] | Exception, *, world_size: int) -> list[MeasuredRows]:
    """The results of all ranks. The error of one rank is raised by all ranks, so that no rank waits for it."""
    results: list[Any] = [result]
    if world_size > 1:
        results = gathered(_sendable(result), world_size=world_size, action=COUNTING)
    if isinstance(result, Exception):
        raise result
    for other in results:
        if isinstance(other, Exception):
            raise other
    return [piece for pieces in results for piece in pieces]


def _sendable(result: list[MeasuredRows] | Exception) -> list[MeasuredRows] | SamsumStreamError:
    """An error of another kind may not pickle."""
    if isinstance(result, Exception) and not isinstance(result, SamsumStreamError):
        return SourceError(f"another rank could not count its rows: {type(result).__name__}: {result}")
    return result


def _joined(pieces: list[MeasuredRows], *, num_shards: int) -> Lengths:
    pieces.sort(key=lambda piece: (piece.shard, piece.start))
    sizes = [0] * num_shards
    for piece in pieces:
        sizes[piece.shard] += piece.num_rows
    measured = [piece.measured for piece in pieces]
    lengths = np.concatenate([part.values for part in measured]) if measured else np.empty(0, np.int32)
    counts = sum((part.counts for part in measured), Counts())
    if len(lengths) == sum(sizes):
        return Lengths(lengths, None, tuple(sizes), counts)
    num_examples = np.concatenate([np.diff(part.offsets) for part in measured])
    return Lengths(lengths, offsets_of(num_examples), tuple(sizes), counts)
