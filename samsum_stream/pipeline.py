"""Rows to batches for the lanes of one worker: the whole flow, read top to bottom.

reader ──rows──▶ row tokenizer ──examples──▶ packer ──packs──▶ batches, one lane after the other
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, count, islice

from samsum_stream.errors import SourceError
from samsum_stream.lanes import check_num_lanes, choose_num_lanes, lanes_of_worker
from samsum_stream.packing import Item, Packer
from samsum_stream.reading import IndexedReader, Reader, SequentialReader
from samsum_stream.sources import IndexedSource, SequentialSource, Source
from samsum_stream.stats import Counts
from samsum_stream.tokenization import RowTokenizer

MAX_ROWS_FOR_NOTHING = 1_000_000
"""Rows of a lane that may be dropped before the first one is kept: an endless source would be read for ever."""


@dataclass
class Pipeline:
    """Everything that a worker needs to make batches; it pickles.

    `num_lanes` is None for `lanes: auto`; `epochs` is None for a stream without an end.
    """

    source: Source
    tokenizer: RowTokenizer
    packer: Packer
    batch_size: int
    shuffle: bool
    seed: int
    epochs: int | None
    num_lanes: int | None

    def batches(
        self, counts: Counts, *, first_epoch: int = 0, worker: int = 0, num_workers: int = 1
    ) -> Iterator[list[list[Item]]]:
        """The batches of one of `num_workers` workers, each a list of up to `batch_size` packs.

        What is dropped or changed on the way to them is added to `counts`.

        Raises:
            TopologyError: the lanes cannot be shared by so many workers.
            SourceError: a row is bad, or none is left to train on.
        """
        num_lanes = self.lanes_for(num_workers)
        lanes = lanes_of_worker(worker, num_workers=num_workers, num_lanes=num_lanes)
        reader = self._reader(lanes, num_lanes)
        return _in_turn(self._lane_batches(reader, counts, lane, first_epoch) for lane in lanes)

    def lanes_for(self, num_workers: int) -> int:
        """How many lanes so many workers share.

        Raises:
            TopologyError: they cannot share them evenly, or a lane would be empty.
        """
        num_rows = self.source.num_rows if isinstance(self.source, IndexedSource) else None
        num_lanes = self.num_lanes or choose_num_lanes(num_rows or 0, num_workers)
        check_num_lanes(num_lanes, num_rows=num_rows, num_readers=num_workers)
        return num_lanes

    def _lane_batches(self, reader: Reader, counts: Counts, lane: int, first_epoch: int) -> Iterator[list[list[Item]]]:
        packs = self._lane_packs(reader, counts, lane, first_epoch)
        while batch := list(islice(packs, self.batch_size)):
            yield batch

    def _lane_packs(self, reader: Reader, counts: Counts, lane: int, first_epoch: int) -> Iterator[list[Item]]:
        """Without an end, packing goes on from one epoch into the next; with one, each epoch ends its last pack."""
        if self.epochs is None:
            yield from self.packer.pack(
                chain.from_iterable(self._items(reader, counts, lane, n) for n in count(first_epoch))
            )
        else:
            for epoch in range(first_epoch, first_epoch + self.epochs):
                yield from self.packer.pack(self._items(reader, counts, lane, epoch))

    def _items(self, reader: Reader, counts: Counts, lane: int, epoch: int) -> Iterator[Item]:
        num_rows = num_items = 0
        for rows in reader.chunks(lane, epoch=epoch):
            examples = self.tokenizer.encode(rows, epoch=epoch, counts=counts)
            num_rows, num_items = num_rows + len(rows), num_items + len(examples)
            if num_rows > MAX_ROWS_FOR_NOTHING and not num_items:
                break
            lengths = examples.tokens.lengths.tolist()
            yield from zip(lengths, examples.tokens.split(), examples.record_words, strict=True)
        if not num_items:
            raise self._nothing_left(counts, lane, num_rows)

    def _reader(self, lanes: range, num_lanes: int) -> Reader:
        if isinstance(self.source, IndexedSource):
            return IndexedReader(self.source, num_lanes=num_lanes, seed=self.seed, shuffle=self.shuffle)
        assert isinstance(self.source, SequentialSource)
        return SequentialReader(self.source, lanes=lanes, num_lanes=num_lanes, seed=self.seed, shuffle=self.shuffle)

    def _nothing_left(self, counts: Counts, lane: int, num_rows: int) -> SourceError:
        where = f"{self.source.name}: lane {lane} has no row to train on"
        if not num_rows:
            return SourceError(f"{where}: the source has fewer rows than lanes and workers divide it by; lower them")
        dropped = ", ".join(f"{number:,} {reason}" for reason, number in counts.dropped.items())
        return SourceError(
            f"{where}: its first {num_rows:,} rows were all dropped ({dropped}); raise "
            "packing_config.kwargs.max_length, or choose another truncation_config.method"
        )


def _in_turn(streams: Iterable[Iterator[list[list[Item]]]]) -> Iterator[list[list[Item]]]:
    """One batch of each stream in turn; a stream that has ended is passed over."""
    waiting = deque(streams)
    while waiting:
        stream = waiting.popleft()
        for batch in islice(stream, 1):
            yield batch
            waiting.append(stream)
