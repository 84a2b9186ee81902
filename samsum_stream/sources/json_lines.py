"""JSON lines: plain local files are read anywhere by byte offset, gzip and remote ones from start to end."""

import functools
import gzip
import mmap
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from samsum_stream.errors import SourceError
from samsum_stream.samples import Int64Array, Rows
from samsum_stream.sources.base import Block, IndexedSource, Opener, SequentialSource, Shard, Source
from samsum_stream.sources.columns import Columns
from samsum_stream.sources.fields import locator, validated
from samsum_stream.sources.files import File, expand_files, opened, shard_names
from samsum_stream.sources.gather import from_rows
from samsum_stream.sources.json_text import parse_lines
from samsum_stream.sources.lines import BOM, WHITE_SPACE, line_number, row_offsets


def jsonl(path: str | Sequence[str], storage_options: Mapping[str, Any] | None = None) -> "JsonlFiles":
    """One JSON object a line in `path`: a file, a glob, an fsspec URL, or a list of them; `.gz` is read as gzip."""
    return JsonlFiles(expand_files(path, name="jsonl", options=storage_options or {}))


class JsonlFiles(Opener):
    """Files that exist; what they hold is looked at by `open`."""

    def __init__(self, files: tuple[File, ...]) -> None:
        self.files = files

    def open(self, *, name: str, columns: Columns) -> Source:
        """An indexed source of plain local files; any other file among them makes the whole sequential."""
        plain = [file for file in self.files if isinstance(file, Path) and not _is_gzip(file)]
        if len(plain) == len(self.files):
            return IndexedJsonl(tuple(plain), name=name, columns=columns)
        return SequentialJsonl(self.files, name=name, columns=columns)


class IndexedJsonl(IndexedSource):
    """Plain files by line offsets: 8 bytes a row in memory, the text in the page cache."""

    def __init__(self, files: tuple[Path, ...], *, name: str, columns: Columns) -> None:
        self._files = files
        self._columns = columns
        self._offsets = [row_offsets(file) for file in files]
        counts = [len(offsets) - 1 for offsets in self._offsets]
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
        locate = locator(self, shards, rows)
        parsed = parse_lines(
            self._read(indices), locate=locate, line_of=lambda index: self._line(int(shards[index]), int(rows[index]))
        )
        raw = from_rows(parsed, columns=self._columns, locate=locate)
        return validated(raw, columns=self._columns, locate=locate, shards=shards, rows=rows)

    def _read(self, indices: Int64Array) -> list[bytes]:
        order = np.argsort(indices, kind="stable")
        wanted = indices[order]
        borders = np.searchsorted(wanted, self._starts)
        lines: list[bytes] = []
        for shard in np.flatnonzero(np.diff(borders)).tolist():
            local = wanted[borders[shard] : borders[shard + 1]] - self._starts[shard]
            offsets, data = self._offsets[shard], self._map(shard)
            lines += [data[a:b] for a, b in zip(offsets[local].tolist(), offsets[local + 1].tolist(), strict=True)]
        return [lines[place] for place in np.argsort(order).tolist()]

    def _map(self, shard: int) -> mmap.mmap:
        if shard not in self._maps:
            if len(self._maps) == _MAX_OPEN:
                self._maps.pop(next(iter(self._maps))).close()
            self._maps[shard] = self._open_map(shard)
        return self._maps[shard]

    def _open_map(self, shard: int) -> mmap.mmap:
        file, size = self._files[shard], int(self._offsets[shard][-1])
        try:
            with file.open("rb") as opened:
                found = os.fstat(opened.fileno()).st_size
                if found == size:
                    return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise SourceError(f"{self.name}: {file} cannot be read: {error}") from error
        raise SourceError(f"{self.name}: {file} was {size} bytes when it was opened and is {found} now; start again")

    def _line(self, shard: int, row: int) -> int:
        return line_number(self._map(shard), int(self._offsets[shard][row]))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": {}}


_MAX_OPEN = 64
"""Files that are mapped at a time, so that a thousand files do not hold a thousand descriptors."""


class Stretch(NamedTuple):
    """Bytes of a file in which lines start that are read together; without an `end`, to the end of the file."""

    file: File
    start: int
    end: int | None


class SequentialJsonl(SequentialSource):
    """Files of which one at least is gzip or remote, read from start to end; long remote ones a stretch at a time."""

    def __init__(self, files: tuple[File, ...], *, name: str, columns: Columns) -> None:
        self._stretches, shards = list[Stretch](), list[Shard]()
        for file, shard_name in zip(files, shard_names(files), strict=True):
            for stretch in _stretches(file):
                self._stretches.append(stretch)
                shards.append(Shard(shard_name if stretch.end is None else f"{shard_name}@{stretch.start}", None))
        super().__init__(name=name, shards=tuple(shards))
        self._columns = columns

    def blocks(self, shard: int, *, num_rows: int, start: int = 0) -> Iterator[Block]:
        """A fresh pass over a stretch, from row `start` on, in blocks of `num_rows` rows."""
        lines, row = islice(self._rows(shard), start, None), start
        while block := list(islice(lines, num_rows)):
            yield Block(len(block), functools.partial(self._picked, block, shard, row))
            row += len(block)
        stretch = self._stretches[shard]
        if row == 0 and stretch.end is None:
            raise SourceError(f"{self.name}: {stretch.file} holds no rows; write it again, or leave it out")

    def _picked(self, block: list[tuple[int, bytes]], shard: int, start: int, indices: Int64Array) -> Rows:
        shards, rows = np.full(len(indices), shard, dtype=np.int32), start + indices
        picked = [block[index] for index in indices.tolist()]
        locate = locator(self, shards, rows)
        parsed = parse_lines([line for _, line in picked], locate=locate, line_of=lambda index: picked[index][0])
        raw = from_rows(parsed, columns=self._columns, locate=locate)
        return validated(raw, columns=self._columns, locate=locate, shards=shards, rows=rows)

    def _rows(self, shard: int) -> Iterator[tuple[int, bytes]]:
        """The lines that are not blank with their numbers; whatever stops them early is an error with its place."""
        stretch, num_rows = self._stretches[shard], 0
        try:
            for number, line in enumerate(_lines(stretch), start=1):
                content = line.removeprefix(BOM) if number == 1 and not stretch.start else line
                if content.strip(WHITE_SPACE):
                    yield number, content
                    num_rows += 1
        except (EOFError, zlib.error, OSError) as error:
            problem = "is cut short" if isinstance(error, EOFError) else "cannot be read"
            raise SourceError(
                f"{self.name}/{self.shards[shard].name}:{num_rows}: {stretch.file} {problem} after {num_rows} whole "
                f"rows ({type(error).__name__}: {error}); fetch or write it again"
            ) from error


STRETCH = 1 << 23
"""Bytes of a remote file that are a shard."""


def _stretches(file: File) -> Iterator[Stretch]:
    if isinstance(file, Path) or _is_gzip(file):
        yield Stretch(file, 0, None)
        return
    size = file.size()
    for start in range(0, size, STRETCH):
        yield Stretch(file, start, min(start + STRETCH, size))


def _lines(stretch: Stretch) -> Iterator[bytes]:
    """The lines that start in the stretch, the last of which may end behind it."""
    file, start, end = stretch
    with opened(file) as raw, gzip.open(raw) if _is_gzip(file) else raw as lines:
        if start:
            lines.seek(start - 1)
            start += len(lines.readline()) - 1
        for line in lines:
            if end is not None and start >= end:
                return
            yield line
            start += len(line)


def _is_gzip(file: File) -> bool:
    return file.name.endswith(".gz")
