"""Tar shards in the layout of the webdataset library: the members of a sample share a name up to its first dot.

    000017.json                                      {"input": ..., "response": ..., "contexts": [...]}
    000018.input.txt, .response.txt, .contexts.json  one member per column

Only the decoders in `DECODERS` are used: json and text.
"""

import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from braceexpand import braceexpand
from webdataset.tariterators import base_plus_ext

from samsum_stream.errors import ConfigError, SourceError
from samsum_stream.sources.base import Block, Opener, SequentialSource, Shard
from samsum_stream.sources.files.compression import BROKEN
from samsum_stream.sources.files.content import Content, contents_of, warn_of_no_rows
from samsum_stream.sources.files.expand import File, expand_files, has_remote, patterns_of, shard_names
from samsum_stream.sources.files.reread import BrokenFile, retry_blocks
from samsum_stream.sources.json_text import decode_json
from samsum_stream.sources.rows.columns import Columns
from samsum_stream.sources.rows.gather import typed_repr
from samsum_stream.sources.rows.locator import Locator
from samsum_stream.sources.rows.validation import rows_from_mappings
from samsum_stream.sources.tars.members import read_members
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import Rows


def _text(content: str) -> str:
    """A text file: its line ends are `\\n`, on any system."""
    return content.replace("\r\n", "\n")


DECODERS: Mapping[str, Callable[[str], Any]] = {"json": decode_json, "txt": _text}
"""The decoder of a member by its suffix; its name ends in `json`, `column.json` or `column.txt`."""

_MEMBER = re.compile(r"json|.+\.(json|txt)", re.IGNORECASE)
_LINES = re.compile(r"(^|\.)(jsonl|ndjson)$", re.IGNORECASE)
_META = re.compile(r"__[^/]*__")
"""Names that webdataset reserves for its metadata."""


class Sample(NamedTuple):
    """The members of a sample by the part of their names after the first dot; `offset` is the byte of the first one."""

    offset: int
    members: dict[str, bytes]


def webdataset(urls: str | Sequence[str], storage_options: Mapping[str, Any] | None = None) -> Opener:
    """Tar shards, also compressed: a path or URL, also with braces (`shard-{0000..0099}.tar`), or a list of them."""
    paths = [path for pattern in patterns_of(urls, name="webdataset") for path in _without_braces(pattern)]
    return Opener(partial(_open, expand_files(paths, name="webdataset", options=storage_options or {})))


def _open(files: tuple[File, ...], *, name: str, columns: Columns) -> "TarSource":
    return TarSource(contents_of(files, method="webdataset", name=name), name=name, columns=columns)


def _without_braces(pattern: str) -> list[str]:
    try:
        return list(braceexpand(pattern))
    except ValueError as error:
        raise ConfigError(f"webdataset: the braces in `urls` must match, got {pattern!r} ({error})") from None


