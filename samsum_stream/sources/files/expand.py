"""The files behind `path:`, local or behind URLs: one, a glob, or a list of both; and a name for each as a shard."""

import glob
import io
import os
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from samsum_stream.errors import ConfigError, SourceError
from samsum_stream.errors.redaction import redact
from samsum_stream.errors.wording import closest, shown
from samsum_stream.sources.files.lookup import find_remote, forget
from samsum_stream.sources.files.remote import RemoteFile
from samsum_stream.sources.files.schemes import refuse_schemes

READ_AT_ONCE = 1 << 20

WHOLE = 1 << 23
"""Bytes up to which a remote file that is read from its start on is fetched as a whole, and so can be verified."""

_BRACES = re.compile(r"(?<!\$)\{[^{}]*\}")

File = Path | RemoteFile
"""Both have a `name`, `str()` of them can be shown, and `opened` takes either."""


def expand_files(path: object, *, name: str, options: Mapping[str, Any]) -> tuple[File, ...]:
    """The files in the order given, a glob's matches sorted; nothing found, empty or named twice is an error.

    Args:
        path: A local path or a URL, a glob of either, or a list of them.
        options: What fsspec needs to open URLs.
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
        seen.setdefault(_identity(file, name=name), []).append(file)
    for spellings in seen.values():
        _refuse_repeats(spellings, name=name)
    return tuple(files)


def opened(file: File) -> BinaryIO:
    """The bytes of a file, to be read from its start on; of a long remote one, `READ_AT_ONCE` at a time."""
    if isinstance(file, Path):
        return file.open("rb")
    if file.size <= WHOLE:
        return io.BytesIO(file.read(0, file.size))
    return io.BufferedReader(file.open(), READ_AT_ONCE)


def is_gzip(file: File) -> bool:
    return file.name.endswith(".gz")


def has_remote(files: Sequence[File]) -> bool:
    return any(isinstance(file, RemoteFile) for file in files)


def shard_names(files: Sequence[File]) -> list[str]:
    """Base names where they differ, else the paths below the folder that all files share."""
    names = [file.name for file in files]
    if len(set(names)) == len(names):
        return names
    paths = [PurePosixPath("/", file.path if isinstance(file, RemoteFile) else file) for file in files]
    shared = os.path.commonpath([path.parent for path in paths])
    return [path.relative_to(shared).as_posix() for path in paths]


def _identity(file: File, *, name: str) -> Hashable:
    """What tells a file from others: links and `..` spell one file in many ways, with one device and inode.

    Schemes do so too: `s3a://` is `s3://`, and `file://` is as good as none.
    """
    filesystem, place = (LocalFileSystem(), file) if isinstance(file, Path) else url_to_fs(file.url, **file.options)
    size = file.stat().st_size if isinstance(file, Path) else file.size
    if size == 0:
        raise SourceError(f"{name}: {file} is empty (0 bytes); write it again, or leave it out")
    if isinstance(filesystem, LocalFileSystem):
        stat = os.stat(place)
        return stat.st_dev, stat.st_ino
    return filesystem, place


def patterns_of(path: object, *, name: str) -> list[str]:
    """The paths, URLs and globs in `path`, which is one or a list of them."""
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
    if found := find_remote(pattern, options):
        return found
    shown_url = redact(pattern)
    remedy = _remedy(shown_url, name=name) or "check the path, its folder and suffix"
    raise SourceError(f"{name}: there is no file {shown_url}; {remedy}")


def _is_url(pattern: str) -> bool:
    return "://" in pattern


def _local_matches(pattern: str, *, name: str) -> list[Path]:
    path = Path(pattern).expanduser().absolute()
    if path.is_file():
        return [path]
    if path.is_dir():
        raise SourceError(f"{name}: {pattern} is a folder; name its files, as in {_files_in(pattern, name=name)}")
    if not glob.has_magic(pattern):
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        near = closest(path.name, siblings)
        remedy = _remedy(pattern, name=name) or ("check the path" if near is None else f"did you mean {near}?")
        raise SourceError(f"{name}: there is no file {pattern} (working directory: {Path.cwd()}); {remedy}")
    # The working directory and the home are no part of the glob, whatever signs their names have in them.
    own = Path(pattern).parts[Path(pattern).is_absolute() or pattern.startswith("~") :]
    root = path.parents[len(own) - 1]
    matches = (root / match for match in glob.iglob(str(Path(*own)), root_dir=root, recursive=True))
    found = sorted(match for match in matches if match.is_file())
    if not found:
        remedy = _remedy(pattern, name=name) or "check its folder and suffix"
        raise SourceError(f"{name}: the glob {pattern} matches no file (working directory: {Path.cwd()}); {remedy}")
    return found


def _remedy(pattern: str, *, name: str) -> str:
    """What to write in place of a path that is meant as many files, and names none; empty where it is not."""
    if _BRACES.search(pattern):
        own = _BRACES.sub("*", pattern)
        return f"braces are for the `urls` of webdataset; write a glob, as in `path: {own}`, or a list of files"
    if _is_url(pattern) and "." not in pattern.rpartition("/")[2]:
        return f"check the path, and of a folder name the files, as in {_files_in(pattern, name=name)}"
    return ""


def _files_in(folder: str, *, name: str) -> str:
    key, suffix = ("urls", "tar") if name == "webdataset" else ("path", name)
    return f"`{key}: {folder.rstrip('/')}/*.{suffix}`"
