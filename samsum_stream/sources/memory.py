"""Rows in memory and rows from an iterator: lists of dicts, generators, callables, `datasets.IterableDataset`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from multiprocessing import parent_process
from typing import Any

import datasets
import fsspec.asyn
import numpy as np

from samsum_stream.errors import SourceError
from samsum_stream.samples import Int64Array, Rows
from samsum_stream.sources.base import IndexedSource, SequentialSource, Shard, shard_rows
from samsum_stream.sources.columns import Columns, match_columns
from samsum_stream.sources.fields import locator, one_shard, validated
from samsum_stream.sources.gather import from_batch, from_rows
from samsum_stream.sources.redaction import explain


class ListSource(IndexedSource):
    """A sequence of mappings, such as a list of dicts."""

    def __init__(self, rows: Sequence[Any], *, name: str, columns: Columns) -> None:
        if len(rows) == 0:
            raise SourceError(f"{name}: there are no rows; pass a sequence with at least one")
        super().__init__(name=name, shards=(Shard("", len(rows)),))
        self._rows = rows
        self._columns = columns

    def take(self, indices: Int64Array) -> Rows:
        """The rows at `indices`, `[n]`, in the order asked for."""
        shards, numbers = one_shard(len(indices)), indices.astype(np.int64)
        picked = [self._rows[index] for index in indices.tolist()]
        locate = locator(self, shards, numbers)
        raw = from_rows(picked, columns=self._columns, locate=locate)
        return validated(raw, columns=self._columns, locate=locate, shards=shards, rows=numbers)


class IterableSource(SequentialSource):
    """Mappings from an iterable that starts anew on each pass, or from a callable that returns a new one."""

    def __init__(self, rows: Iterable[Any] | Callable[[], Iterable[Any]], *, name: str, columns: Columns) -> None:
        super().__init__(name=name, shards=(Shard("", None),))
        self._rows = rows
        self._columns = columns
        self._was_read = False

    def read(self, num_rows: int) -> Iterator[Rows]:
        """A fresh pass, in blocks of at most `num_rows` rows."""
        rows, start = self._new_pass(), 0
        while block := list(islice(rows, num_rows)):
            shards, numbers = one_shard(len(block)), shard_rows(start, len(block))
            locate = locator(self, shards, numbers)
            raw = from_rows(block, columns=self._columns, locate=locate)
            yield validated(raw, columns=self._columns, locate=locate, shards=shards, rows=numbers)
            start += len(block)
        if start == 0:
            raise SourceError(f"{self.name}: a pass has no rows; return a new iterable with rows from each call")

    def first_rows(self, num_rows: int) -> Rows:
        """The first rows; those taken from an iterator, which reads only once, are put back."""
        if not isinstance(self._rows, Iterator):
            return super().first_rows(num_rows)
        head = list(islice(self._rows, num_rows))
        first = next(IterableSource(head, name=self.name, columns=self._columns).read(num_rows))
        self._rows = chain(head, self._rows)
        return first

    def _new_pass(self) -> Iterator[Any]:
        rows = self._rows() if callable(self._rows) else self._rows
        if rows is self._rows and isinstance(rows, Iterator):
            if self._was_read:
                raise SourceError(f"{self.name}: {_ONE_PASS}")
            self._was_read = True
        return iter(rows)

    def __getstate__(self) -> dict[str, Any]:
        if isinstance(self._rows, Iterator):
            raise SourceError(f"{self.name}: a {type(self._rows).__name__} cannot be sent to a process; {_ONE_PASS}")
        return self.__dict__


_ONE_PASS = "an iterator can be read once only; pass a callable that returns a new one, or a list"


class StreamSource(SequentialSource):
    """A `datasets.IterableDataset`, read whole by whoever reads it."""

    def __init__(self, dataset: datasets.IterableDataset, *, name: str, columns: Columns) -> None:
        super().__init__(name=name, shards=(Shard(str(dataset.split or ""), None),))
        if getattr(dataset, "_distributed", None) is not None:
            raise SourceError(
                f"{name}: the dataset was already split by `split_dataset_by_node`; pass it whole, "
                f"because the stream divides rows among ranks itself"
            )
        known = dataset.column_names
        self._columns = columns if known is None else match_columns(columns, known, name=name)
        self._dataset = dataset.with_format(None)

    def read(self, num_rows: int) -> Iterator[Rows]:
        """A fresh pass, in blocks of at most `num_rows` rows."""
        start = 0
        for batch in self._batches(num_rows):
            size = len(next(iter(batch.values())))
            shards, numbers = one_shard(size), shard_rows(start, size)
            locate = locator(self, shards, numbers)
            raw = from_batch(batch, columns=self._columns, locate=locate)
            yield validated(raw, columns=self._columns, locate=locate, shards=shards, rows=numbers)
            start += size
        if start == 0:
            raise SourceError(f"{self.name}: the dataset has no rows; check its split and its filters")

    def _batches(self, num_rows: int) -> Iterator[Mapping[str, Sequence[Any]]]:
        if parent_process() is not None:
            # A forked worker inherits fsspec's event loop without the thread that drives it.
            fsspec.asyn.reset_lock()
        # `iter(dataset)` would give each worker its own shards on top of our own division of the rows;
        # `dataset.iter` reads all of them wherever it runs.
        batches = self._dataset.iter(batch_size=num_rows)
        while True:
            try:
                batch = next(batches, None)
            except Exception as error:
                raise SourceError(f"{self.name}: reading the stream failed: {explain(error)}") from None
            if batch is None:
                return
            yield batch
