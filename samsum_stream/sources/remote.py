"""Files behind URLs, read by byte ranges: what fails on the way is tried again, and nothing short is taken for whole.

RemoteFile ──read(start, end)──▶ fsspec ──▶ bytes of exactly that range
    └── time-out, reset, 429, 5xx, short read: again, after 0.1 s, 0.2 s, 0.4 s, ...; anything else: at once an error
"""

import glob
import io
import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import fsspec.core

from samsum_stream.errors import SourceError
from samsum_stream.sources.redaction import explain, redact, secrets_in

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_ATTEMPTS = 6
FIRST_DELAY, MAX_DELAY = 0.1, 5.0
"""Seconds before the second attempt, and at most before any."""

TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_TRANSIENT_NAMES = ("checksum", "connection", "disconnected", "incomplete", "payload", "slowdown", "throttl", "timeout")
"""What the names of errors say that may not come again; client libraries share no class of them."""


class ShortRead(OSError):
    """Fewer bytes came than were asked for."""


class RemoteFile(NamedTuple):
    """A file behind a URL; `options` are fsspec's, and may hold credentials, so that no message shows them."""

    url: str
    options: Mapping[str, Any]

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
        return redact(self.url, secrets=self._secrets)

    def __repr__(self) -> str:
        return str(self)

    @property
    def _secrets(self) -> list[str]:
        return secrets_in({"storage_options": dict(self.options)})

    def size(self) -> int:
        """Bytes of the file."""
        return int(self.retried(lambda files, path: files.info(path)["size"], "looking up"))

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end`.

        Raises:
            SourceError: they could not be read, also not at a later attempt.
        """

        def read_range(files: Any, path: str) -> bytes:
            found: bytes = files.cat_file(path, start=start, end=end)
            if len(found) != end - start:
                raise ShortRead(f"{len(found):,} of {end - start:,} bytes came")
            return found

        return self.retried(read_range, f"reading bytes {start:,} to {end:,} of")

    def open(self) -> "RangeReader":
        """The file as one that can be sought in."""
        return RangeReader(self)

    def retried(self, action: Callable[[Any, str], T], doing: str) -> T:
        """What `action` returns, which gets the filesystem and the path there; again where it fails for a while."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                files, path = fsspec.core.url_to_fs(self.url, **self.options)
                return action(files, path)
            except Exception as error:
                told = explain(error, secrets=self._secrets)
                if attempt == MAX_ATTEMPTS or not is_transient(error):
                    tries = f" (tried {attempt} times)" if attempt > 1 else ""
                    raise SourceError(
                        f"{doing} {self} failed{tries}: {told}; check the path, the credentials and the network"
                    ) from None
                logger.warning("%s %s failed, trying again (%d of %d): %s", doing, self, attempt, MAX_ATTEMPTS, told)
            # Jitter keeps a thousand workers from coming back at the same moment; it decides nothing about rows.
            time.sleep(min(FIRST_DELAY * 2 ** (attempt - 1), MAX_DELAY) * random.uniform(0.5, 1.0))
        raise AssertionError


def find_remote(pattern: str, options: Mapping[str, Any]) -> list[RemoteFile]:
    """The files that a URL, or a glob of them, names; sorted, and none where there are none."""

    def find(files: Any, path: str) -> list[str]:
        if glob.has_magic(path):
            found = files.glob(path, detail=True)
            return [files.unstrip_protocol(match) for match in sorted(found) if found[match]["type"] == "file"]
        try:  # `isfile` would take any error for a file that is not there
            return [pattern] if files.info(path)["type"] == "file" else []
        except FileNotFoundError as error:
            if is_transient(error.__cause__):
                raise error.__cause__ from None  # type: ignore[misc]
            return []

    return [RemoteFile(url, options) for url in RemoteFile(pattern, options).retried(find, "looking up")]


class RangeReader(io.RawIOBase):
    """A remote file as Python and Arrow read files: each read is one range."""

    def __init__(self, file: RemoteFile) -> None:
        self._file, self._size, self._at = file, file.size(), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        end = min(self._at + len(view), self._size)
        if end <= self._at:
            return 0
        found = self._file.read(self._at, end)
        view[: len(found)] = found
        self._at = end
        return len(found)


def is_transient(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is one that may not come again."""
    while error is not None:
        if isinstance(error, (TimeoutError, ConnectionError, ShortRead)) or _status(error) in TRANSIENT_STATUS:
            return True
        if any(name in type(error).__name__.lower() for name in _TRANSIENT_NAMES) and _status(error) is None:
            return True
        error = error.__cause__ or error.__context__
    return False


def _status(error: BaseException) -> int | None:
    """The HTTP status that a client library put somewhere into its error."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        found = getattr(error, "status", None) or getattr(error, "code", None) or getattr(response, "status_code", None)
    return found if type(found) is int else None
