"""Files with the compression of their content, looked at once: a file that the method does not read is refused here."""

import io
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from samsum_stream.errors import SourceError
from samsum_stream.errors.once import warn_once
from samsum_stream.sources.files.compression import BROKEN, compression_in_name, compression_of, decompressed
from samsum_stream.sources.files.expand import File, opened
from samsum_stream.sources.files.kinds import COMPRESSED, kind_of, refuse_other_kinds
from samsum_stream.sources.files.remote import Attempts, RemoteFile

logger = logging.getLogger(__name__)

NUM_HEAD_BYTES = 1 << 16
"""Bytes of a file that are looked at."""

MAX_OPENED_AT_ONCE = 16
"""Files that are looked at at the same time."""


class Content(NamedTuple):
    """A file, and how it is compressed; `compression` is empty for a plain file."""

    file: File
    compression: str

    @property
    def is_plain_and_local(self) -> bool:
        """Whether any byte of the content can be read at any time."""
        return isinstance(self.file, Path) and not self.compression

    def open(self) -> io.BufferedIOBase:
        """The content, decompressed, open for reading from its start."""
        raw = opened(self.file)
        return decompressed(raw, self.compression) if self.compression else raw


def contents_of(files: Sequence[File], *, method: str, name: str) -> tuple[Content, ...]:
    """The contents of some files, each of a kind that the method reads.

    Raises:
        SourceError: a file is of another kind, cannot be read, or has 0 bytes, although its format has an end.
    """
    with ThreadPoolExecutor(MAX_OPENED_AT_ONCE) as pool:
        return tuple(pool.map(partial(_content, method=method, name=name), files))


def read_whole(content: Content, *, name: str) -> bytes:
    """All bytes of a content.

    Raises:
        SourceError: the file cannot be read, or its compressed bytes are cut or broken.
    """
    file = content.file
    attempts = Attempts(
        f"reading {file}", retries=lambda error: isinstance(error, BROKEN) and isinstance(file, RemoteFile)
    )

    def read() -> bytes:
        with content.open() as opened_content:
            return opened_content.read()

    try:
        return attempts.call(read)
    except BROKEN as error:
        raise SourceError(
            f"{name}: {file} cannot be read ({type(error).__name__}: {error}); fetch or write it again"
        ) from error


def require_rows(files: Sequence[File], counts: Sequence[int], *, name: str) -> None:
    """Warn of each file without rows; raise `SourceError` if no file has rows."""
    for file, count in zip(files, counts, strict=True):
        if not count:
            warn_of_no_rows(file, name=name)
    if not any(counts):
        others = f" and {len(files) - 1:,} others" if len(files) > 1 else ""
        raise SourceError(f"{name}: the files hold no rows ({files[0]}{others}); check `path`")


def warn_of_no_rows(file: File, *, name: str) -> None:
    """Log a warning for a file without rows, which is legal in every format beside files with rows."""
    warn_once(logger, "%s: %s holds no rows", name, str(file))


def _content(file: File, *, method: str, name: str) -> Content:
    try:
        head = head_of(file)
    except OSError as error:
        raise SourceError(f"{name}: {file} cannot be read: {error}; check the file and its permissions") from error
    if not head and (method in ("json", "webdataset") or compression_in_name(file.name)):
        raise SourceError(f"{name}: {file} is empty (0 bytes), and its format has an end; fetch or write it again")
    compression = compression_of(head)
    if not compression and kind_of(head) in (None, COMPRESSED):  # it was cut or changed in its first bytes
        compression = compression_in_name(file.name)
    first = _first_bytes(file, head, compression) if compression else head
    refuse_other_kinds(first, method=method, file=file, name=name)
    return Content(file, compression)


def head_of(file: File) -> bytes:
    """The first bytes of a file, as they are stored."""
    if isinstance(file, Path):
        with file.open("rb") as raw:
            return raw.read(NUM_HEAD_BYTES)
    return file.read(0, min(NUM_HEAD_BYTES, file.size)) if file.size else b""


def _first_bytes(file: File, head: bytes, compression: str) -> bytes:
    """The first bytes of the content; empty if they are broken, or in a remote file not among the first bytes."""
    try:
        with decompressed(opened(file) if isinstance(file, Path) else io.BytesIO(head), compression) as content:
            return content.read1(NUM_HEAD_BYTES)
    except BROKEN:
        return b""
