"""A `datasets.IterableDataset`, such as `load_dataset(..., streaming=True)`: its shards become shards of the source.

file 0 ──▶ filter ──▶ map ──▶ shard 0        each row comes from one row: each shard is read on its own
file 1 ──▶ filter ──▶ map ──▶ shard 1
file 0, file 1 ──▶ take ──▶ the only shard   a step that depends on several rows, or on their number, reads all files

Every pass starts a new pipeline and reaches a row by `skip`. The state of the library would not reach it faster, except
that functions would not run on skipped rows, and the position of every lane would have to contain that state.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from multiprocessing import parent_process
from typing import Any

import datasets
import fsspec.asyn

from samsum_stream.errors import SourceError
from samsum_stream.errors.redaction import explain
from samsum_stream.sources.base import Block, SequentialSource, Shard
from samsum_stream.sources.rows.columns import Columns
from samsum_stream.sources.rows.locator import Locator
from samsum_stream.sources.rows.matching import match_columns
from samsum_stream.sources.rows.validation import rows_from_batch
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
"""Pipeline steps that compute each row from one row; a step that a later version adds is not assumed to be one."""

_REFUSED = {
    "BufferShuffledExamplesIterable": (
        "is shuffled by `.shuffle(...)`, and a position cannot describe the rows in its buffer; pass the dataset "
        "without it, and let the stream shuffle: `shuffle: true`, `seed: 0`"
    ),
    "HorizontallyConcatenatedMultiSourcesExamplesIterable": (
        "has columns of several datasets side by side (`axis=1`), which two readers cannot read at the same time; join "
        "the columns in the files"
    ),
}
"""Pipeline steps that would lose or repeat rows, with the reason and the remedy."""


class StreamSource(SequentialSource):
    """The shards of a streaming dataset; one shard if reading shard by shard would give other rows."""

    def __init__(self, dataset: datasets.IterableDataset, *, name: str, columns: Columns) -> None:
        steps = list(_steps(dataset._ex_iterable))
        _refuse(dataset, steps, name=name)
        num_shards = dataset.num_shards if all(map(_is_row_by_row, steps)) else 1
        split = str(dataset.split or "")
        names = [f"{split}#{number}" for number in range(num_shards)] if num_shards > 1 else [split]
        super().__init__(name=name, shards=tuple(Shard(shard, None) for shard in names))
        known = dataset.column_names
        self.columns = columns
        if known is not None:
            self.columns = match_columns(columns, known, name=name).with_labels(dataset.features, known)
            self.known_columns = tuple(known)
        self._dataset = dataset.with_format(None)

    def blocks(self, shard: int, *, num_rows: int, start: int = 0) -> Iterator[Block]:
        """A new pass over a shard from row `start` on, in blocks of `num_rows` rows."""
        row = start
        batches = self._batches(shard, num_rows, start)
        while True:
            try:
                batch = next(batches, None)
            except Exception as error:
                raise SourceError(
                    f"{self.position(shard, row, 0)}: reading the stream failed within the next {num_rows} "
                    f"rows: {explain(error)}; fix its files, or use `method: jsonl` or `parquet` to find the row"
                ) from None
            if batch is None:
                return
            size = len(next(iter(batch.values())))
            yield Block(size, partial(self._take, batch, shard, row))
            row += size

    def _take(self, batch: Mapping[str, Sequence[Any]], shard: int, start: int, indices: Int64Array) -> Rows:
        locate, taken = Locator.in_shard(self, shard, start + indices), indices.tolist()
        part = {name: [batch[name][index] for index in taken] for name in self.columns.names_in(batch)}
        return rows_from_batch(part, columns=self.columns, locate=locate)

    def _batches(self, shard: int, num_rows: int, start: int) -> Iterator[Mapping[str, Sequence[Any]]]:
        if parent_process() is not None:
            # A forked worker inherits fsspec's event loop without the thread that drives it.
            fsspec.asyn.reset_lock()
        # `shard` builds a new pipeline, even for one shard: passes that share a pipeline would count each other's rows.
        dataset = self._dataset.shard(num_shards=len(self.shards), index=shard)
        # `iter(dataset)` would also divide the shards among workers, but the stream has already divided the rows;
        # `dataset.iter` reads all shards in every process.
        batches: Iterator[Mapping[str, Sequence[Any]]] = dataset.skip(start).iter(batch_size=num_rows)
        return batches


def _refuse(dataset: datasets.IterableDataset, steps: Sequence[Any], *, name: str) -> None:
    """Raise `SourceError` if rows of the dataset would be lost or read twice."""
    if getattr(dataset, "_distributed", None) is not None:
        raise SourceError(
            f"{name}: the dataset was already split by `split_dataset_by_node`; pass the whole dataset, "
            "because the stream divides rows among ranks itself"
        )
    for step in steps:
        if reason := _REFUSED.get(type(step).__name__):
            raise SourceError(f"{name}: the dataset {reason}")


def _steps(step: Any) -> Iterator[Any]:
    """A step of a pipeline, and all steps that it reads from."""
    yield step
    sources = [step.ex_iterable] if hasattr(step, "ex_iterable") else getattr(step, "ex_iterables", [])
    for source in sources:
        yield from _steps(source)


def _is_row_by_row(step: Any) -> bool:
    """Whether each output row of the step depends on one input row, and not on its index."""
    uses_other_rows = getattr(step, "batched", False) or getattr(step, "with_indices", False)
    return type(step).__name__ in _ROW_BY_ROW and not uses_other_rows
