"""The files behind `path:`: one file, a glob, or a list of both; and a name for each as a shard."""

import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from samsum_stream.errors import ConfigError, SourceError
from samsum_stream.sources.redaction import redact
from samsum_stream.wording import closest


def expand_paths(path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, name: str) -> tuple[Path, ...]:
    """Absolute paths in the order given, a glob's matches sorted; nothing found, empty or named twice is an error."""
    patterns = [path] if isinstance(path, str | os.PathLike) else path
    if not isinstance(patterns, list | tuple) or not all(isinstance(each, str | os.PathLike) for each in patterns):
        raise ConfigError(f"{name}: `path` must be a file, a glob or a list of them, got {path!r}")
    files = [file for pattern in patterns for file in _matches(os.fspath(pattern), name=name)]
    if not files:
        raise SourceError(f"{name}: `path` is an empty list; name at least one file")
    for file, count in Counter(files).items():
        if count > 1:
            raise SourceError(f"{name}: {file} is named {count} times, so its rows would repeat; name it once")
        if file.stat().st_size == 0:
            raise SourceError(f"{name}: {file} is empty (0 bytes); write it again, or leave it out")
    return tuple(files)


def shard_names(files: Sequence[Path]) -> list[str]:
    """Base names where they differ, else the paths below the folder that all files share."""
    names = [file.name for file in files]
    if len(set(names)) == len(names):
        return names
    shared = os.path.commonpath([file.parent for file in files])
    return [file.relative_to(shared).as_posix() for file in files]


def _matches(pattern: str, *, name: str) -> list[Path]:
    if "://" in pattern:
        raise SourceError(
            f"{name}: reads local files, got {redact(pattern)}; use `method: load_dataset` with "
            f"`kwargs: {{path: json, data_files: ...}}` for URLs"
        )
    path = Path(pattern).expanduser().absolute()
    if path.is_file():
        return [path]
    if path.is_dir():
        raise SourceError(f"{name}: {pattern} is a folder; name its files, as in `path: {pattern.rstrip('/')}/*.jsonl`")
    if not glob.has_magic(pattern):
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        near = closest(path.name, siblings)
        remedy = "check the path" if near is None else f"did you mean {near}?"
        raise SourceError(f"{name}: there is no file {pattern} (working directory: {Path.cwd()}); {remedy}")
    found = sorted(match for match in map(Path, glob.iglob(str(path), recursive=True)) if match.is_file())
    if not found:
        raise SourceError(
            f"{name}: the glob {pattern} matches no file (working directory: {Path.cwd()}); check its folder and suffix"
        )
    return found
