"""JSON lines that are read from start to end: a compressed file as one shard, a remote one as a shard per byte range.

bytes of a remote file   |        range 0        |        range 1        | ...
lines                    ----- ------- ------------ ---- --------
                                       belongs to the range in which it starts
"""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from samsum_stream.sources.base import Block, SequentialSource, Shard
from samsum_stream.sources.files.compression import BROKEN
from samsum_stream.sources.files.content import Content, warn_of_no_rows
from samsum_stream.sources.files.expand import has_remote, shard_names
from samsum_stream.sources.files.kinds import BOM
from samsum_stream.sources.files.reread import BrokenFile, retry_blocks
from samsum_stream.sources.json_lines.lines import WHITE_SPACE, parse_lines
from samsum_stream.sources.rows.columns import Columns
from samsum_stream.sources.rows.locator import Locator
from samsum_stream.sources.rows.validation import rows_from_mappings
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import Rows

RANGE_SIZE = 1 << 23
"""Bytes of a remote file per shard."""


class ByteRange(NamedTuple):
    """The part of a file in which the lines of a shard start; `end` is None for the end of the file."""

    content: Content
    start: int
    end: int | None


class SequentialJsonl(SequentialSource):
    """Files that are read from start to end, because at least one of them is compressed or remote."""

    def __init__(self, contents: tuple[Content, ...], *, name: str, columns: Columns) -> None:
        self._ranges, shards = list[ByteRange](), list[Shard]()
        files = [content.file for content in contents]
        for content, shard_name in zip(contents, shard_names(files), strict=True):
            for part in _ranges(content):
                self._ranges.append(part)
                shards.append(Shard(shard_name if part.end is None else f"{shard_name}@{part.start}", None))
        super().__init__(name=name, shards=tuple(shards))
        self.columns = columns
        self.is_remote = has_remote(files)

    def blocks(self, shard: int, *, num_rows: int, start: int = 0) -> Iterator[Block]:
        """A new pass over a byte range from row `start` on, in blocks of `num_rows` rows."""
        file, compression = self._ranges[shard].content
        read = partial(self._blocks, shard, num_rows)
        return retry_blocks(read, file=file, start=start, is_compressed=bool(compression))

    def _blocks(self, shard: int, num_rows: int, start: int) -> Iterator[Block]:
        lines, row = islice(self._rows(shard), start, None), start
        while block := list(islice(lines, num_rows)):
            num_bytes = sum(len(line) for _, line in block)
            yield Block(len(block), partial(self._take, block, shard, row), num_bytes)
            row += len(block)
        part = self._ranges[shard]
        if row == 0 and part.end is None:
            warn_of_no_rows(part.content.file, name=self.name)

    def _take(self, block: list[tuple[int, bytes]], shard: int, start: int, indices: Int64Array) -> Rows:
        lines = [block[index] for index in indices.tolist()]
        locate = Locator.in_shard(self, shard, start + indices)
        if not self._ranges[shard].start:  # the number of lines before any other range is not known
            locate = locate._replace(line_of=lambda index: lines[index][0])
        values = parse_lines([line for _, line in lines], locate=locate)
        return rows_from_mappings(values, columns=self.columns, locate=locate)

    def _rows(self, shard: int) -> Iterator[tuple[int, bytes]]:
        """The lines that are not blank, with their numbers; raises `BrokenFile` for a file that is cut or broken."""
        part, num_rows = self._ranges[shard], 0
        try:
            for number, line in enumerate(_lines(part), start=1):
                content = line.removeprefix(BOM) if number == 1 and not part.start else line
                if content.strip(WHITE_SPACE):
                    yield number, content
                    num_rows += 1
        except BROKEN as error:
            problem = "is cut short" if isinstance(error, EOFError) else "cannot be read"
            raise BrokenFile(
                f"{self.name}/{self.shards[shard].name}:{num_rows}: {part.content.file} {problem} after {num_rows} "
                f"whole rows ({type(error).__name__}: {error}); fetch or write it again"
            ) from error


def _ranges(content: Content) -> Iterator[ByteRange]:
    file, compression = content
    if isinstance(file, Path) or compression:
        yield ByteRange(content, 0, None)
        return
    for start in range(0, file.size, RANGE_SIZE):
        yield ByteRange(content, start, min(start + RANGE_SIZE, file.size))


def _lines(part: ByteRange) -> Iterator[bytes]:
    """The lines that start in the range; the last line may end after it."""
    content, start, end = part
    with content.open() as lines:
        if start:
            lines.seek(start - 1)
            start += len(lines.readline()) - 1
        for line in lines:
            if end is not None and start >= end:
                return
            yield line
            start += len(line)
