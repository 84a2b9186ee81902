"""Parquet files, local or behind URLs: each row group is a shard, and only the needed columns are read."""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from samsum_stream.errors import SourceError
from samsum_stream.sources.base import Block, Opener, SequentialSource, Shard
from samsum_stream.sources.files.content import MAX_OPENED_AT_ONCE, head_of, require_rows
from samsum_stream.sources.files.expand import File, expand_files, has_remote, shard_names
from samsum_stream.sources.files.fetch import BadBytes
from samsum_stream.sources.files.kinds import refuse_other_kinds
from samsum_stream.sources.files.remote import Attempts, RemoteFile
from samsum_stream.sources.files.reread import BrokenFile, retry_blocks
from samsum_stream.sources.huggingface.arrow import ArrowColumn, decoded, require_plain_columns
from samsum_stream.sources.rows.columns import Columns
from samsum_stream.sources.rows.locator import Locator
from samsum_stream.sources.rows.matching import match_columns, require_all_columns
from samsum_stream.sources.rows.validation import rows_from_batch
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import Rows

_UNREADABLE = (pa.ArrowException, OSError, ValueError)
"""The errors of Arrow for a broken file."""


def parquet(path: str | Sequence[str], storage_options: Mapping[str, Any] | None = None) -> Opener:
    """Parquet files in `path`: a file, a glob, an fsspec URL, or a list of them."""
    return Opener(partial(ParquetSource, expand_files(path, name="parquet", options=storage_options or {})))


class RowGroup(NamedTuple):
    """A row group: its file, its number in the file, and the digest of the file's footer."""

    file: File
    number: int
    footer: bytes


class ParquetSource(SequentialSource):
    """Row groups as shards, with the row counts from the footers."""

    seeks = True

    def __init__(self, files: tuple[File, ...], *, name: str, columns: Columns) -> None:
        with ThreadPoolExecutor(MAX_OPENED_AT_ONCE) as pool:
            footers = list(pool.map(partial(_read_footer, name=name), files))
        require_rows(files, [metadata.num_rows for metadata, _ in footers], name=name)
        schemas = [(file, schema) for file, (metadata, schema) in zip(files, footers, strict=True) if metadata.num_rows]
        self.known_columns = tuple(schemas[0][1].names)
        self.columns = _matched(columns, schemas, name=name)
        self._groups, shards = list[RowGroup](), list[Shard]()
        for file, (metadata, _), shard_name in zip(files, footers, shard_names(files), strict=True):
            footer = _digest(metadata)
            for number in range(metadata.num_row_groups):
                if not metadata.row_group(number).num_rows:
                    continue
                self._groups.append(RowGroup(file, number, footer))
                suffix = f"#{number}" if metadata.num_row_groups > 1 else ""
                shards.append(Shard(f"{shard_name}{suffix}", metadata.row_group(number).num_rows))
        super().__init__(name=name, shards=tuple(shards))
        self.is_remote = has_remote(files)

    def blocks(self, shard: int, *, num_rows: int, start: int = 0) -> Iterator[Block]:
        """A new pass over a row group from row `start` on, in blocks of `num_rows` rows."""
        return retry_blocks(partial(self._blocks, shard, num_rows), file=self._groups[shard].file, start=start)

    def _blocks(self, shard: int, num_rows: int, start: int) -> Iterator[Block]:
        row = start
        try:
            for table in _regrouped(self._batches(shard, num_rows), num_rows=num_rows, start=start):
                yield Block(len(table), partial(self._take, table, shard, row), table.nbytes)
                row += len(table)
        except _UNREADABLE as error:
            raise BrokenFile(
                f"{self.name}/{self.shards[shard].name}:{row}: the row group cannot be read "
                f"({type(error).__name__}: {error}); fetch or write it again"
            ) from error

    def _take(self, table: pa.Table, shard: int, start: int, indices: Int64Array) -> Rows:
        locate = Locator.in_shard(self, shard, start + indices)
        columns = {name: ArrowColumn(table.column(name)) for name in table.column_names}
        batch = decoded(lambda some: {name: column.take(some) for name, column in columns.items()}, indices, locate)
        return rows_from_batch(batch, columns=self.columns, locate=locate)

    def _batches(self, shard: int, num_rows: int) -> Iterator[pa.RecordBatch]:
        group = self._groups[shard]
        with _opened(group.file) as file:
            if _digest(file.metadata) != group.footer:  # a footer has no checksum
                raise BadBytes("the footer has changed since the file was first opened")
            yield from file.iter_batches(
                num_rows,
                row_groups=[group.number],
                columns=self.columns.names_in(self.known_columns),
                use_threads=False,
            )


