"""The loaders of the `datasets` library with errors that give a remedy: Hub ids, local files, saved folders."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import datasets
import datasets.exceptions

from samsum_stream.errors import SourceError
from samsum_stream.errors.redaction import explain, redact, secrets_in, texts_in
from samsum_stream.errors.wording import did_you_mean
from samsum_stream.sources.files.fetch import BadBytes
from samsum_stream.sources.files.lookup import forget
from samsum_stream.sources.files.schemes import refuse_code, refuse_schemes
from samsum_stream.sources.huggingface.saved import fetched, joined, read_json

_REMEDIES: tuple[tuple[type[BaseException], str], ...] = (
    (
        datasets.exceptions.DatasetNotFoundError,
        "check the id, log in with `hf auth login` for a private or gated dataset, or read local files: `path: json`",
    ),
    (FileNotFoundError, "check the path; a relative path starts at the working directory"),
    (ConnectionError, "check the network and HF_HUB_OFFLINE, or read local files: `path: json`"),
    (PermissionError, "check the credentials, or log in with `hf auth login`"),
    (BadBytes, "fetch or write it again"),
    (ImportError, "install the package that the message names"),
    (TypeError, "check the names under `kwargs:`"),
)
"""The first match is used, so subclasses come before their base classes."""


def load_dataset(**kwargs: Any) -> datasets.Dataset | datasets.IterableDataset:
    """`datasets.load_dataset`: a Hub id, or local json, parquet and csv files by `path` and `data_files`.

    Raises:
        ConfigError, TrustError: an argument is not allowed in a config.
        SourceError: the dataset cannot be loaded, or `split` does not name one split.
    """
    what = f"load_dataset {kwargs['path']}" if "path" in kwargs else "load_dataset"
    refuse_code(kwargs)
    refuse_schemes(kwargs)
    passed = {key: value for key, value in kwargs.items() if key != "trust_remote_code"}
    try:
        loaded = datasets.load_dataset(**passed)
    except StopIteration:  # a builder found no first row
        raise _no_rows(what, kwargs) from None
    except Exception as error:
        raise _failure(what, error, kwargs) from None
    return one_split(loaded, name=redact(what))


def load_from_disk(
    dataset_path: str,
    split: str | None = None,
    storage_options: dict[str, Any] | None = None,
    keep_in_memory: bool | None = None,
) -> datasets.Dataset | datasets.IterableDataset:
    """`datasets.load_from_disk`: a folder that `save_to_disk` wrote, local or behind an fsspec URL.

    If the folder holds a `DatasetDict`, only `split` is read.

    Raises:
        ConfigError: a URL is not allowed in a config.
        SourceError: the dataset cannot be loaded, or `split` does not name one split.
    """
    what, options = f"load_from_disk {redact(str(dataset_path))}", storage_options or {}
    refuse_schemes({"dataset_path": dataset_path, "storage_options": options})
    try:
        forget(str(dataset_path), options)
        folder = fetched(_split_folder(str(dataset_path), split=split, options=options), options)
        loaded = datasets.load_from_disk(folder, keep_in_memory=keep_in_memory)
    except SourceError:
        raise
    except Exception as error:
        raise _failure(what, error, {"storage_options": storage_options}) from None
    return one_split(loaded, name=what)


def one_split(loaded: object, *, name: str) -> datasets.Dataset | datasets.IterableDataset:
    """`loaded` if it is one split; raises `SourceError` for a dict of splits or a list."""
    if isinstance(loaded, datasets.DatasetDict | datasets.IterableDatasetDict):
        raise _no_split(name, loaded)
    if not isinstance(loaded, datasets.Dataset | datasets.IterableDataset):
        raise SourceError(f"{name}: `split` must name one split, got {type(loaded).__name__}; join splits as `a+b`")
    return loaded


def _split_folder(folder: str, *, split: str | None, options: Mapping[str, Any]) -> str:
    """The folder to read: `folder` itself, or the folder of `split` in a saved `DatasetDict`."""
    if (index := read_json(folder, "dataset_dict.json", options)) is not None:
        if split is None or split not in index["splits"]:
            raise _no_split(f"load_from_disk {redact(folder)}", index["splits"], split)
        return joined(folder, split)
    if split is not None and read_json(folder, "state.json", options) is not None:
        raise SourceError(
            f"load_from_disk {redact(folder)}: the dataset has no splits, got `split: {split}`; leave `split` out"
        )
    return folder


def _no_split(name: str, splits: Iterable[Any], split: str | None = None) -> SourceError:
    known = list(map(str, splits))
    problem = "`split` is missing" if split is None else f"there is no split {split!r}"
    remedy = f"pick one, as in `kwargs: {{split: {known[0]}}}`" if known else "the dataset was saved without splits"
    return SourceError(f"{name}: {problem}; splits {did_you_mean(split or '', known)}; {remedy}")


def _no_rows(what: str, kwargs: Mapping[str, Any]) -> SourceError:
    files = ", ".join(texts_in([kwargs.get("data_files"), kwargs.get("data_dir")]))
    return SourceError(
        f"{redact(what)}: no file with rows matches {redact(files)} (working directory: {Path.cwd()}); check the "
        "folder and the suffix, and that the files are not empty"
    )


def _failure(what: str, error: Exception, kwargs: Mapping[str, Any]) -> SourceError:
    remedy = next((text for kind, text in _REMEDIES if isinstance(error, kind)), "check the values under `kwargs:`")
    secrets = secrets_in(kwargs)
    return SourceError(f"{redact(what, secrets=secrets)} failed: {explain(error, secrets=secrets)}; {remedy}")
