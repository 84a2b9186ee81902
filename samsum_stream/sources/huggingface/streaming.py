"""A `datasets.IterableDataset`, such as `load_dataset(..., streaming=True)`: its shards are shards of ours.

file 0 ──▶ filter ──▶ map ──▶ shard 0        each row is made of one row: a shard is read on its own
file 1 ──▶ filter ──▶ map ──▶ shard 1
file 0, file 1 ──▶ take ──▶ the only shard   what depends on several rows, or on their number, sees all of them

Every pass starts a pipeline of its own, and gets to a row by `skip`. The library's own state would get there no sooner,
save for the calls of functions on rows that are passed over, and would have to travel with the position of every lane.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from multiprocessing import parent_process
from typing import Any

import datasets
import fsspec.asyn
import numpy as np

from samsum_stream.errors import SourceError
from samsum_stream.errors.redaction import explain
from samsum_stream.sources.base import Block, SequentialSource, Shard
from samsum_stream.sources.rows.columns import Columns, match_columns
from samsum_stream.sources.rows.gather import from_batch
from samsum_stream.sources.rows.locator import Locator
from samsum_stream.sources.rows.validation import validated
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import Rows

_ROW_BY_ROW = frozenset(
    {
        "ArrowExamplesIterable",
        "ExamplesIterable",
        "FilteredExamplesIterable",
        "FormattedExamplesIterable",
        "MappedExamplesIterable",
        "RebatchedArrowExamplesIterable",
        "SelectColumnsIterable",
        "VerticallyConcatenatedMultiSourcesExamplesIterable",
    }
)
"""Steps of a pipeline that make each row of one row; what a later version of the library adds is taken for none."""

_REFUSED = {
    "BufferShuffledExamplesIterable": (
        "is shuffled by `.shuffle(...)`, whose buffer holds rows that no position can tell; pass it without, because "
        "the stream shuffles rows itself: `shuffle: true`, `seed: 0`"
    ),
    "HorizontallyConcatenatedMultiSourcesExamplesIterable": (
        "has columns of several datasets side by side (`axis=1`), which cannot be read from two places at once; join "
        "the columns in the files"
    ),
}
"""Steps of a pipeline that would lose or repeat rows, and what to do instead."""


class StreamSource(SequentialSource):
    """Shards of a streaming dataset, each read from its start, where that gives the same rows as reading it whole."""

    def __init__(self, dataset: datasets.IterableDataset, *, name: str, columns: Columns) -> None:
        steps = list(_steps(dataset._ex_iterable))
        _refuse(dataset, steps, name=name)
        num_shards = dataset.num_shards if all(map(_is_row_by_row, steps)) else 1
        split = str(dataset.split or "")
        names = [f"{split}#{number}" for number in range(num_shards)] if num_shards > 1 else [split]
        super().__init__(name=name, shards=tuple(Shard(each, None) for each in names))
        known = dataset.column_names
        self._columns = columns if known is None else match_columns(columns, known, name=name)
        self._dataset = dataset.with_format(None)

    def blocks(self, shard: int, *, num_rows: int, start: int = 0) -> Iterator[Block]:
        """A fresh pass over a shard, from row `start` on, in blocks of `num_rows` rows."""
        row = start
        batches = self._batches(shard, num_rows, start)
        while True:
            try:
                batch = next(batches, None)
            except Exception as error:
                raise SourceError(
                    f"{self.position(shard, row, 0)}: reading the stream failed within {num_rows} rows from "
                    f"here on: {explain(error)}; mend what it reads, or let `method: jsonl` or `parquet` tell the row"
                ) from None
            if batch is None:
                return
            size = len(next(iter(batch.values())))
            yield Block(size, partial(self._picked, batch, shard, row))
            row += size

    def _picked(self, batch: Mapping[str, Sequence[Any]], shard: int, start: int, indices: Int64Array) -> Rows:
        shards, rows = np.full(len(indices), shard, np.int32), start + indices
        locate, picked = Locator(self, shards, rows), indices.tolist()
        columns = {name: [batch[name][index] for index in picked] for name in self._columns.names if name in batch}
        raw = from_batch(columns, columns=self._columns, locate=locate)
        return validated(raw, columns=self._columns, locate=locate, shards=shards, rows=rows)

    def _batches(self, shard: int, num_rows: int, start: int) -> Iterator[Mapping[str, Sequence[Any]]]:
        if parent_process() is not None:
            # A forked worker inherits fsspec's event loop without the thread that drives it.
            fsspec.asyn.reset_lock()
        # `shard` builds a new pipeline, also of one shard: passes that share one would count each other's rows.
        dataset = self._dataset.shard(num_shards=len(self.shards), index=shard)
        # `iter(dataset)` would give each worker its own shards on top of our own division of the rows;
        # `dataset.iter` reads all of them wherever it runs.
        batches: Iterator[Mapping[str, Sequence[Any]]] = dataset.skip(start).iter(batch_size=num_rows)
        return batches


def _refuse(dataset: datasets.IterableDataset, steps: Sequence[Any], *, name: str) -> None:
    """An error for a dataset of which some rows would be lost or read twice."""
    if getattr(dataset, "_distributed", None) is not None:
        raise SourceError(
            f"{name}: the dataset was already split by `split_dataset_by_node`; pass it whole, "
            f"because the stream divides rows among ranks itself"
        )
    for step in steps:
        if reason := _REFUSED.get(type(step).__name__):
            raise SourceError(f"{name}: the dataset {reason}")


def _steps(step: Any) -> Iterator[Any]:
    """A step of a pipeline and, before it, all those that it reads from."""
    yield step
    sources = [step.ex_iterable] if hasattr(step, "ex_iterable") else getattr(step, "ex_iterables", [])
    for source in sources:
        yield from _steps(source)


def _is_row_by_row(step: Any) -> bool:
    """Whether a row that the step gives depends on one row that it takes, and not on where that stands."""
    looks_around = getattr(step, "batched", False) or getattr(step, "with_indices", False)
    return type(step).__name__ in _ROW_BY_ROW and not looks_around