Footer = tuple[pq.FileMetaData, pa.Schema]


def _matched(columns: Columns, schemas: Sequence[tuple[File, pa.Schema]], *, name: str) -> Columns:
    """The columns to read, which all files must have with types that Arrow decodes to plain values."""
    first, schema_of_first = schemas[0]
    matched = _columns_of(columns, schema_of_first, name=f"{name}: {first}")
    for file, schema in schemas:
        require_all_columns(columns, schema.names, schema_of_first.names, where=f"{name}: {file} and {first}")
        of_file = _columns_of(columns, schema, name=f"{name}: {file}")
        if of_file != matched:
            what = "names of class labels" if of_file.labels != matched.labels else "columns of optional fields"
            raise SourceError(f"{name}: {file} and {first} must have the same {what}; write both alike")
        require_plain_columns(schema, matched, where=f"{name}: {file}")
    return matched


def _columns_of(columns: Columns, schema: pa.Schema, *, name: str) -> Columns:
    """The columns of a file; class labels are in the metadata that the `datasets` library writes."""
    matched = match_columns(columns, schema.names, name=name)
    if b"huggingface" not in (schema.metadata or {}):
        return matched
    return matched.with_labels(datasets.Features.from_arrow_schema(schema), schema.names)


@contextmanager
def _opened(file: File) -> Iterator[pq.ParquetFile]:
    """An open file; the columns of a row group of a remote file are fetched in a few large reads."""
    is_remote = isinstance(file, RemoteFile)
    source = pa.PythonFile(file.open(), mode="r") if is_remote else file
    with pq.ParquetFile(
        source, memory_map=not is_remote, pre_buffer=is_remote, page_checksum_verification=True
    ) as opened:
        yield opened


def _read_footer(file: File, *, name: str) -> Footer:
    def read() -> Footer:
        with _opened(file) as opened:
            return _checked(opened.metadata), opened.schema_arrow

    errors = _UNREADABLE if isinstance(file, RemoteFile) else ()
    attempts = Attempts(f"reading the footer of {file}", retries=lambda error: isinstance(error, errors))
    try:
        return attempts.call(read)
    except _UNREADABLE as error:
        refuse_other_kinds(head_of(file), method="parquet", file=file, name=name)
        raise SourceError(
            f"{name}: {file} cannot be read as parquet ({type(error).__name__}: {error}); fetch or write it again"
        ) from error


def _checked(metadata: pq.FileMetaData) -> pq.FileMetaData:
    """The footer, if its row counts agree: it has no checksum, and Arrow ends a row group where the footer says."""
    num_rows = sum(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))
    if num_rows != metadata.num_rows:
        raise ValueError(f"the footer promises {metadata.num_rows:,} rows, and its row groups have {num_rows:,}")
    return metadata


def _digest(metadata: pq.FileMetaData) -> bytes:
    content = io.BytesIO()
    metadata.write_metadata_file(content)
    return hashlib.md5(content.getvalue(), usedforsecurity=False).digest()


def _regrouped(batches: Iterator[pa.RecordBatch], *, num_rows: int, start: int) -> Iterator[pa.Table]:
    """Tables of `num_rows` rows from row `start` on, the last one shorter; batches of Arrow end at pages instead."""
    pending: list[pa.RecordBatch] = []
    num_pending = 0
    for batch in batches:
        skipped = min(start, len(batch))
        start -= skipped
        pending.append(batch.slice(skipped))
        num_pending += len(batch) - skipped
        while num_pending >= num_rows:
            table = pa.Table.from_batches(pending)
            yield table.slice(0, num_rows)
            pending, num_pending = table.slice(num_rows).to_batches(), num_pending - num_rows
    if num_pending:
        yield pa.Table.from_batches(pending)
