"""Compressed files, known by their first bytes.

1f 8b 08 ...        gzip ┐
28 b5 2f fd ...     zstd ├─▶ the bytes of all streams of the file, one after another
BZh91AY&SY ...      bz2  │   a stream that is cut, or bytes that are no stream after the last one: an error
fd 37 7a 58 5a 00   xz   ┘
"""

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

_Decompressor = bz2.BZ2Decompressor | lzma.LZMADecompressor

BUFFER_SIZE = 1 << 17
"""Bytes that are decompressed at a time."""

BROKEN = (EOFError, OSError, lzma.LZMAError, pa.ArrowException, zlib.error)
"""The errors of compressed files that are cut or changed."""

_MAGIC = {
    "gzip": re.compile(rb"\x1f\x8b\x08"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),  # the second one: a frame that is skipped
    "bz2": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),
    "xz": re.compile(rb"\xfd7zXZ\0"),
}
_SUFFIXES = {"gz": "gzip", "tgz": "gzip", "zst": "zstd", "zstd": "zstd", "tzst": "zstd", "bz2": "bz2", "xz": "xz"}


def compression_of(head: bytes) -> str:
    """The compression of a file from its first bytes; empty if they show none."""
    return next((compression for compression, magic in _MAGIC.items() if magic.match(head)), "")


def compression_in_name(name: str) -> str:
    """The compression that the suffix of a name promises; empty if it promises none."""
    return _SUFFIXES.get(name.rpartition(".")[2].lower(), "")


def decompressed(raw: io.BufferedIOBase, compression: str) -> io.BufferedReader:
    """The content of a file of bytes, which is closed with it; it is sought forward, by reading.

    Raises:
        EOFError, OSError, lzma.LZMAError, pa.ArrowException, zlib.error: while it is read, if the file is broken.
    """
    return io.BufferedReader(_Decompressed(raw, _READERS[compression](raw)), BUFFER_SIZE)


def _gzip(raw: io.BufferedIOBase) -> Callable[[int], bytes]:
    return gzip.GzipFile(fileobj=raw).read1


def _zstd(raw: io.BufferedIOBase) -> Callable[[int], bytes]:
    read: Callable[[int], bytes] = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd").read
    return read


def _strict(decompressor: type[_Decompressor]) -> Callable[[io.BufferedIOBase], Callable[[int], bytes]]:
    """BZ2File and LZMAFile ignore bytes that are no stream after a whole one: a damaged second stream would be lost."""

    def reader(raw: io.BufferedIOBase) -> Callable[[int], bytes]:
        parts = _parts(raw, decompressor)
        return lambda size: next(parts, b"")

    return reader


def _parts(raw: io.BufferedIOBase, decompressor: type[_Decompressor]) -> Iterator[bytes]:
    stream, content = decompressor(), raw.read(BUFFER_SIZE)
    while content or not stream.eof:
        if stream.eof:
            stream = decompressor()
        if part := stream.decompress(content, BUFFER_SIZE):
            yield part
        content = stream.unused_data if stream.eof else b""
        if not content and (stream.eof or stream.needs_input):
            content = raw.read(BUFFER_SIZE)
            if not content and not stream.eof:
                raise EOFError("the end of the last stream is missing")


_READERS: dict[str, Callable[[io.BufferedIOBase], Callable[[int], bytes]]] = {
    "gzip": _gzip,
    "zstd": _zstd,
    "bz2": _strict(bz2.BZ2Decompressor),
    "xz": _strict(lzma.LZMADecompressor),
}
"""For each compression, the function that opens a file, and returns the function that reads up to `n` bytes of it."""


class _Decompressed(io.RawIOBase):
    def __init__(self, raw: io.BufferedIOBase, read: Callable[[int], bytes]) -> None:
        self._raw, self._read, self._offset, self._rest = raw, read, 0, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._offset

    def readinto(self, buffer: Any) -> int:
        content = self._rest or self._read(len(buffer))
        content, self._rest = content[: len(buffer)], content[len(buffer) :]
        buffer[: len(content)] = content
        self._offset += len(content)
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Read up to `offset`, or to the end if it comes before."""
        if whence != io.SEEK_SET or offset < self._offset:
            raise io.UnsupportedOperation("a compressed file is read forward")
        while self._offset < offset and self.readinto(memoryview(bytearray(min(BUFFER_SIZE, offset - self._offset)))):
            pass
        return self._offset

    def close(self) -> None:
        self._raw.close()
        super().close()
