"""Sources of rows: one file per kind of source, and one table of the names that a config can use.

method(**kwargs) ──▶ Dataset, IterableDataset, list, iterable, callable, Opener ──as_source──▶ Source
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import datasets

from samsum_stream.config.source import ColumnConfig
from samsum_stream.errors import ConfigError, SourceError
from samsum_stream.sources.base import Block, IndexedSource, Leaf, Opener, SequentialSource, Shard, Source
from samsum_stream.sources.csv_files import csv, tsv
from samsum_stream.sources.huggingface.load import load_dataset, load_from_disk, one_split
from samsum_stream.sources.huggingface.streaming import StreamSource
from samsum_stream.sources.huggingface.table import TableSource
from samsum_stream.sources.json_files import json
from samsum_stream.sources.json_lines.indexed import jsonl
from samsum_stream.sources.memory import IterableSource, ListSource, wrap_errors
from samsum_stream.sources.mixture import Mixture
from samsum_stream.sources.names import default_name
from samsum_stream.sources.parquet_files import parquet
from samsum_stream.sources.rows.columns import Columns
from samsum_stream.sources.rows.forms import NO_NAMES, TemplateNames
from samsum_stream.sources.rows.gather import typed_repr
from samsum_stream.sources.rows.matching import parse_columns
from samsum_stream.sources.rows.rules import USUAL_RULES, ConversationRules
from samsum_stream.sources.rows.selection import ALL_ROWS, Selection
from samsum_stream.sources.tables import is_table, table_source
from samsum_stream.sources.tars.samples import webdataset

__all__ = [
    "SOURCES",
    "Block",
    "ConversationRules",
    "IndexedSource",
    "Leaf",
    "Mixture",
    "Opener",
    "SequentialSource",
    "Shard",
    "Source",
    "TemplateNames",
    "as_source",
    "default_name",
]

SOURCES: dict[str, Callable[..., object]] = {
    "csv": csv,
    "json": json,
    "jsonl": jsonl,
    "load_dataset": load_dataset,
    "load_from_disk": load_from_disk,
    "parquet": parquet,
    "tsv": tsv,
    "webdataset": webdataset,
}
"""The names that `source_config.method` can use; each function returns an object that `as_source` accepts."""


def as_source(
    rows: object,
    *,
    name: str,
    columns: Mapping[str, str | ColumnConfig],
    rules: ConversationRules = USUAL_RULES,
    templates: TemplateNames = NO_NAMES,
    selection: Selection = ALL_ROWS,
) -> Source:
    """The source that reads `rows`; `columns` maps the names of fields to the columns of the rows.

    `rules` say how conversations are read, `templates` what the templates of the prompt read, and `selection` which
    rows are kept, and how they are changed.

    A callable is called once per pass, in every worker. It must return the same rows in the same order each time,
    because workers divide the rows by their index in that order. A bare iterator is read once, by this process only.

    Raises:
        ConfigError: a column has no field, or `rows` is a source, and `columns` or `selection` is not empty.
        SourceError: `rows` is not of a known kind, or holds no rows.
    """
    parsed = parse_columns(columns, rules=rules, templates=templates, selection=selection)
    return _of_rows(rows, name=name, columns=parsed)


def _of_rows(rows: Any, *, name: str, columns: Columns) -> Source:
    if isinstance(rows, Source):
        _refuse_settings(columns, name=name)
        return rows
    if isinstance(rows, Opener):
        return rows.open(name=name, columns=columns)
    if isinstance(rows, datasets.DatasetDict | datasets.IterableDatasetDict):
        one_split(rows, name=name)
    if isinstance(rows, datasets.Dataset):
        return TableSource(rows, name=name, columns=columns)
    if isinstance(rows, datasets.IterableDataset):
        return StreamSource(rows, name=name, columns=columns)
    if is_table(rows):
        return table_source(rows, name=name, columns=columns)
    if callable(rows):
        return _of_callable(rows, name=name, columns=columns)
    return _in_memory(rows, name=name, columns=columns)


def _refuse_settings(columns: Columns, *, name: str) -> None:
    """Raise `ConfigError` if the section of a ready source names columns, or selects or changes rows."""
    if columns.named:
        raise ConfigError(f"{name}: a ready source already knows its columns; leave `columns:` out")
    if not columns.selection.is_empty:
        raise ConfigError(
            f"{name}: a ready source gives validated rows, which have no columns any more; leave `where`, `map` and "
            "`filter` out, and select the rows in the source"
        )


def _of_callable(function: Callable[[], Any], *, name: str, columns: Columns) -> Source:
    """The source of what `function` returns; if that can be read only once, each pass calls `function` again."""
    with wrap_errors(name, lambda: "calling the function that returns the rows"):
        rows = function()
    if isinstance(rows, Iterator):
        return IterableSource(function, name=name, columns=columns)
    return _of_rows(rows, name=name, columns=columns)


def _in_memory(rows: Any, *, name: str, columns: Columns) -> Source:
    if isinstance(rows, Mapping):
        raise SourceError(
            f"{name}: rows must be a list of dicts, got one {typed_repr(rows)}; for a dict of columns pass "
            f"`datasets.Dataset.from_dict(...)`"
        )
    if hasattr(rows, "collect_schema"):
        raise SourceError(f"{name}: rows must not be a {type(rows).__name__}, which is not computed; pass `.collect()`")
    if hasattr(rows, "__len__") and hasattr(rows, "__getitem__") and not isinstance(rows, str | bytes):
        return ListSource(rows, name=name, columns=columns)
    if isinstance(rows, Iterable) and not isinstance(rows, str | bytes):
        return IterableSource(rows, name=name, columns=columns)
    raise SourceError(
        f"{name}: rows must be a datasets.Dataset or IterableDataset, a table (pyarrow, pandas, polars), a list or "
        f"iterable of dicts, a callable that returns one of them, or a Source; got {typed_repr(rows)}"
    )
