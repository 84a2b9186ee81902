"""JSON files that are read as a whole: an array of objects, or objects one after another.

    [{...}, {...}, ...]   {"rows": [{...}, {...}]}   {...} {...} ...   ──▶ the JSON of each row, as bytes

The rows are parsed again when they are taken, so that the memory is that of the text and not that of Python objects.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from json import detect_encoding, dumps
from typing import Any

import numpy as np

from samsum_stream.errors import SourceError
from samsum_stream.errors.wording import did_you_mean
from samsum_stream.sources.base import IndexedSource, Opener, Shard
from samsum_stream.sources.files.content import Content, contents_of, read_whole, require_rows
from samsum_stream.sources.files.expand import File, expand_files, shard_names
from samsum_stream.sources.json_lines.lines import WHITE_SPACE, parse_lines
from samsum_stream.sources.json_text import DECODER
from samsum_stream.sources.rows.columns import Columns
from samsum_stream.sources.rows.locator import Locator
from samsum_stream.sources.rows.validation import rows_from_mappings
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import Rows

_WHITE_SPACE = WHITE_SPACE.decode()


def json(
    path: str | Sequence[str], field: str | None = None, storage_options: Mapping[str, Any] | None = None
) -> Opener:
    """A JSON array of objects, or objects over several lines, in `path`; `field` names the array in an object."""
    return Opener(partial(_open, expand_files(path, name="json", options=storage_options or {}), field=field))


def _open(files: tuple[File, ...], *, field: str | None, name: str, columns: Columns) -> "JsonSource":
    contents = contents_of(files, method="json", name=name)
    rows = [list(_rows_of(content, field=field, name=name)) for content in contents]
    require_rows(files, [*map(len, rows)], name=name)
    return JsonSource(rows, shards=shard_names(files), name=name, columns=columns)


class JsonSource(IndexedSource):
    """The JSON of each row of some files, in memory; each file is a shard."""

    def __init__(self, rows: Sequence[Sequence[bytes]], *, shards: Sequence[str], name: str, columns: Columns) -> None:
        super().__init__(name=name, shards=tuple(map(Shard, shards, map(len, rows))))
        self.columns = columns
        self._starts = np.cumsum([0, *map(len, rows)])
        self._ends = np.cumsum([0, *(len(row) for part in rows for row in part)])
        self._data = b"".join(row for part in rows for row in part)

    def take(self, indices: Int64Array) -> Rows:
        """The rows at `indices`, `[n]`, in the given order."""
        shards = (np.searchsorted(self._starts, indices, side="right") - 1).astype(np.int32)
        locate = Locator(self, shards, indices - self._starts[shards])
        borders = zip(self._ends[indices].tolist(), self._ends[indices + 1].tolist(), strict=True)
        values = parse_lines([self._data[start:end] for start, end in borders], locate=locate)
        return rows_from_mappings(values, columns=self.columns, locate=locate)


def _rows_of(content: Content, *, field: str | None, name: str) -> Iterator[bytes]:
    """The JSON of each row of a file; a text that is not UTF-8 makes its row bad, and not the file."""
    data = read_whole(content, name=name)
    encoding = detect_encoding(data)
    try:
        text = data.decode(encoding, "surrogateescape" if encoding.startswith("utf-8") else "strict")
        values = list(_values(text))
    except (ValueError, RecursionError) as error:
        raise SourceError(
            f"{name}: {content.file} is not JSON, or is cut ({error}); fetch or write it again"
        ) from error
    if field is not None:
        values = [_field(values, field, where=f"{name}: {content.file}")]
    for value in values[0] if len(values) == 1 and isinstance(values[0], list) else values:
        yield _bytes_of(value)


def _bytes_of(value: Any) -> bytes:
    """The JSON of a value: bytes that are not UTF-8 are kept, and lone surrogates are escaped."""
    try:
        return dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return dumps(value).encode()


def _values(text: str) -> Iterator[Any]:
    """The values of a text, one after another."""
    decode, end = DECODER.raw_decode, len(text)
    position = _next(text, 0)
    while position < end:
        value, position = decode(text, position)
        yield value
        position = _next(text, position)


def _next(text: str, position: int) -> int:
    """The position of the next character that is not white space."""
    while position < len(text) and text[position] in _WHITE_SPACE:
        position += 1
    return position


def _field(values: Sequence[Any], field: str, *, where: str) -> list[Any]:
    known = list(values[0]) if len(values) == 1 and isinstance(values[0], Mapping) else []
    rows = values[0][field] if field in known else None
    if not isinstance(rows, list):
        raise SourceError(f"{where}: `field: {field}` must name an array in one object; {did_you_mean(field, known)}")
    return rows
