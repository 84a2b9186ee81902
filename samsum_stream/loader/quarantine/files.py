"""A file of lines on a disk or behind a URL.

disk                    lines are appended at once
URL (s3://..., gs://)   lines are kept in memory, since stores cannot append, and the object is written again from time
                        to time and whenever a state is taken
"""

import functools
import logging
import time
from abc import ABC, abstractmethod
from pathlib import Path

from samsum_stream.loader.store import Store, StoreDownError, is_url, local_path

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_WRITES = 30.0


class LinesFile(ABC):
    """A file of lines; its methods raise `OSError`, `ValueError` or `StateError`."""

    @abstractmethod
    def beside(self, name: str) -> "LinesFile":
        """The file with another name in the same folder."""

    @abstractmethod
    def prepare(self) -> None:
        """Create the folder of the file, or the object, so that a place that refuses is an error at the start."""

    @abstractmethod
    def names(self) -> list[str]:
        """The names in the folder of the file."""

    @abstractmethod
    def read(self) -> str:
        """The whole text; empty if there is no file."""

    @abstractmethod
    def replace(self, text: str) -> None:
        """Write the whole text at once: a kill leaves the old text or the new one."""

    @abstractmethod
    def append(self, text: str) -> None:
        """Add lines, which `flush` may write later."""

    @abstractmethod
    def flush(self) -> None:
        """Write all lines that were added. A store that is down gets them at the next call."""


def lines_file(location: str) -> LinesFile:
    """The file at a path or URL."""
    return _remote_file(location) if is_url(location) else _LocalFile(Path(local_path(location)).expanduser())


class _LocalFile(LinesFile):
    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def beside(self, name: str) -> LinesFile:
        return _LocalFile(self._path.with_name(name))

    def prepare(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)

    def names(self) -> list[str]:
        return [path.name for path in self._path.parent.iterdir()]

    def read(self) -> str:
        return self._path.read_text(encoding="utf-8") if self._path.exists() else ""

    def replace(self, text: str) -> None:
        new = self._path.with_name(f"{self._path.name}.new")
        new.write_text(text, encoding="utf-8")
        new.replace(self._path)

    def append(self, text: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text)

    def flush(self) -> None:
        """Lines are written at once."""


class _RemoteFile(LinesFile):
    """All loaders of a process share the lines of a URL, as they would share a file."""

    def __init__(self, url: str) -> None:
        self._store = Store(url)
        self._text: str | None = None
        self._is_written, self._written_at = True, time.monotonic()

    def __str__(self) -> str:
        return str(self._store)

    def beside(self, name: str) -> LinesFile:
        return _remote_file(f"{self._folder}/{name}")

    def prepare(self) -> None:
        if self._is_written:  # another process may have changed the object
            before, self._text = self._text, None
            try:
                if not self.read():
                    self._store.write("", "")
            except StoreDownError:
                if before is None:
                    raise
                self._text = before

    def names(self) -> list[str]:
        return Store(self._folder).names()

    def read(self) -> str:
        """The lines in memory, because the object may lack the newest ones; at first, the object."""
        if self._text is None:
            try:
                self._text = self._store.read("").decode()
            except FileNotFoundError:
                self._text = ""
        return self._text

    def replace(self, text: str) -> None:
        self._text, self._is_written = text, False
        self.flush()

    def append(self, text: str) -> None:
        self._text, self._is_written = self.read() + text, False
        if time.monotonic() - self._written_at > _SECONDS_BETWEEN_WRITES:
            self.flush()

    def flush(self) -> None:
        if self._is_written:
            return
        self._written_at = time.monotonic()
        try:
            self._store.write("", self.read())
            self._is_written = True
        except StoreDownError as error:
            logger.warning("the list of bad rows is not saved, and a later write tries again: %s", error)

    @property
    def _folder(self) -> str:
        return self._store.url.rpartition("/")[0]


_remote_file = functools.cache(_RemoteFile)
