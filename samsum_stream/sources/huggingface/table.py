"""A `datasets.Dataset` as an indexed source."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets.features.features import require_decoding

from samsum_stream.errors import SourceError
from samsum_stream.sources.base import IndexedSource, Shard
from samsum_stream.sources.huggingface.arrow import ArrowColumn, Batch, decoded, holds_plain_values
from samsum_stream.sources.memory import wrap_errors
from samsum_stream.sources.rows.columns import Columns
from samsum_stream.sources.rows.locator import Locator
from samsum_stream.sources.rows.matching import match_columns
from samsum_stream.sources.rows.validation import rows_from_batch
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import Rows


class TableSource(IndexedSource):
    """Rows of a dataset, read from the needed columns of its Arrow table.

    A format (`set_format("torch")`, hidden columns) does not change the rows and is removed. A transform
    (`set_transform`) changes the rows and runs on every chunk.
    """

    def __init__(self, dataset: datasets.Dataset, *, name: str, columns: Columns) -> None:
        num_rows = len(dataset)
        if num_rows == 0:
            raise SourceError(f"{name}: the dataset has no rows; check its split and its filters")
        super().__init__(name=name, shards=(Shard(str(dataset.split or ""), num_rows),))
        is_transformed = dataset.format["type"] == "custom"
        known = list(dataset[:1]) if is_transformed else dataset.column_names
        features = None if is_transformed else dataset.features
        self.known_columns = tuple(known)
        self.columns = match_columns(columns, known, name=name).with_labels(features, known)
        self._read = self.columns.names_in(known)
        self._dataset = dataset if is_transformed else dataset.with_format(None).select_columns(self._read)
        self._is_transformed = is_transformed
        self._arrow = self._arrow_columns()

    @property
    def arrow_files(self) -> list[Path]:
        """The files that hold the rows; an empty list if the rows are in memory."""
        return [Path(file["filename"]) for file in self._dataset.cache_files]

    def take(self, indices: Int64Array) -> Rows:
        """The rows at `indices`, `[n]`, in the given order: one Arrow `take` per column."""
        rows = indices.astype(np.int64)
        locate = Locator.in_shard(self, 0, rows)
        with wrap_errors(self.name, lambda: "reading rows"):
            batch = decoded(self._batch, rows, locate)
        return rows_from_batch(batch, columns=self.columns, locate=locate, is_unicode=self._arrow is not None)

    def _batch(self, rows: Int64Array) -> Batch:
        if self._arrow is None:
            batch: Batch = self._dataset[rows.tolist()]
            return batch
        stored = rows if self._mapping is None else self._mapping[rows]
        return {name: column.take(stored) for name, column in self._arrow.items()}

    def _arrow_columns(self) -> dict[str, ArrowColumn] | None:
        """Columns for fast access; None if only the dataset itself can decode the values."""
        table = self._dataset.data.table
        self._mapping = _row_mapping(self._dataset)
        is_decoded = any(map(require_decoding, self._dataset.features.values()))  # such as an image, which is bytes
        is_plain = all(holds_plain_values(field.type, structs=True) for field in table.schema)
        if self._is_transformed or is_decoded or not is_plain:
            return None
        return {name: ArrowColumn(table.column(name)) for name in self._read}

    def __getstate__(self) -> dict[str, Any]:
        # A dataset on disk is pickled as paths; the fast columns would be pickled as copies of the text.
        return {key: value for key, value in self.__dict__.items() if key not in ("_arrow", "_mapping")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._arrow = self._arrow_columns()


def _row_mapping(dataset: datasets.Dataset) -> Int64Array | None:
    """The table index of each row after `select`, `shuffle` or `filter`, `[num_rows]`; None if no row has moved."""
    indices = dataset._indices
    return None if indices is None else indices.column(0).to_numpy().view(np.int64)
