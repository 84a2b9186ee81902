"""Tables in memory: Arrow tables, data frames of pandas and polars, relations of duckdb, and tables read from files."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from samsum_stream.errors import SourceError
from samsum_stream.errors.redaction import explain
from samsum_stream.sources.base import IndexedSource, Shard
from samsum_stream.sources.files.expand import File
from samsum_stream.sources.huggingface.arrow import ArrowColumn, decoded, require_plain_columns
from samsum_stream.sources.rows.columns import Columns
from samsum_stream.sources.rows.locator import Locator
from samsum_stream.sources.rows.matching import match_columns, require_all_columns
from samsum_stream.sources.rows.validation import rows_from_batch
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import Rows


class ArrowSource(IndexedSource):
    """Tables with the same columns, each a shard.

    Args:
        tables: The tables; only the columns of `columns` are kept.
        shards: The names of the tables.
        name: The name of the source.
        columns: Columns that are known to be in every table.
    """

    def __init__(self, tables: Sequence[pa.Table], *, shards: Sequence[str], name: str, columns: Columns) -> None:
        super().__init__(name=name, shards=tuple(map(Shard, shards, map(len, tables))))
        self.columns, self.known_columns = columns, tuple(tables[0].column_names)
        self._starts = np.cumsum([0, *map(len, tables)])
        names = columns.names_in(self.known_columns)
        table = pa.concat_tables([table.select(names) for table in tables])
        self._arrow = {name: ArrowColumn(table.column(name)) for name in names}

    def take(self, indices: Int64Array) -> Rows:
        """The rows at `indices`, `[n]`, in the given order."""
        locate = self._locate(indices)
        batch = decoded(lambda some: {name: column.take(some) for name, column in self._arrow.items()}, indices, locate)
        return rows_from_batch(batch, columns=self.columns, locate=locate)

    def _locate(self, indices: Int64Array) -> Locator:
        shards = (np.searchsorted(self._starts, indices, side="right") - 1).astype(np.int32)
        return Locator(self, shards, indices - self._starts[shards])


def matched_in_all(columns: Columns, known: Sequence[tuple[File, Sequence[str]]], *, name: str) -> Columns:
    """The columns to read, which all files must have; `known` has each file with its columns."""
    first, names_of_first = known[0]
    matched = match_columns(columns, names_of_first, name=f"{name}: {first}")
    for file, names in known:
        require_all_columns(columns, names, names_of_first, where=f"{name}: {file} and {first}")
        if match_columns(columns, names, name=f"{name}: {file}") != matched:
            raise SourceError(
                f"{name}: {file} and {first} must have the same columns of optional fields; write both alike"
            )
    return matched


def is_table(rows: object) -> bool:
    """Whether `rows` gives its columns to Arrow, or is a data frame of pandas."""
    return any(hasattr(rows, name) for name in ("__arrow_c_stream__", "__arrow_c_array__")) or _is_pandas(rows)


def table_source(rows: Any, *, name: str, columns: Columns) -> ArrowSource:
    """The source of a table.

    Raises:
        SourceError: the table has no rows or lacks a column, or Arrow cannot represent a column.
    """
    try:
        table = _pandas_table(rows, columns, name=name) if _is_pandas(rows) else pa.table(rows)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise SourceError(
            f"{name}: Arrow cannot read the {type(rows).__name__} ({explain(error)}); give each column values of one "
            "type, or pass a list of dicts"
        ) from error
    matched = match_columns(columns, table.column_names, name=name)
    if not len(table):
        raise SourceError(f"{name}: the table has no rows; check its filters")
    require_plain_columns(table.schema, matched, where=name)
    return ArrowSource([table], shards=[""], name=name, columns=matched)


def _pandas_table(rows: Any, columns: Columns, *, name: str) -> pa.Table:
    """Only the columns that are read: others may hold any object."""
    known = list(rows.columns)
    names = match_columns(columns, known, name=name).names_in(known)
    return pa.Table.from_pandas(rows[names], preserve_index=False)


def _is_pandas(rows: object) -> bool:
    return hasattr(rows, "iloc") and hasattr(rows, "columns")
