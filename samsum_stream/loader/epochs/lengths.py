"""The length of every example, found in one pass before the first batch of a finite stream: four bytes a row.

rank r, worker k reads the chunks r K + k, r K + k + R K, ...; what all of them found is put together on every rank
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
import torch.distributed
from torch.utils.data import DataLoader, IterableDataset

from samsum_stream.errors import SamsumStreamError, SourceError
from samsum_stream.lanes.order import SHUFFLED_BLOCK
from samsum_stream.loader.processes.progress import counting
from samsum_stream.loader.processes.ranks import Ranks, has_group
from samsum_stream.loader.processes.supervision import POLL, identity, received
from samsum_stream.loader.processes.threads import produced_in_worker
from samsum_stream.pipeline.read_ahead import ReadAhead
from samsum_stream.sources import Block, IndexedSource, Leaf, SequentialSource, Source
from samsum_stream.sources.faults import RAISE, Faults, Take
from samsum_stream.tokenization import RowTokenizer
from samsum_stream.values.arrays import Int32Array, Int64Array
from samsum_stream.values.counts import Counts, by_reason
from samsum_stream.values.rows import BadRow, Rows

CHUNK = 512

Measure = Callable[[Rows], tuple[Int32Array, Counts]]
"""What is found of rows: a number each, or some, of shape `[num_asked]` or `[num_asked, k]`; and what befell them."""

START_AGAIN = "the rows were being counted; start again"


class Piece(NamedTuple):
    """The lengths of rows that follow each other in a shard, from row `start` on, and what befell those rows.

    A length is 0 where the row is no example; `worker` is who counted them, and `last_bad` one that was skipped. Of a
    `Measure` of several numbers a row, they stand in `lengths` side by side.
    """

    worker: int
    shard: int
    start: int
    lengths: Int32Array
    counts: Counts
    last_bad: BadRow | None


class Lengths(NamedTuple):
    """The length of every row's example, shard after shard, the sizes of the shards, and what befell the rows."""

    lengths: Int32Array
    shard_sizes: tuple[int, ...]
    counts: Counts

    def of_shards(self, first: int, number: int) -> "Lengths":
        """Those of so many shards, with what befell the rows of all."""
        start, end = sum(self.shard_sizes[:first]), sum(self.shard_sizes[: first + number])
        return self._replace(lengths=self.lengths[start:end], shard_sizes=self.shard_sizes[first : first + number])


