"""The files of a tar archive in one pass, and strictly: what was cut, changed or made up is an error, not a guess.

    header | data, filled up to 512 bytes | header | data | ... | 1,024 zeros, and nothing but zeros behind them
      of a file, or of what extends the next one: its records (x), a long name (L); of records for all that follow (g)

Python's tarfile reads a header by itself here. Its walk over an archive is not used: it passes over records that it
cannot read and headers that extend another twice, so that files change their names, and in Pythons that are in use it
never ends where a size is negative.
"""

import gzip
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from tarfile import BLOCKSIZE
from typing import BinaryIO, NamedTuple

Content = BinaryIO | gzip.GzipFile

MAX_SIZE = 1 << 40
"""Bytes of a member; a broken header could promise what no file can be sought to."""

_READ_AT_ONCE = 1 << 20
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_EXTENSIONS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME)


class Member(NamedTuple):
    """A file of an archive, the byte at which its headers start, and what reads it before the next one is asked for."""

    name: str
    offset: int
    read: Callable[[], bytes]


def members(content: Content, *, start: int = 0) -> Iterator[Member]:
    """The files of an archive in their order, from the one whose headers start at a byte; folders are passed over.

    Raises:
        tarfile.ReadError, EOFError, ValueError: what comes next is broken, or is neither a file nor a folder.
    """
    extension: dict[str, str] | None = None
    offset = at = start
    content.seek(start)
    while header := _header(content):
        at += BLOCKSIZE
        records = extension or {}
        size = 0 if header.isdir() else _size(header, records)
        if header.type in _EXTENSIONS:
            if extension is not None:
                raise tarfile.ReadError("two headers in a row extend the next one")
            found = _extension(header.type, _exactly(content, size))
            if header.type == tarfile.XGLTYPE:
                _refuse_for_all(found)
            else:
                extension = found
        elif header.type in _FILES and not any(key.startswith("GNU.sparse.") for key in records):
            yield Member(records.get("path", header.name), offset, partial(_exactly, content, size))
        elif not header.isdir():
            raise tarfile.ReadError(f"the member {header.name!r} is no file: links and devices are not followed")
        at += -(-size // BLOCKSIZE) * BLOCKSIZE
        content.seek(at)
        if header.type not in _EXTENSIONS:
            offset, extension = at, None
    if extension is not None:
        raise tarfile.ReadError("its last header extends a file that is not there")


def _header(content: Content) -> tarfile.TarInfo | None:
    """The next header; None where the archive ends as archives do."""
    block = content.read(BLOCKSIZE)
    if len(block) == BLOCKSIZE and any(block):
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    if len(block) < BLOCKSIZE or content.read(BLOCKSIZE) != bytes(BLOCKSIZE):
        raise tarfile.ReadError("it lacks the two blocks of zeros that end an archive")
    while rest := content.read(_READ_AT_ONCE):  # zeros that fill up a record; behind them, gzip has a checksum
        if any(rest):
            raise tarfile.ReadError(
                "something follows behind its end: of archives in one file only the first would be read"
            )
    return None


def _size(header: tarfile.TarInfo, records: dict[str, str]) -> int:
    size = int(records["size"]) if header.type in _FILES and "size" in records else header.size
    if not 0 <= size <= MAX_SIZE:
        raise tarfile.ReadError(f"the member {header.name!r} has a size of {size} bytes")
    return size


def _extension(kind: bytes, data: bytes) -> dict[str, str]:
    if kind == tarfile.GNUTYPE_LONGNAME:
        return {"path": _text(data.partition(b"\0")[0])}
    return dict(_records(data))


def _refuse_for_all(records: dict[str, str]) -> None:
    """What names or measures every file behind it could not be known to who enters an archive there."""
    if strange := [key for key in records if key in ("path", "size") or key.startswith("GNU.sparse.")]:
        raise tarfile.ReadError(f"a header says the {strange[0]} of all that follow")


def _records(data: bytes) -> Iterator[tuple[str, str]]:
    """`30 path=...` and a line end: each record says how long it is; zeros may follow."""
    at = 0
    while at < len(data) and data[at]:
        digits, _, _ = data[at : at + 20].partition(b" ")
        end = at + int(digits)
        key, equals, value = data[at + len(digits) + 1 : end - 1].partition(b"=")
        if not key or not equals or data[end - 1 : end] != b"\n":
            raise tarfile.ReadError(f"a record at byte {at} of a header that extends another is broken")
        yield _text(key), _text(value)
        at = end


def _exactly(content: Content, size: int) -> bytes:
    """So many bytes, in pieces, as a broken header may promise more than there is memory.

    Raises:
        EOFError: there are fewer.
    """
    parts = []
    while size and (part := content.read(min(size, _READ_AT_ONCE))):
        parts.append(part)
        size -= len(part)
    if size:
        raise EOFError(f"{size:,} bytes of a member are missing")
    return b"".join(parts)


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")
