"""A folder of states, on a disk or behind a URL: `folder/batch-M/rank-r.json`.

disk                    a file is written under another name, and renamed: a reader sees the old file or the new one
URL (s3://..., gs://)   a file is written by one request: an object store shows an object when it is complete
"""

import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from samsum_stream.loader.store import Store, is_url, local_path

RANK_FILES = "rank-*.json"
_BATCH = re.compile(r"batch-(0|[1-9]\d*)")
_RANK = re.compile(r"rank-\d+\.json")


class StateFolder(ABC):
    """A folder of states; its methods raise `OSError` or `StateError`."""

    @abstractmethod
    def batches(self) -> list[int]:
        """The batches that have a folder, the newest first; none if there is no such folder."""

    @abstractmethod
    def read(self, batch: int) -> dict[str, str | Exception]:
        """The text of each rank's file of a batch, by the name of the file, or the error of reading it."""

    @abstractmethod
    def write(self, batch: int, name: str, text: str) -> Path | str:
        """Write a file at once, also if it exists; returns its path or URL."""

    @abstractmethod
    def remove(self, batch: int) -> None:
        """Remove the folder of a batch."""

    @abstractmethod
    def set_aside(self, batch: int) -> str:
        """Rename the folder of a batch to `set-aside-batch-M`, and return this name."""


def state_folder(location: str | os.PathLike[str]) -> StateFolder:
    """The folder at a path or URL."""
    text = os.fspath(location)
    return _RemoteFolder(text) if is_url(text) else _LocalFolder(Path(local_path(text)))


class _LocalFolder(StateFolder):
    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def batches(self) -> list[int]:
        return _numbers(path.name for path in self._path.iterdir()) if self._path.is_dir() else []

    def read(self, batch: int) -> dict[str, str | Exception]:
        return {path.name: _text_of(path) for path in sorted(self._batch(batch).glob(RANK_FILES))}

    def write(self, batch: int, name: str, text: str) -> Path:
        """A reader sees the old file or the complete new file, also after a power failure."""
        path = self._batch(batch) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{name}.{os.getpid()}.part")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        for folder in (path.parent, self._path):
            _sync_folder(folder)
        return path

    def remove(self, batch: int) -> None:
        shutil.rmtree(self._batch(batch), ignore_errors=True)

    def set_aside(self, batch: int) -> str:
        folder = self._batch(batch)
        shutil.rmtree(aside := folder.with_name(_aside(batch)), ignore_errors=True)
        folder.rename(aside)
        return aside.name

    def _batch(self, batch: int) -> Path:
        return self._path / f"batch-{batch}"


class _RemoteFolder(StateFolder):
    def __init__(self, url: str) -> None:
        self._store = Store(url)

    def __str__(self) -> str:
        return str(self._store)

    def batches(self) -> list[int]:
        return _numbers(self._store.names())

    def read(self, batch: int) -> dict[str, str | Exception]:
        place = f"/batch-{batch}"
        names = sorted(filter(_RANK.fullmatch, self._store.names(place)))
        return {name: _decoded(content) for name, content in self._store.read_many(place, names).items()}

    def write(self, batch: int, name: str, text: str) -> str:
        place = f"/batch-{batch}/{name}"
        self._store.write(place, text)
        return f"{self}{place}"

    def remove(self, batch: int) -> None:
        self._store.remove(f"/batch-{batch}")

    def set_aside(self, batch: int) -> str:
        def move(files: Any, path: str) -> None:
            files.invalidate_cache()
            target = f"{path.rpartition('/')[0]}/{_aside(batch)}"
            for name in files.find(path):  # also files of the user, such as weights
                files.cp_file(name, target + name.removeprefix(path))
                files.rm_file(name)

        self._store.call("renaming", f"/batch-{batch}", move)
        return _aside(batch)


def _decoded(content: bytes | Exception) -> str | Exception:
    try:
        return content if isinstance(content, Exception) else content.decode()
    except ValueError as error:
        return error


def _text_of(path: Path) -> str | Exception:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        return error


def _numbers(names: Iterable[str]) -> list[int]:
    matches = map(_BATCH.fullmatch, names)
    return sorted((int(match.group(1)) for match in matches if match), reverse=True)


def _aside(batch: int) -> str:
    return f"set-aside-batch-{batch}"


def _sync_folder(folder: Path) -> None:
    """Write the entries of a folder to the disk, where the system can open a folder; Windows cannot."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
