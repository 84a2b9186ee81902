"""Tables of text with a header: CSV and TSV. The needed columns are kept in memory as bytes of UTF-8."""

import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from csv import QUOTE_MINIMAL, QUOTE_NONE, Error, field_size_limit, reader
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from samsum_stream.errors import ConfigError, SourceError
from samsum_stream.errors.once import warn_once
from samsum_stream.errors.wording import quoted, shown
from samsum_stream.sources.base import Opener
from samsum_stream.sources.files.content import Content, contents_of, read_whole, require_rows
from samsum_stream.sources.files.expand import File, expand_files, shard_names
from samsum_stream.sources.huggingface.arrow import require_single
from samsum_stream.sources.rows.columns import Columns
from samsum_stream.sources.rows.locator import Locator
from samsum_stream.sources.tables import ArrowSource, matched_in_all
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import Rows

logger = logging.getLogger(__name__)

MAX_CELL = (1 << 31) - 1
"""Characters of a cell; the limit of the csv module is 131,072 otherwise."""

_DELIMITERS = ",;\t|"
_ENCODINGS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


class Dialect(NamedTuple):
    """How the cells of a table are separated, and whether double quotes enclose a cell."""

    delimiter: str
    quotes: bool


class Table(NamedTuple):
    """A table of text.

    Attributes:
        header: The names of its columns.
        rows: The cells of each row.
        lines: The last line of each row in its file, counted from 1.
    """

    header: list[str]
    rows: list[list[str]]
    lines: list[int]


def csv(
    path: str | Sequence[str],
    delimiter: str = ",",
    quotes: bool = True,
    storage_options: Mapping[str, Any] | None = None,
) -> Opener:
    """CSV with a header in `path`: a file, a folder, a glob, an fsspec URL, or a list of them, also compressed."""
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise ConfigError(f"csv: `delimiter` must be one character, got {shown(delimiter)}; write a comma as `,`")
    files = expand_files(path, name="csv", options=storage_options or {})
    return Opener(partial(_open, files, dialect=Dialect(delimiter, quotes)))


def tsv(path: str | Sequence[str], quotes: bool = True, storage_options: Mapping[str, Any] | None = None) -> Opener:
    """Like `csv`, with tabs between the columns; `quotes: false` if double quotes are part of the text."""
    files = expand_files(path, name="tsv", options=storage_options or {})
    return Opener(partial(_open, files, dialect=Dialect("\t", quotes)))


def _open(files: tuple[File, ...], *, dialect: Dialect, name: str, columns: Columns) -> "CsvSource":
    contents = contents_of(files, method="tsv" if dialect.delimiter == "\t" else "csv", name=name)
    tables = [_read(content, dialect, name=name) for content in contents]
    require_rows(files, [len(table.rows) for table in tables], name=name)
    headers = [(file, table.header) for file, table in zip(files, tables, strict=True) if table.rows]
    matched = matched_in_all(columns, headers, name=name)
    for file, header in headers:
        require_single(header, matched, where=f"{name}: {file}")
    source = CsvSource(tables, matched.names_in(headers[0][1]), shards=shard_names(files), name=name, columns=matched)
    source.known_columns = tuple(headers[0][1])
    return source


class CsvSource(ArrowSource):
    """The rows of some tables of text; each file is a shard. A row with another number of cells is bad."""

    def __init__(
        self, tables: Sequence[Table], names: Sequence[str], *, shards: Sequence[str], name: str, columns: Columns
    ) -> None:
        arrow = [_arrow_table(table, names) for table in tables]
        super().__init__(arrow, shards=shards, name=name, columns=columns)
        self._lines = np.array([line for table in tables for line in table.lines], np.int64)
        sizes = ((len(row), len(table.header)) for table in tables for row in table.rows)
        self._misfits = {index: size for index, size in enumerate(sizes) if size[0] != size[1]}

    def take(self, indices: Int64Array) -> Rows:
        """The rows at `indices`, `[n]`, in the given order."""
        for index, row in enumerate(indices.tolist() if self._misfits else ()):
            if row in self._misfits:
                problem = "the row has {} cells, and the header has {}; fix the row or leave it out"
                raise self._locate(indices).error(index, problem.format(*self._misfits[row]), reason="not_a_row")
        return super().take(indices)

    def _locate(self, indices: Int64Array) -> Locator:
        return super()._locate(indices)._replace(line_of=lambda index: int(self._lines[indices[index]]))


def _read(content: Content, dialect: Dialect, *, name: str) -> Table:
    """A table; empty without a header if the file has no line."""
    data = read_whole(content, name=name)
    encoding = _ENCODINGS.get(data[:2], "utf-8-sig")
    try:
        text = data.decode(encoding, "surrogateescape" if encoding == "utf-8-sig" else "strict")
        table = _parsed(text, dialect)
    except (ValueError, Error) as error:
        raise SourceError(
            f"{name}: {content.file} cannot be read as a table ({error}); it may be cut, or have quotes that are part "
            "of the text: then double them, or write `quotes: false`"
        ) from error
    if text and not text.endswith(("\n", "\r")):
        warn_once(logger, "%s: the last line of %s has no end, so the file may be cut", name, str(content.file))
    _check_header(table.header, where=f"{name}: {content.file}")
    return table


def _parsed(text: str, dialect: Dialect) -> Table:
    table = Table([], [], [])
    quoting: Literal[0, 3] = QUOTE_MINIMAL if dialect.quotes else QUOTE_NONE
    rows = reader(io.StringIO(text, newline=""), delimiter=dialect.delimiter, quoting=quoting, strict=True)
    with _long_cells():
        try:
            for row in filter(None, rows):  # a blank line is no row
                if not table.header:
                    table.header.extend(row)
                    continue
                table.rows.append(row)
                table.lines.append(rows.line_num)
        except Error as error:
            raise Error(f"line {rows.line_num}: {error}") from None
    return table


@contextmanager
def _long_cells() -> Iterator[None]:
    limit = field_size_limit(MAX_CELL)
    try:
        yield
    finally:
        field_size_limit(limit)


def _check_header(header: Sequence[str], *, where: str) -> None:
    """Raise `SourceError` if the whole header is one cell because of another delimiter."""
    if len(header) == 1 and (others := [sign for sign in _DELIMITERS if sign in header[0]]):
        remedy = "write `method: tsv`" if others[0] == "\t" else f"name it, as in `delimiter: {quoted(others[0])}`"
        raise SourceError(f"{where}: the header is one cell, {quoted(header[0])}: the delimiter is another; {remedy}")


def _arrow_table(table: Table, names: Sequence[str]) -> pa.Table:
    """The columns `names` as bytes: only a row that is taken is checked for UTF-8."""
    numbers = [table.header.index(name) if name in table.header else 0 for name in names]
    return pa.table([pa.array(_cells(table, number), pa.large_binary()) for number in numbers], names=names)


def _cells(table: Table, number: int) -> Iterator[bytes]:
    return ((row[number] if number < len(row) else "").encode("utf-8", "surrogateescape") for row in table.rows)
