"""Folders that `save_to_disk` wrote: a folder behind a URL is downloaded first, and a cut Arrow file is an error.

state.json                          names the Arrow files
dataset_info.json
data-00000-of-00002.arrow, ...      streams; a stream that is cut between two batches still looks complete
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import fsspec.core
import pyarrow as pa
from datasets.fingerprint import get_temporary_cache_files_directory
from fsspec.implementations.local import LocalFileSystem

from samsum_stream.errors import SourceError
from samsum_stream.sources.files.expand import MAX_WHOLE_SIZE
from samsum_stream.sources.files.fetch import BadBytes, known_md5
from samsum_stream.sources.files.lookup import look_up
from samsum_stream.sources.files.remote import Attempts, RemoteFile, retried

END = b"\xff\xff\xff\xff\0\0\0\0"
"""The mark at the end of an Arrow stream."""

MAX_FETCHED_AT_ONCE = 16
"""Files that are downloaded at the same time."""


def joined(folder: str, name: str) -> str:
    """The path or URL of a file in a folder; the folder may be part of a chain (`zip://folder::s3://bucket/a.zip`)."""
    links = folder.split("::")
    index = next((number for number, link in enumerate(links) if "://" in link), 0)
    links[index] = f"{links[index].rstrip('/')}/{name}"
    return "::".join(links)


def read_json(folder: str, name: str, options: Mapping[str, Any]) -> Any:
    """The content of a small JSON file in a folder; None if there is no such file."""
    file = look_up(joined(folder, name), options)
    return None if file is None else json.loads(file.read(0, file.size))


def fetched(folder: str, options: Mapping[str, Any]) -> str:
    """A local folder with the dataset: `folder` itself, or a copy that is kept until the process ends.

    Raises:
        FileNotFoundError: a file is missing.
        BadBytes: an Arrow file is cut, or its bytes differ from those of its store in all attempts.
        SourceError: a file cannot be read.
    """
    if (state := read_json(folder, "state.json", options)) is None:
        raise FileNotFoundError("there is no state.json, so `save_to_disk` did not write the folder")
    tables = [str(entry["filename"]) for entry in state["_data_files"]]
    files, path = fsspec.core.url_to_fs(folder, **options)
    if isinstance(files, LocalFileSystem):
        for table in tables:
            _require_end(Path(path, table))
        return str(path)
    copy = Path(tempfile.mkdtemp(dir=get_temporary_cache_files_directory()))
    fetch = partial(_fetch, folder, options, copy)
    fetch("state.json")
    fetch("dataset_info.json")
    with ThreadPoolExecutor(MAX_FETCHED_AT_ONCE) as pool:
        list(pool.map(partial(fetch, check=_require_sound), tables))
    return str(copy)


def _fetch(
    folder: str, options: Mapping[str, Any], copy: Path, name: str, *, check: Callable[[Path], None] | None = None
) -> None:
    """Copy a file of the folder; repeat if its bytes are not those of the store, or if `check` raises `BadBytes`."""
    if Path(name).name != name:
        raise SourceError(f"state.json names {name!r}, which is not in its folder; save the dataset again")
    if (file := look_up(joined(folder, name), options)) is None:
        raise FileNotFoundError(f"there is no {name}")

    def write() -> None:
        _write(file, copy / name)
        if check is not None:
            check(copy / name)

    attempts = Attempts(f"fetching {file}", retries=lambda error: isinstance(error, BadBytes))
    try:
        attempts.call(write)
    except BadBytes as error:
        raise BadBytes(f"{error}{attempts.tried}") from None


def _write(file: RemoteFile, target: Path) -> None:
    md5 = hashlib.md5(usedforsecurity=False)
    with target.open("wb") as out:
        for start in range(0, file.size, MAX_WHOLE_SIZE):
            part = file.read(start, min(start + MAX_WHOLE_SIZE, file.size))
            md5.update(part)
            out.write(part)
    if file.size <= MAX_WHOLE_SIZE:  # `read` has compared the checksum of a whole file
        return
    known = retried(partial(known_md5, etag=file.etag), file.url, file.options, "looking up")
    if known and known != md5.hexdigest():
        raise BadBytes(f"{target.name} arrived with the MD5 {md5.hexdigest()}, and its store has {known}")


def _require_sound(table: Path) -> None:
    """Check that no text of the table reaches beyond its buffer: Arrow does not check this when it reads rows."""
    _require_end(table)
    try:
        with pa.memory_map(str(table)) as source, pa.ipc.open_stream(source) as stream:
            stream.read_all().validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise BadBytes(f"{table.name} is broken ({type(error).__name__}: {error})") from error


def _require_end(table: Path) -> None:
    with table.open("rb") as file:
        file.seek(-min(len(END), table.stat().st_size), os.SEEK_END)
        if file.read() != END:
            raise BadBytes(f"{table.name} is cut: the mark at the end of an Arrow stream is missing")