class TarSource(SequentialSource):
    """Samples in the order of their shards; in a plain tar, only the headers of the samples before a row are read.

    The offsets of the blocks of plain shards are kept, so that a later pass starts at the last block before its row.
    """

    def __init__(self, contents: tuple[Content, ...], *, name: str, columns: Columns) -> None:
        files = [content.file for content in contents]
        super().__init__(name=name, shards=tuple(Shard(shard, None) for shard in shard_names(files)))
        self._contents, self.columns = contents, columns
        self._offsets: list[dict[int, int]] = [{0: 0} for _ in contents]
        self.is_remote = has_remote(files)

    def blocks(self, shard: int, *, num_rows: int, start: int = 0) -> Iterator[Block]:
        """A new pass over a shard from row `start` on, in blocks of `num_rows` rows."""
        file, compression = self._contents[shard]
        read = partial(self._blocks, shard, num_rows)
        return retry_blocks(read, file=file, start=start, is_compressed=bool(compression))

    def _blocks(self, shard: int, num_rows: int, start: int) -> Iterator[Block]:
        samples, row = self._samples(shard, start), start
        while block := list(islice(samples, num_rows)):
            if not self._contents[shard].compression:
                self._offsets[shard][row] = block[0].offset
            num_bytes = sum(len(member) for sample in block for member in sample.members.values())
            yield Block(len(block), partial(self._take, block, shard, row), num_bytes)
            row += len(block)
        if row == 0:
            warn_of_no_rows(self._contents[shard].file, name=self.name)

    def _take(self, block: list[Sample], shard: int, start: int, indices: Int64Array) -> Rows:
        locate = Locator.in_shard(self, shard, start + indices)
        samples = [block[index].members for index in indices.tolist()]
        if any(members and all(map(_LINES.search, members)) for members in samples):
            raise self._holds_lines(shard)
        rows = [self._row(members, locate, number) for number, members in enumerate(samples)]
        return rows_from_mappings(rows, columns=self.columns, locate=locate)

    def _row(self, members: Mapping[str, bytes], locate: Locator, index: int) -> dict[str, Any]:
        """The columns of a sample: the keys of its `json`, and one column for each member with a column name.

        A name is in lower case, as webdataset has it, unless a column has the name of the member.
        """
        row: dict[str, Any] = {}
        for kind, content in members.items():
            column, _, end = kind.rpartition(".")
            if end.lower() not in DECODERS:
                continue
            value = _decoded(content, kind, end.lower(), locate, index)
            named = column if column in self.columns.names else column.lower()
            columns = {named: value} if column else value
            if not isinstance(columns, Mapping):
                problem = f"the member {kind!r} must map column names to values, got {typed_repr(value)}; fix it"
                raise locate.error(index, problem, reason="not_a_row")
            if repeated := [name for name in columns if name in row]:
                problem = f"two members of the sample have the column {repeated[0]!r}; write it in one of them"
                raise locate.error(index, problem, field=str(repeated[0]), reason="not_a_row")
            row.update(columns)
        return row

    def _holds_lines(self, shard: int) -> SourceError:
        file = self._contents[shard].file
        return SourceError(
            f"{self.name}: {file} contains JSON lines, and webdataset reads one sample per .json; read it by "
            f"`method: jsonl` with `path: tar://**/*.jsonl::{file}`, or unpack it"
        )

    def _samples(self, shard: int, start: int) -> Iterator[Sample]:
        """The samples from number `start` on; raises `BrokenFile` for an archive that is cut or broken."""
        content, name, sample = self._contents[shard], None, Sample(0, {})
        first = max(row for row in self._offsets[shard] if row <= start)
        number, offset = first - 1, self._offsets[shard][first]
        try:
            with content.open() as archive:
                for member in read_members(archive, start=offset):
                    offset = member.offset
                    base, kind = base_plus_ext(member.name)
                    if base is None or _META.fullmatch(member.name):
                        continue
                    if base != name:
                        if number >= start:
                            yield sample
                        name, number, sample = base, number + 1, Sample(offset, {})
                    if kind.lower() in map(str.lower, sample.members):
                        raise tarfile.ReadError(f"two members are named {member.name!r}, without regard to case")
                    if number >= start and (_MEMBER.fullmatch(kind) or _LINES.search(kind)):
                        sample.members[kind] = member.read()
        except (*BROKEN, tarfile.TarError, ValueError) as error:
            raise BrokenFile(
                f"{self.name}/{self.shards[shard].name}:{max(number, 0)}: {content.file} is cut or broken after byte "
                f"{offset:,} of the archive ({type(error).__name__}: {error}); fetch or write it again"
            ) from error
        if number >= start:
            yield sample


def _decoded(content: bytes, kind: str, end: str, locate: Locator, index: int) -> Any:
    try:
        return DECODERS[end](content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        rule, reason = ("UTF-8", "not_utf8") if isinstance(error, UnicodeDecodeError) else ("JSON", "not_json")
        problem = f"the member {kind!r} is not {rule} ({error}), got {typed_repr(content)}; fix it or leave it out"
        raise locate.error(index, problem, field=kind.rpartition(".")[0], reason=reason) from error
