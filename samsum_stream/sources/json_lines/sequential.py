"""JSON lines that are read from start to end: gzip files whole, long remote files a stretch at a time.

bytes of a remote file   |       stretch 0       |       stretch 1       | ...
lines                    ----- ------- ------------ ---- --------
                                       belongs to the stretch in which it starts
"""

import gzip
import zlib
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from samsum_stream.errors import SourceError
from samsum_stream.sources.base import Block, SequentialSource, Shard
from samsum_stream.sources.files.expand import File, has_remote, is_gzip, opened, shard_names
from samsum_stream.sources.files.reread import BrokenFile, reread
from samsum_stream.sources.json_lines.lines import BOM, WHITE_SPACE, parse_lines
from samsum_stream.sources.rows.columns import Columns
from samsum_stream.sources.rows.gather import from_rows
from samsum_stream.sources.rows.locator import Locator
from samsum_stream.sources.rows.validation import validated
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import Rows

STRETCH = 1 << 23
"""Bytes of a remote file that are a shard."""


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
        self.is_remote = has_remote(files)

    def blocks(self, shard: int, *, num_rows: int, start: int = 0) -> Iterator[Block]:
        """A fresh pass over a stretch, from row `start` on, in blocks of `num_rows` rows."""
        return reread(partial(self._blocks, shard, num_rows), file=self._stretches[shard].file, start=start)

    def _blocks(self, shard: int, num_rows: int, start: int) -> Iterator[Block]:
        lines, row = islice(self._rows(shard), start, None), start
        while block := list(islice(lines, num_rows)):
            num_bytes = sum(len(line) for _, line in block)
            yield Block(len(block), partial(self._picked, block, shard, row), num_bytes)
            row += len(block)
        stretch = self._stretches[shard]
        if row == 0 and stretch.end is None:
            raise SourceError(f"{self.name}: {stretch.file} holds no rows; write it again, or leave it out")

    def _picked(self, block: list[tuple[int, bytes]], shard: int, start: int, indices: Int64Array) -> Rows:
        shards, rows = np.full(len(indices), shard, dtype=np.int32), start + indices
        picked = [block[index] for index in indices.tolist()]
        is_numbered = not self._stretches[shard].start  # nobody knows how many lines stand before other stretches
        locate = Locator(self, shards, rows, (lambda index: picked[index][0]) if is_numbered else None)
        raw = from_rows(parse_lines([line for _, line in picked], locate=locate), columns=self._columns, locate=locate)
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
            raise BrokenFile(
                f"{self.name}/{self.shards[shard].name}:{num_rows}: {stretch.file} {problem} after {num_rows} whole "
                f"rows ({type(error).__name__}: {error}); fetch or write it again"
            ) from error


def _stretches(file: File) -> Iterator[Stretch]:
    if isinstance(file, Path) or is_gzip(file):
        yield Stretch(file, 0, None)
        return
    for start in range(0, file.size, STRETCH):
        yield Stretch(file, start, min(start + STRETCH, file.size))


def _lines(stretch: Stretch) -> Iterator[bytes]:
    """The lines that start in the stretch, the last of which may end behind it."""
    file, start, end = stretch
    with opened(file) as raw, gzip.open(raw) if is_gzip(file) else raw as lines:
        if start:
            lines.seek(start - 1)
            start += len(lines.readline()) - 1
        for line in lines:
            if end is not None and start >= end:
                return
            yield line
            start += len(line)
