"""A strict reader for the files of a tar archive, in one pass: a cut or changed archive is an error, never a guess.

    header | data, padded to 512 bytes | header | data | ... | 1,024 zero bytes, then only zeros
      of a file, or of an extension: records (x) or a long name (L) for the next file, records for all later files (g)

Python's tarfile parses single headers here. Its iteration over an archive is not used: it ignores records that it
cannot parse and repeated extensions of a header, so that files change their names. In some Python versions it never
ends if a size is negative.
"""

import io
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from tarfile import BLOCKSIZE
from typing import NamedTuple

MAX_SIZE = 1 << 40
"""Maximum bytes of a member; a broken header could give a size beyond any seekable offset."""

_READ_AT_ONCE = 1 << 20
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_EXTENSIONS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME)


class Member(NamedTuple):
    """A file of an archive and the byte offset of its headers; call `read` before the next member is read."""

    name: str
    offset: int
    read: Callable[[], bytes]


def read_members(content: io.BufferedIOBase, *, start: int = 0) -> Iterator[Member]:
    """The files of an archive in order, from the headers at byte `start` on; folders are skipped.

    Raises:
        tarfile.ReadError, EOFError, ValueError: the next entry is broken, or is neither a file nor a folder.
    """
    extension: dict[str, str] | None = None
    offset = end = start
    content.seek(start)
    while header := _header(content):
        end += BLOCKSIZE
        records = extension or {}
        size = 0 if header.isdir() else _size(header, records)
        if header.type in _EXTENSIONS:
            if extension is not None:
                raise tarfile.ReadError("two headers in a row extend the next one")
            new_records = _extension(header.type, _exactly(content, size))
            if header.type == tarfile.XGLTYPE:
                _check_global(new_records)
            else:
                extension = new_records
        elif header.type in _FILES and not any(key.startswith("GNU.sparse.") for key in records):
            yield Member(records.get("path", header.name), offset, partial(_exactly, content, size))
        elif not header.isdir():
            raise tarfile.ReadError(f"the member {header.name!r} is not a file: links and devices are not followed")
        end += -(-size // BLOCKSIZE) * BLOCKSIZE
        content.seek(end)
        if header.type not in _EXTENSIONS:
            offset, extension = end, None
    if extension is not None:
        raise tarfile.ReadError("the last header extends a missing file")


def _header(content: io.BufferedIOBase) -> tarfile.TarInfo | None:
    """The next header; None at a valid end of the archive."""
    block = content.read(BLOCKSIZE)
    if len(block) == BLOCKSIZE and any(block):
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    if len(block) < BLOCKSIZE or content.read(BLOCKSIZE) != bytes(BLOCKSIZE):
        raise tarfile.ReadError("the two blocks of zeros at the end of an archive are missing")
    while rest := content.read(_READ_AT_ONCE):  # zeros pad the last record; gzip has its checksum after them
        if any(rest):
            raise tarfile.ReadError(
                "data follows the end of the archive: only the first of several archives would be read"
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


def _check_global(records: dict[str, str]) -> None:
    """A global header must not set names or sizes: a reader that starts after it would not know them."""
    if refused := [key for key in records if key in ("path", "size") or key.startswith("GNU.sparse.")]:
        raise tarfile.ReadError(f"a global header sets the {refused[0]} of all files after it")


def _records(data: bytes) -> Iterator[tuple[str, str]]:
    """`30 path=...` and a line end: each record starts with its length; zeros may follow the last one."""
    start = 0
    while start < len(data) and data[start]:
        digits, _, _ = data[start : start + 20].partition(b" ")
        end = start + int(digits)
        key, equals, value = data[start + len(digits) + 1 : end - 1].partition(b"=")
        if not key or not equals or data[end - 1 : end] != b"\n":
            raise tarfile.ReadError(f"the record at byte {start} of an extension header is broken")
        yield _text(key), _text(value)
        start = end


def _exactly(content: io.BufferedIOBase, size: int) -> bytes:
    """`size` bytes, read in pieces: a broken header may give a size larger than the memory.

    Raises:
        EOFError: there are fewer bytes.
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
