"""The store behind a URL: a request has a few attempts, and an outage is an error of its own."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import fsspec.core

from samsum_stream.errors import StateError
from samsum_stream.errors.redaction import explain, redact
from samsum_stream.sources.files.remote import Attempts, is_transient

T = TypeVar("T")

_MAX_ATTEMPTS = 3
"""Attempts of a request. The training waits for them, and saves again later."""

_LOCAL = ("file://", "local://")


class StoreDownError(StateError):
    """A store did not answer, or answered that it cannot work at the moment."""


class Store:
    """A folder or a file behind a URL of fsspec."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def __str__(self) -> str:
        return redact(self.url)

    def call(self, doing: str, place: str, action: Callable[[Any, str], T]) -> T:
        """The result of `action(filesystem, path)` for the URL followed by `place`.

        Raises:
            StoreDownError: another attempt, later, may succeed.
            StateError: the store refuses.
        """
        what = f"{doing} {self}{place}"
        attempts = Attempts(what, retries=is_transient, max_attempts=_MAX_ATTEMPTS)
        try:
            return attempts.call(lambda: action(*fsspec.core.url_to_fs(f"{self.url}{place}")))
        except Exception as error:
            kind = StoreDownError if is_transient(error) else StateError
            raise kind(
                f"{what} failed{attempts.tried}: {explain(error)}; check the path, the credentials and the network"
            ) from None

    def read(self, place: str) -> bytes:
        """The content of an object; raises `FileNotFoundError` if there is none."""

        def content(files: Any, path: str) -> bytes | None:
            try:
                return bytes(files.cat_file(path))
            except FileNotFoundError:
                return None

        if (read := self.call("reading", place, content)) is None:
            raise FileNotFoundError(f"{self}{place}")
        return read

    def read_many(self, place: str, names: Sequence[str]) -> dict[str, bytes | Exception]:
        """The content of each object in a folder, or the error of reading it; all objects are read at one time."""

        def contents(files: Any, path: str) -> dict[str, bytes | Exception]:
            # `cat` would read signs such as * and [ as patterns
            read = files.cat_ranges([f"{path}/{name}" for name in names], None, None, on_error="return")
            for content in read:
                if isinstance(content, Exception) and is_transient(content):
                    raise content
            return dict(zip(names, read, strict=True))

        return self.call("reading", place, contents) if names else {}

    def write(self, place: str, text: str) -> None:
        """Write an object at once, also if it exists."""
        self.call("writing", place, lambda files, path: files.pipe_file(path, text.encode()))

    def remove(self, place: str, *, but: str = "") -> None:
        """Remove a folder with all objects in it, except an object with the name `but`."""

        def removed(files: Any, path: str) -> None:
            files.invalidate_cache()
            for name in files.find(path):  # `rm` would read signs such as * and [ as patterns
                if name.rpartition("/")[2] != but:
                    files.rm_file(name)

        self.call("removing", place, removed)

    def upload(self, source: Path, place: str) -> None:
        """Copy a file of the disk to an object."""
        self.call("writing", place, lambda files, path: files.put_file(str(source), path))

    def download(self, place: str, target: Path) -> None:
        """Copy an object to a file of the disk."""
        self.call("reading", place, lambda files, path: files.get_file(path, str(target)))

    def names(self, place: str = "") -> list[str]:
        """The names of the files and folders in a folder; none if the folder does not exist."""

        def listed(files: Any, path: str) -> list[str]:
            files.invalidate_cache()  # other processes write, too
            try:
                return [entry.rstrip("/").rpartition("/")[2] for entry in files.ls(path, detail=False)]
            except FileNotFoundError:
                return []

        return self.call("listing", place, listed)


def is_url(location: str) -> bool:
    """Whether a location is a URL of a store, and no path or URL of the local disk."""
    return "://" in location and not location.startswith(_LOCAL)


def local_path(location: str) -> str:
    """The path in a path or a `file://` URL."""
    return location.partition("://")[2] or location
