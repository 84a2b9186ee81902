"""Files behind URLs, read by byte ranges: what fails on the way is tried again, and nothing short is taken for whole.

RemoteFile ──read(start, end)──▶ fetch ──▶ bytes of exactly that range, of the version that was looked up
    └── time-out, reset, 429, 5xx, short read, checksum: again, after 0.1 s, 0.2 s, ...; anything else: at once an error
"""

import io
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import fsspec.core

from samsum_stream.errors import SourceError
from samsum_stream.errors.redaction import explain, redact, secrets_in
from samsum_stream.sources.files.fetch import BadBytes, fetch

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_ATTEMPTS = 6
FIRST_DELAY, MAX_DELAY = 0.1, 5.0
"""Seconds before the second attempt, and at most before any."""

READ_AFTER_A_JUMP = 1 << 16
"""Bytes that are read at most where a reader passes over many: it may soon pass over more."""

TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_TRANSIENT_NAMES = ("checksum", "connection", "disconnected", "incomplete", "payload", "slowdown", "throttl", "timeout")
"""What the names of errors say that may not come again; client libraries share no class of them."""

_ANOTHER_VERSION = 412
_START_AGAIN = "the file has changed since it was looked up; start again, and write new files under new names"


class RemoteFile(NamedTuple):
    """A file behind a URL as it was when it was looked up; `options` are fsspec's, and no message shows them.

    Attributes:
        size: In bytes.
        etag: What the server calls this version of the file; empty where it says nothing.
    """

    url: str
    options: Mapping[str, Any]
    size: int
    etag: str

    @property
    def path(self) -> str:
        """Host and path, less the query."""
        parts = urlsplit(self.url)
        return f"{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    def __str__(self) -> str:
        """The URL without its secrets."""
        return _shown(self.url, self.options)

    def __repr__(self) -> str:
        return str(self)

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end`; those of a whole file are compared with the checksum that its store has.

        Raises:
            SourceError: they could not be read, also not at a later attempt, or the file is another one now.
        """
        return retried(
            lambda files, path: fetch(files, path, etag=self.etag, start=start, end=end, size=self.size),
            self.url,
            self.options,
            f"reading bytes {start:,} to {end:,} of",
        )

    def open(self) -> "RangeReader":
        """The file as one that can be sought in."""
        return RangeReader(self)


class Attempts:
    """What may be tried `MAX_ATTEMPTS` times, with longer and longer waits between."""

    def __init__(self, doing: str) -> None:
        self._doing, self.made = doing, 1

    def again(self, told: object) -> bool:
        """Whether to try once more, said after the wait; `told` is what the last attempt failed with."""
        if self.made >= MAX_ATTEMPTS:
            return False
        logger.warning("%s failed, trying again (%d of %d): %s", self._doing, self.made, MAX_ATTEMPTS, told)
        # Jitter keeps a thousand workers from coming back at the same moment; it decides nothing about rows.
        time.sleep(min(FIRST_DELAY * 2 ** (self.made - 1), MAX_DELAY) * random.uniform(0.5, 1.0))
        self.made += 1
        return True


def retried(action: Callable[[Any, str], T], url: str, options: Mapping[str, Any], doing: str) -> T:
    """What `action` returns, which gets the filesystem and the path there; again where it fails for a while."""
    what = f"{doing} {_shown(url, options)}"
    attempts = Attempts(what)
    while True:
        try:
            return action(*fsspec.core.url_to_fs(url, **options))
        except Exception as error:
            told = explain(error, secrets=_secrets(options))
            if is_transient(error) and attempts.again(told):
                continue
            tries = f" (tried {attempts.made} times)" if attempts.made > 1 else ""
            is_changed = _ANOTHER_VERSION in map(status_of, _causes(error))
            remedy = _START_AGAIN if is_changed else "check the path, the credentials and the network"
            raise SourceError(f"{what} failed{tries}: {told}; {remedy}") from None


def _shown(url: str, options: Mapping[str, Any]) -> str:
    return redact(url, secrets=_secrets(options))


def _secrets(options: Mapping[str, Any]) -> list[str]:
    return secrets_in({"storage_options": dict(options)})


class RangeReader(io.RawIOBase):
    """A remote file as Python and Arrow read files."""

    def __init__(self, file: RemoteFile) -> None:
        self._file, self._at, self._end = file, 0, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """All bytes that are asked for, in one range."""
        return self._range(self._file.size if size is None or size < 0 else size)

    def readinto(self, buffer: Any) -> int:
        """As many bytes as pay: few after a jump over more than a quarter of the buffer."""
        view = memoryview(buffer).cast("B")
        is_near = 0 <= self._at - self._end <= len(view) // 4
        found = self._range(len(view) if is_near else min(len(view), READ_AFTER_A_JUMP))
        view[: len(found)] = found
        return len(found)

    def _range(self, size: int) -> bytes:
        start, end = self._at, min(self._at + size, self._file.size)
        if end <= start:
            return b""
        found = self._file.read(start, end)
        self._at = self._end = end
        return found


def is_transient(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is one that may not come again."""
    return any(map(_may_pass, _causes(error)))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _may_pass(error: BaseException) -> bool:
    status = status_of(error)
    is_named_so = any(name in type(error).__name__.lower() for name in _TRANSIENT_NAMES)
    is_known = isinstance(error, (TimeoutError, ConnectionError, BadBytes))
    return is_known or status in TRANSIENT_STATUS or (is_named_so and status is None)


def status_of(error: BaseException) -> int | None:
    """The HTTP status that a client library put somewhere into its error."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        found = getattr(error, "status", None) or getattr(error, "code", None) or getattr(response, "status_code", None)
    return found if type(found) is int else None
