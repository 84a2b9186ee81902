"""The files that `path:` names, local or behind URLs: a file, a folder, a glob, or a list; and their shard names."""

import glob
import io
import os
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from samsum_stream.errors import ConfigError, SourceError
from samsum_stream.errors.redaction import redact
from samsum_stream.errors.wording import closest, shown
from samsum_stream.sources.files.hidden import visible
from samsum_stream.sources.files.lookup import find_remote, forget
from samsum_stream.sources.files.remote import RemoteFile
from samsum_stream.sources.files.schemes import refuse_schemes

BUFFER_SIZE = 1 << 20
"""Bytes per read of a large remote file."""

MAX_WHOLE_SIZE = 1 << 23
"""Bytes up to which a remote file is fetched in one read, so that its checksum can be verified."""

_BRACES = re.compile(r"(?<!\$)\{[^{}]*\}")

File = Path | RemoteFile
"""Both kinds have a `name`, and messages can show `str()` of both."""


def expand_files(path: object, *, name: str, options: Mapping[str, Any]) -> tuple[File, ...]:
    """The files in the given order; the matches of a glob, and the files below a folder, are sorted.

    Args:
        path: A local path or a URL of a file or a folder, a glob of either, or a list of them.
        options: The fsspec options for URLs.

    Raises:
        ConfigError: `path` or `options` has the wrong type, or a URL has a scheme that is not allowed.
        SourceError: a file is missing, or is named twice.
    """
    if not isinstance(options, Mapping):
        raise ConfigError(f"{name}: `storage_options` must be a mapping, got {type(options).__name__}")
    patterns = patterns_of(path, name=name)
    for url in filter(_is_url, patterns):
        refuse_schemes({"path": url, "storage_options": options})
        forget(url, options)
    files = [file for pattern in patterns for file in _matches(pattern, name=name, options=options)]
    if not files:
        raise SourceError(f"{name}: `path` is an empty list; name at least one file")
    seen: dict[Hashable, list[File]] = {}
    for file in files:
        seen.setdefault(_identity(file), []).append(file)
    for spellings in seen.values():
        _refuse_repeats(spellings, name=name)
    return tuple(files)


def opened(file: File) -> io.BufferedIOBase:
    """The bytes of a file, open for reading; a large remote file is read `BUFFER_SIZE` bytes at a time."""
    if isinstance(file, Path):
        return file.open("rb")
    if file.size <= MAX_WHOLE_SIZE:
        return io.BytesIO(file.read(0, file.size) if file.size else b"")
    return io.BufferedReader(file.open(), BUFFER_SIZE)


def has_remote(files: Sequence[File]) -> bool:
    return any(isinstance(file, RemoteFile) for file in files)


def shard_names(files: Sequence[File]) -> list[str]:
    """The base names if they differ, else the paths relative to the common folder."""
    names = [file.name for file in files]
    if len(set(names)) == len(names):
        return names
    paths = [PurePosixPath("/", file.path if isinstance(file, RemoteFile) else file) for file in files]
    shared = os.path.commonpath([path.parent for path in paths])
    return [path.relative_to(shared).as_posix() for path in paths]


def _identity(file: File) -> Hashable:
    """A key that is equal for all spellings of one file: links and `..` share a device and inode.

    Some schemes are equal too: `s3a://` is `s3://`, and `file://` names a local path.
    """
    filesystem, path = (LocalFileSystem(), file) if isinstance(file, Path) else url_to_fs(file.url, **file.options)
    if isinstance(filesystem, LocalFileSystem):
        stat = os.stat(path)
        return stat.st_dev, stat.st_ino
    return filesystem, path


def patterns_of(path: object, *, name: str) -> list[str]:
    """The paths, URLs and globs in `path`, which is one of them or a list."""
    patterns: Sequence[Any] = path if isinstance(path, list | tuple) else [path]
    for pattern in patterns:
        if not isinstance(pattern, str | os.PathLike):
            within = "" if pattern is path else " in the list"
            raise ConfigError(
                f"{name}: `path` must be a file, a glob or a list of them, got {shown(pattern)}{within}; name files"
            )
    return [os.fspath(pattern) for pattern in patterns]


def _refuse_repeats(spellings: Sequence[File], *, name: str) -> None:
    if len(spellings) > 1:
        first, *others = dict.fromkeys(map(str, spellings))
        also = f" (also as {', '.join(others)})" if others else ""
        raise SourceError(
            f"{name}: {first} is named {len(spellings)} times{also}, so its rows would repeat; name it once"
        )


def _matches(pattern: str, *, name: str, options: Mapping[str, Any]) -> Sequence[File]:
    if not _is_url(pattern):
        return _local_matches(pattern, name=name)
    if files := find_remote(pattern, options):
        return files
    shown_url = redact(pattern)
    remedy = _remedy_for_braces(shown_url) or "check the path, its folder and suffix"
    raise SourceError(f"{name}: there is no file {shown_url}; {remedy}")


def _is_url(pattern: str) -> bool:
    return "://" in pattern


def _local_matches(pattern: str, *, name: str) -> list[Path]:
    path = Path(pattern).expanduser().absolute()
    if path.is_file():
        return [path]
    if path.is_dir():
        return _files_below(path, pattern, name=name)
    if not glob.has_magic(pattern):
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        near = closest(path.name, siblings)
        remedy = _remedy_for_braces(pattern) or ("check the path" if near is None else f"did you mean {near}?")
        raise SourceError(f"{name}: there is no file {pattern} (working directory: {Path.cwd()}); {remedy}")
    # The working directory and the home directory are not part of the glob: their names may have brackets or stars.
    parts = Path(pattern).parts[Path(pattern).is_absolute() or pattern.startswith("~") :]
    root = path.parents[len(parts) - 1]
    relative = str(Path(*parts))
    matches = [root / match for match in glob.iglob(relative, root_dir=root, recursive=True)]
    paths = visible([str(match) for match in matches if match.is_file()], pattern=str(root / relative))
    files = sorted(map(Path, paths))
    if not files:
        remedy = _remedy_for_braces(pattern) or "check its folder and suffix"
        raise SourceError(f"{name}: the glob {pattern} matches no file (working directory: {Path.cwd()}); {remedy}")
    return files


def _files_below(folder: Path, pattern: str, *, name: str) -> list[Path]:
    """The files of a folder and of its subfolders, such as those of a dataset that is partitioned by a column."""
    below = sorted(path for path in folder.rglob("*") if path.is_file())
    if files := [Path(path) for path in visible(list(map(str, below)), pattern=str(folder))]:
        return files
    raise SourceError(f"{name}: the folder {pattern} has no files, or only hidden ones; check the path")


def _remedy_for_braces(pattern: str) -> str:
    """The remedy for a path whose braces seem to mean several files; else empty."""
    if not _BRACES.search(pattern):
        return ""
    with_star = _BRACES.sub("*", pattern)
    return f"braces are for the `urls` of webdataset; write a glob, as in `path: {with_star}`, or a list of files"
