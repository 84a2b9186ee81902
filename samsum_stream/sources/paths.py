"""The files behind `path:`: one file, a glob, or a list of both; and a name for each as a shard."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from samsum_stream.errors import ConfigError, SourceError
from samsum_stream.sources.redaction import redact
from samsum_stream.wording import closest, shown


def expand_paths(path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, name: str) -> tuple[Path, ...]:
    """Absolute paths in the order given, a glob's matches sorted; nothing found, empty or named twice is an error."""
    files = [file for pattern in _patterns(path, name=name) for file in _matches(os.fspath(pattern), name=name)]
    if not files:
        raise SourceError(f"{name}: `path` is an empty list; name at least one file")
    seen: dict[tuple[int, int], list[Path]] = {}
    for file in files:
        stat = file.stat()
        if stat.st_size == 0:
            raise SourceError(f"{name}: {file} is empty (0 bytes); write it again, or leave it out")
        # Links and `..` spell one file in many ways; its device and inode are the same in all of them.
        seen.setdefault((stat.st_dev, stat.st_ino), []).append(file)
    for spellings in seen.values():
        _refuse_repeats(spellings, name=name)
    return tuple(files)


def shard_names(files: Sequence[Path]) -> list[str]:
    """Base names where they differ, else the paths below the folder that all files share."""
    names = [file.name for file in files]
    if len(set(names)) == len(names):
        return names
    shared = os.path.commonpath([file.parent for file in files])
    return [file.relative_to(shared).as_posix() for file in files]


def _patterns(path: object, *, name: str) -> list[str | os.PathLike[str]]:
    patterns = path if isinstance(path, list | tuple) else [path]
    for pattern in patterns:
        if not isinstance(pattern, str | os.PathLike):
            within = "" if pattern is path else " in the list"
            raise ConfigError(
                f"{name}: `path` must be a file, a glob or a list of them, got {shown(pattern)}{within}; name files"
            )
    return list(patterns)


def _refuse_repeats(spellings: Sequence[Path], *, name: str) -> None:
    if len(spellings) > 1:
        others = [str(other) for other in dict.fromkeys(spellings) if other != spellings[0]]
        also = f" (also as {', '.join(others)})" if others else ""
        raise SourceError(
            f"{name}: {spellings[0]} is named {len(spellings)} times{also}, so its rows would repeat; name it once"
        )


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
