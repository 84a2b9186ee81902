"""JSON lines: plain local files are read anywhere by byte offset, all others in stretches."""

import mmap
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from samsum_stream.errors import SourceError
from samsum_stream.sources.base import IndexedSource, Opener, Shard, Source
from samsum_stream.sources.files.expand import File, expand_files, is_gzip, shard_names
from samsum_stream.sources.json_lines.lines import RowLines, parse_lines, row_lines
from samsum_stream.sources.json_lines.sequential import SequentialJsonl
from samsum_stream.sources.rows.columns import Columns
from samsum_stream.sources.rows.gather import from_rows
from samsum_stream.sources.rows.locator import Locator
from samsum_stream.sources.rows.validation import validated
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import Rows


def jsonl(path: str | Sequence[str], storage_options: Mapping[str, Any] | None = None) -> Opener:
    """One JSON object a line in `path`: a file, a glob, an fsspec URL, or a list of them; `.gz` is read as gzip."""
    return Opener(partial(_opened, expand_files(path, name="jsonl", options=storage_options or {})))


def _opened(files: tuple[File, ...], *, name: str, columns: Columns) -> Source:
    """An indexed source of plain local files; any other file among them makes the whole sequential."""
    plain = tuple(file for file in files if isinstance(file, Path) and not is_gzip(file))
    if len(plain) == len(files):
        return IndexedJsonl(plain, name=name, columns=columns)
    return SequentialJsonl(files, name=name, columns=columns)


class IndexedJsonl(IndexedSource):
    """Plain files by line offsets: 8 bytes a row in memory, the text in the page cache."""

    def __init__(self, files: tuple[Path, ...], *, name: str, columns: Columns) -> None:
        self._files = files
        self._columns = columns
        self._lines = [_lines(file, name=name) for file in files]
        counts = [len(lines.offsets) - 1 for lines in self._lines]
        for file, count in zip(files, counts, strict=True):
            if count == 0:
                raise SourceError(f"{name}: {file} holds only blank lines; write it again, or leave it out")
        super().__init__(name=name, shards=tuple(map(Shard, shard_names(files), counts)))
        self._starts = np.cumsum([0, *counts])
        self._maps: dict[int, mmap.mmap] = {}

    def take(self, indices: Int64Array) -> Rows:
        """The rows at `indices`, `[n]`, in the order asked for; the files are read in their own order."""
        shards = (np.searchsorted(self._starts, indices, side="right") - 1).astype(np.int32)
        rows = indices - self._starts[shards]
        locate = Locator(self, shards, rows, lambda index: self._lines[shards[index]].number(int(rows[index])))
        raw = from_rows(parse_lines(self._read(indices), locate=locate), columns=self._columns, locate=locate)
        return validated(raw, columns=self._columns, locate=locate, shards=shards, rows=rows)

    def _read(self, indices: Int64Array) -> list[bytes]:
        order = np.argsort(indices, kind="stable")
        wanted = indices[order]
        borders = np.searchsorted(wanted, self._starts)
        lines: list[bytes] = []
        for shard in np.flatnonzero(np.diff(borders)).tolist():
            local = wanted[borders[shard] : borders[shard + 1]] - self._starts[shard]
            offsets, data = self._lines[shard].offsets, self._map(shard)
            lines += [data[a:b] for a, b in zip(offsets[local].tolist(), offsets[local + 1].tolist(), strict=True)]
        return [lines[place] for place in np.argsort(order).tolist()]

    def _map(self, shard: int) -> mmap.mmap:
        if shard not in self._maps:
            if len(self._maps) == _MAX_OPEN:
                self._maps.pop(next(iter(self._maps))).close()
            self._maps[shard] = self._open_map(shard)
        return self._maps[shard]

    def _open_map(self, shard: int) -> mmap.mmap:
        file, size = self._files[shard], int(self._lines[shard].offsets[-1])
        try:
            with file.open("rb") as opened:
                found = os.fstat(opened.fileno()).st_size
                if found == size:
                    return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise SourceError(f"{self.name}: {file} cannot be read: {error}") from error
        raise SourceError(f"{self.name}: {file} was {size} bytes when it was opened and is {found} now; start again")

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": {}}


def _lines(file: Path, *, name: str) -> RowLines:
    try:
        return row_lines(file)
    except (OSError, ValueError) as error:
        raise SourceError(f"{name}: {file} cannot be read: {error}; check the file and who may read it") from error


_MAX_OPEN = 64
"""Files that are mapped at a time, so that a thousand files do not hold a thousand descriptors."""
