"""The default name of a source: `samsum` for `knkarthick/samsum` or `data/samsum/train.jsonl`."""

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

_PATH_KEYS = ("data_files", "dataset_path", "path", "urls", "data_dir")


def default_name(method: str, kwargs: Mapping[str, Any]) -> str:
    """The name of the path that `kwargs` read from, or of the method; never a query, a user or a whole path."""
    for key in _PATH_KEYS:
        path = _first_text(kwargs[key]) if key in kwargs else None
        if path:
            return _name_of(path) or method
    return method.rpartition("::")[2] or method


def _name_of(path: str) -> str:
    """The last part of a path without suffixes, or the folder of a file if the path has one."""
    try:
        url = urlsplit(path) if "://" in path else None
    except ValueError:  # brackets in a text that is not an address: opening it raises the error for the user
        return ""
    parts = [part for part in (path if url is None else url.path).split("/") if part not in ("", ".", "..", "~")]
    if not parts:
        return "" if url is None or url.hostname is None else url.hostname
    is_file = "." in parts[-1] or "*" in parts[-1]
    folders = [part for part in parts[:-1] if "*" not in part]
    if is_file and folders:
        return folders[-1]
    return parts[-1].split(".")[0].replace("*", "") if is_file else parts[-1]


def _first_text(value: object) -> str | None:
    """The first path in a path, a list of paths, or a mapping of splits to either."""
    while isinstance(value, Mapping | list | tuple):
        value = next(iter(value.values() if isinstance(value, Mapping) else value), None)
    return os.fspath(value) if isinstance(value, str | os.PathLike) else None
