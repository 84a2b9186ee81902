"""Files behind URLs, read by byte ranges: transient failures are retried, and a short read is never accepted.

RemoteFile ──read(start, end)──▶ fetch_range ──▶ bytes of exactly that range, of the version that was looked up
    └── time-out, reset, 429, 5xx, short read, checksum: again after 0.1 s, 0.2 s, ...; anything else: an error at once
"""

import io
import logging
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import fsspec.core

from samsum_stream.errors import SourceError
from samsum_stream.errors.redaction import explain, redact, secrets_in
from samsum_stream.sources.files.fetch import BadBytes, fetch_range

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_ATTEMPTS = 6
FIRST_DELAY, MAX_DELAY = 0.1, 5.0
"""Seconds before the second attempt, and the longest wait before any attempt."""

READ_AFTER_A_JUMP = 1 << 16
"""Maximum bytes of a read after a long jump: another jump may follow soon."""

TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_TRANSIENT_NAMES = ("checksum", "connection", "disconnected", "incomplete", "payload", "slowdown", "throttl", "timeout")
"""Parts of the names of transient errors; the client libraries share no base class for them."""

_WITH_KEYS = frozenset({"s3", "s3a", "gs", "gcs", "file", "local"})
_ANOTHER_VERSION = 412
_START_AGAIN = "the file has changed since it was looked up; start again, and write new files under new names"


class RemoteFile(NamedTuple):
    """A file behind a URL, in the version that was looked up.

    Attributes:
        options: The fsspec options; no message shows them.
        size: In bytes.
        etag: The name of this version on the server; empty if the server gives none.
    """

    url: str
    options: Mapping[str, Any]
    size: int
    etag: str

    @property
    def path(self) -> str:
        """Host and path, without user and query; a file in an archive is below the path of the archive."""
        links = [link for link in self.url.split("::") if "://" in link]
        return "/".join(map(_path_of, reversed(links)))

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
        """The bytes from `start` to `end`; a whole file is compared with the checksum of its store, if there is one.

        Raises:
            SourceError: all attempts failed, or the file has changed.
        """
        return retried(
            lambda files, path: fetch_range(files, path, etag=self.etag, start=start, end=end, size=self.size),
            self.url,
            self.options,
            f"reading bytes {start:,} to {end:,} of",
        )

    def open(self) -> "RangeReader":
        """The file as a seekable binary file."""
        return RangeReader(self)


def _path_of(link: str) -> str:
    """Host and path of a URL; a key of an object store can have `?` and `#`, which start a query elsewhere."""
    scheme, _, rest = link.partition("://")
    path = re.split(r"\?versionId=" if scheme in _WITH_KEYS else "[?#]", rest, maxsplit=1)[0]
    host, slash, below = path.partition("/")
    return f"{host.rpartition('@')[2]}{slash}{below}"


class Attempts:
    """Some attempts with growing waits; `retries` says whether to try again after an error.

    The log shows `doing` ("reading s3://bucket/a.jsonl") and the error, without `secrets`.
    """

    def __init__(
        self,
        doing: str,
        *,
        retries: Callable[[Exception], bool],
        secrets: Sequence[str] = (),
        max_attempts: int | None = None,
    ) -> None:
        self._doing, self._retries, self._secrets = doing, retries, secrets
        self._max_attempts = max_attempts or MAX_ATTEMPTS
        self._num_failed = 0

    def call(self, action: Callable[[], T]) -> T:
        """The result of `action`; the error of the last attempt is raised unchanged."""
        while True:
            try:
                return action()
            except Exception as error:
                self._num_failed += 1
                if self._num_failed >= self._max_attempts or not self._retries(error):
                    raise
                message = explain(error, secrets=self._secrets)
                logger.warning(
                    "%s failed, trying again (%d of %d): %s", self._doing, self._num_failed, self._max_attempts, message
                )
                # Jitter keeps a thousand workers from retrying at the same moment; it has no effect on the rows.
                time.sleep(min(FIRST_DELAY * 2 ** (self._num_failed - 1), MAX_DELAY) * random.uniform(0.5, 1.0))

    @property
    def tried(self) -> str:
        """The number of failed attempts for an error message; empty after one attempt."""
        return f" (tried {self._num_failed} times)" if self._num_failed > 1 else ""


def retried(action: Callable[[Any, str], T], url: str, options: Mapping[str, Any], doing: str) -> T:
    """The result of `action(filesystem, path)` for a URL; raises `SourceError` for an error that retries do not fix."""
    what, secrets = f"{doing} {_shown(url, options)}", _secrets(options)
    attempts = Attempts(what, retries=is_transient, secrets=secrets)
    try:
        return attempts.call(lambda: action(*fsspec.core.url_to_fs(url, **options)))
    except Exception as error:
        is_changed = _ANOTHER_VERSION in map(status_of, _causes(error))
        remedy = _START_AGAIN if is_changed else "check the path, the credentials and the network"
        raise SourceError(f"{what} failed{attempts.tried}: {explain(error, secrets=secrets)}; {remedy}") from None


def _shown(url: str, options: Mapping[str, Any]) -> str:
    return redact(url, secrets=_secrets(options))


def _secrets(options: Mapping[str, Any]) -> list[str]:
    return secrets_in({"storage_options": dict(options)})


class RangeReader(io.RawIOBase):
    """A remote file with the file interface that Python and Arrow use."""

    def __init__(self, file: RemoteFile) -> None:
        self._file, self._offset, self._end = file, 0, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._offset = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self._file.size}[whence]
        return self._offset

    def tell(self) -> int:
        return self._offset

    def read(self, size: int | None = -1) -> bytes:
        """All requested bytes, in one range."""
        return self._range(self._file.size if size is None or size < 0 else size)

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; after a jump over more than a quarter of the buffer, read only a few bytes."""
        view = memoryview(buffer).cast("B")
        is_near = 0 <= self._offset - self._end <= len(view) // 4
        content = self._range(len(view) if is_near else min(len(view), READ_AFTER_A_JUMP))
        view[: len(content)] = content
        return len(content)

    def _range(self, size: int) -> bytes:
        start, end = self._offset, min(self._offset + size, self._file.size)
        if end <= start:
            return b""
        content = self._file.read(start, end)
        self._offset = self._end = end
        return content


def is_transient(error: BaseException | None) -> bool:
    """Whether an error, or one of its causes, may go away on another attempt."""
    return any(map(_is_transient_type, _causes(error)))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_transient_type(error: BaseException) -> bool:
    status = status_of(error)
    has_transient_name = any(name in type(error).__name__.lower() for name in _TRANSIENT_NAMES)
    is_known = isinstance(error, (TimeoutError, ConnectionError, BadBytes))
    return is_known or status in TRANSIENT_STATUS or (has_transient_name and status is None)


def status_of(error: BaseException) -> int | None:
    """The HTTP status in the error of a client library; None if there is none."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        status = getattr(error, "status", None) or getattr(error, "code", None)
        status = status or getattr(response, "status_code", None)
    return status if type(status) is int else None
