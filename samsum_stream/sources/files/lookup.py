"""Files behind URLs, with their versions: one named file, the files of a folder, or the matches of a glob."""

import glob
import re
from collections.abc import Iterator, Mapping
from typing import Any

from fsspec.utils import glob_translate

from samsum_stream.sources.files.hidden import visible
from samsum_stream.sources.files.remote import RemoteFile, retried, status_of

Info = Mapping[str, Any]
"""The entry of a file or a folder in a listing of fsspec."""

_NOT_FOUND = 404


def forget(url: str, options: Mapping[str, Any]) -> None:
    """Clear the cached listings of a filesystem, which may be out of date."""
    retried(lambda files, path: files.invalidate_cache(), url, options, "looking up")


def find_remote(pattern: str, options: Mapping[str, Any]) -> list[RemoteFile]:
    """The file of a URL, or the sorted files below a folder or of a glob; an empty list if there is no file."""

    def find(files: Any, path: str) -> list[RemoteFile]:
        is_glob = _is_glob(files, path)
        if "[" in path or "?" in path or not is_glob:  # a name with such a sign is first tried as a file
            named = [_file(files, pattern, options, info) for info in _infos(files, path)]
            if named:
                return named
        matches = _matches(files, path) if is_glob else _below(files, path, None)
        infos = {str(info["name"]): info for info in matches}
        names = visible(sorted(infos), pattern=path)
        return [_file(files, _url_of(files, name, pattern), options, infos[name]) for name in names]

    return retried(find, pattern, options, "looking up")


def _url_of(files: Any, name: str, pattern: str) -> str:
    """The URL of a match; in an archive with the rest of its chain, as in `zip://*.jsonl::s3://bucket/a.zip`."""
    first, chain, rest = pattern.partition("::")
    url = str(files.unstrip_protocol(name))
    return f"{url}{chain}{rest}" if "://" in first else url


def look_up(url: str, options: Mapping[str, Any]) -> RemoteFile | None:
    """The file of a URL, which is never read as a glob; None if there is no such file."""

    def find(files: Any, path: str) -> RemoteFile | None:
        return next((_file(files, url, options, info) for info in _infos(files, path)), None)

    return retried(find, url, options, "looking up")


def _is_glob(files: Any, path: str) -> bool:
    """Whether a path is a glob; in an HTTP URL, a question mark starts a query."""
    return glob.has_magic(path.replace("?", "") if "https" in type(files).protocol else path)


def _file(files: Any, url: str, options: Mapping[str, Any], info: Info) -> RemoteFile:
    if info.get("size") is None:  # an HTTP listing has only names
        info = files.info(info["name"])
    if info.get("size") is None:
        raise ValueError("the server does not give the size of the file")
    return RemoteFile(url, options, int(info["size"]), str(info.get("ETag") or ""))


def _infos(files: Any, path: str) -> Iterator[Info]:
    try:  # `isfile` treats any error as a missing file
        if (info := files.info(path))["type"] == "file":
            yield info
    except FileNotFoundError as error:
        if not _is_missing(error.__cause__):
            raise


def _is_missing(cause: BaseException | None) -> bool:
    """Whether a file is missing: for HTTP, fsspec turns any failure into FileNotFoundError with a cause."""
    return cause is None or isinstance(cause, FileNotFoundError | LookupError) or status_of(cause) == _NOT_FOUND


def _matches(files: Any, pattern: str) -> Iterator[Info]:
    """The files that a glob matches; the glob of fsspec silently skips folders that cannot be listed."""
    root = re.split(r"[*?[]", pattern, maxsplit=1)[0].rpartition("/")[0]
    depth = None if "**" in pattern else pattern.count("/", len(root) + 1)
    matches = re.compile(glob_translate(pattern)).match
    return (info for info in _below(files, root, depth) if matches(info["name"]))


def _below(files: Any, folder: str, depth: int | None) -> Iterator[Info]:
    """The files in a folder and in its subfolders, down to `depth` levels (None: all levels)."""
    try:
        entries = files.ls(folder, detail=True)
    except FileNotFoundError:
        return
    for info in entries:
        if info["type"] == "file":
            yield info
        elif depth != 0 and info["name"].strip("/") != folder.strip("/"):
            yield from _below(files, info["name"], None if depth is None else depth - 1)