def measure_lengths(tokenizer: RowTokenizer, rows: Rows) -> tuple[Int32Array, Counts]:
    """The length of each row's example."""
    lengths, counts = np.zeros(rows.num_asked, np.int32), Counts()
    if len(rows):
        chunk = tokenizer.encode(rows, epoch=0)
        lengths[rows.places[chunk.rows]] = chunk.records["length"]
        counts.update(name for _, name in chunk.events)
    return lengths, counts


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
    """Measure every row once; with a process group each rank does its share, without one it does all.

    Args:
        measure: What is found of rows, such as `measure_lengths` of a tokenizer; it is sent to workers.

    Raises:
        RowError: a row is bad; every rank raises it.
        SourceError: the rows cannot be read, or more of them are bad than all ranks may meet. How many each of them
            will is not known: in a mixture, other rows may be met in every epoch.
        WorkerError: a worker died, or sent nothing for `timeout` seconds, where that is not 0.
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
    pieces = list[Piece]()
    location = partial(_counted_by, source, pieces)
    sent = received(loader.__iter__, location=location, remedy=START_AGAIN, timeout=timeout)
    found: list[Piece] | Exception = pieces
    try:
        for piece in _shown(sent, total=dataset.num_rows):
            pieces.append(piece)
    except Exception as error:
        if world_size == 1:
            raise
        found = error
    everywhere = _gathered(found, world_size=world_size)
    lengths = _joined(everywhere, num_shards=len(source.shards))
    for last in [piece.last_bad for piece in everywhere if piece.last_bad][-1:]:
        faults.require_few(by_reason(lengths.counts, "skipped").total(), lengths.counts, last, num_ranks=num_ranks)
    return lengths


def _counted_by(source: Source, pieces: Sequence[Piece], worker: int) -> str:
    """Where a worker stands, of whose pieces these came."""
    last = next((piece for piece in reversed(pieces) if piece.worker == worker), None)
    if last is None:
        return "it counts its first rows"
    return f"it counts rows behind {source.position(last.shard, last.start + len(last.lengths) - 1, 0)}"


class _Counter(IterableDataset[Piece]):
    def __init__(self, source: Source, measure: Measure, *, faults: Faults = RAISE, rank: int, world_size: int) -> None:
        self.source, self.measure, self.faults = source, measure, faults
        self.rank, self.world_size = rank, world_size

    @property
    def num_rows(self) -> int | None:
        sizes = [leaf.source.num_rows for leaf in self.source.leaves]
        return None if None in sizes else sum(filter(None, sizes)) // self.world_size

    def __iter__(self) -> Iterator[Piece]:
        return produced_in_worker(self._of_worker)

    def _of_worker(self, worker: int, num_workers: int) -> Generator[Piece]:
        reader, num_readers = self.rank * num_workers + worker, self.world_size * num_workers
        parts = chain.from_iterable(_share(leaf, reader, num_readers) for leaf in self.source.leaves)
        for shard, start, num_rows, take in parts:
            rows = self.faults.take(take, np.arange(num_rows))
            lengths, counts = self.measure(rows)
            counts.update(f"skipped.{bad.reason}" for _, bad in rows.skipped)
            yield Piece(worker, shard, start, lengths, counts, rows.skipped[-1][1] if rows.skipped else None)


Part = tuple[int, int, int, Take]
"""Shard, first row, number of rows, and what takes them by their numbers in the part."""


def _share(leaf: Leaf, reader: int, num_readers: int) -> Iterator[Part]:
    """The parts of one of so many readers: whole shards where there are enough, else every so many parts."""
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
        yield first, start, num_rows, partial(_take_behind, source, first, start)


def _take_behind(source: IndexedSource, first: int, start: int, indices: Int64Array) -> Rows:
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


def _shown(pieces: Iterable[Piece], *, total: int | None) -> Iterator[Piece]:
    """The pieces, behind a progress bar where someone looks."""
    with counting("counting rows") as bar:
        task = bar.add_task("", total=total)
        for piece in pieces:
            bar.advance(task, len(piece.lengths))
            yield piece


def _gathered(found: list[Piece] | Exception, *, world_size: int) -> list[Piece]:
    """What all ranks found; an error of one is raised by all, so that none waits for it in vain."""
    everywhere: list[Any] = [found]
    if world_size > 1:
        everywhere = [None] * world_size
        torch.distributed.all_gather_object(everywhere, _sendable(found))
    if isinstance(found, Exception):
        raise found
    for result in everywhere:
        if isinstance(result, Exception):
            raise result
    return [piece for pieces in everywhere for piece in pieces]


def _sendable(found: list[Piece] | Exception) -> list[Piece] | SamsumStreamError:
    """An error of any other kind may not pickle."""
    if isinstance(found, Exception) and not isinstance(found, SamsumStreamError):
        return SourceError(f"another rank could not count its rows: {type(found).__name__}: {found}")
    return found


def _joined(pieces: list[Piece], *, num_shards: int) -> Lengths:
    pieces.sort(key=lambda piece: (piece.shard, piece.start))
    sizes = [0] * num_shards
    for piece in pieces:
        sizes[piece.shard] += len(piece.lengths)
    lengths = np.concatenate([piece.lengths for piece in pieces]) if pieces else np.empty(0, np.int32)
    return Lengths(lengths, tuple(sizes), sum((piece.counts for piece in pieces), Counts()))
