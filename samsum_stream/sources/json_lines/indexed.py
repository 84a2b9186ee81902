"""JSON lines: plain local files are read at any byte offset, other files from start to end."""

import mmap
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from samsum_stream.errors import SourceError
from samsum_stream.sources.base import IndexedSource, Opener, Shard, Source
from samsum_stream.sources.files.content import contents_of, require_rows
from samsum_stream.sources.files.expand import File, expand_files, shard_names
from samsum_stream.sources.json_lines.lines import RowLines, parse_lines, row_lines
from samsum_stream.sources.json_lines.sequential import SequentialJsonl
from samsum_stream.sources.rows.columns import Columns
from samsum_stream.sources.rows.locator import Locator
from samsum_stream.sources.rows.validation import rows_from_mappings
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import Rows


def jsonl(path: str | Sequence[str], storage_options: Mapping[str, Any] | None = None) -> Opener:
    """One JSON object per line in `path`: a file, a folder, a glob, an fsspec URL, or a list, also compressed."""
    files = expand_files(path, name="jsonl", options=storage_options or {})
    return Opener(partial(_open, files))


def _open(files: tuple[File, ...], *, name: str, columns: Columns) -> Source:
    """An indexed source if all files are plain and local, else a sequential source."""
    contents = contents_of(files, method="jsonl", name=name)
    if all(content.is_plain_and_local for content in contents):
        return IndexedJsonl(tuple(Path(str(file)) for file in files), name=name, columns=columns)
    return SequentialJsonl(contents, name=name, columns=columns)


class IndexedJsonl(IndexedSource):
    """Plain files with line offsets: 8 bytes of memory per row; the text stays in the page cache."""

    def __init__(self, files: tuple[Path, ...], *, name: str, columns: Columns) -> None:
        self._files = files
        self.columns = columns
        self._lines = [_read_offsets(file, name=name) for file in files]
        counts = [len(lines.offsets) - 1 for lines in self._lines]
        require_rows(files, counts, name=name)
        super().__init__(name=name, shards=tuple(map(Shard, shard_names(files), counts)))
        self._starts = np.cumsum([0, *counts])
        self._maps: dict[int, mmap.mmap] = {}

    def take(self, indices: Int64Array) -> Rows:
        """The rows at `indices`, `[n]`, in the given order; the files are read in their own order."""
        shards = (np.searchsorted(self._starts, indices, side="right") - 1).astype(np.int32)
        rows = indices - self._starts[shards]
        locate = Locator(self, shards, rows, lambda index: self._lines[shards[index]].number(int(rows[index])))
        values = parse_lines(self._read(indices), locate=locate)
        return rows_from_mappings(values, columns=self.columns, locate=locate)

    def _read(self, indices: Int64Array) -> list[bytes]:
        order = np.argsort(indices, kind="stable")
        ascending = indices[order]
        borders = np.searchsorted(ascending, self._starts)
        lines: list[bytes] = []
        for shard in np.flatnonzero(np.diff(borders)).tolist():
            local = ascending[borders[shard] : borders[shard + 1]] - self._starts[shard]
            offsets, data = self._lines[shard].offsets, self._map(shard)
            lines += [data[a:b] for a, b in zip(offsets[local].tolist(), offsets[local + 1].tolist(), strict=True)]
        return [lines[index] for index in np.argsort(order).tolist()]

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
                size_now = os.fstat(opened.fileno()).st_size
                if size_now == size:
                    return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise SourceError(f"{self.name}: {file} cannot be read: {error}") from error
        raise SourceError(f"{self.name}: {file} had {size} bytes when opened and has {size_now} now; start again")

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": {}}


def _read_offsets(file: Path, *, name: str) -> RowLines:
    try:
        return row_lines(file)
    except (OSError, ValueError) as error:
        raise SourceError(f"{name}: {file} cannot be read: {error}; check the file and its permissions") from error


_MAX_OPEN = 64
"""Files that are mapped at a time, so that a thousand files do not need a thousand descriptors."""
