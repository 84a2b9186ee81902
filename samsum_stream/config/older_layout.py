"""Converts the older offline layout to the current one: `chunksize` is `max_length`, and the writer is ignored."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from samsum_stream.config.problems import Path, Problem
from samsum_stream.errors.wording import shown

OLDER_KEYS = ("chunksize", "dataset_writer_config")
"""Top-level keys of the older layout only; the current layout kept `ignore_index` and `num_proc`."""

_MAX_LENGTH = ("packing_config", "kwargs", "max_length")


@dataclass
class Converted:
    """A config in the current layout, and the results of converting older keys."""

    data: dict[str, Any]
    written_as: dict[Path, Path] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    names_a_writer: bool = False


def from_older_layout(data: Mapping[str, Any]) -> Converted:
    """Converts the older keys to current ones; does not change `data`."""
    converted = Converted({key: value for key, value in data.items() if key not in OLDER_KEYS})
    if "chunksize" in data:
        _move_chunksize(converted, data["chunksize"])
    if "dataset_writer_config" in data:
        _drop_writer(converted, data["dataset_writer_config"])
    return converted


def warn_of_writer(converted: Converted, origin: str, *, stacklevel: int) -> None:
    """Warns once per config that its writer is ignored."""
    if converted.names_a_writer:
        message = f"{origin}: dataset_writer_config is ignored: rows are streamed, and nothing is written to disk"
        warnings.warn(message, UserWarning, stacklevel=stacklevel + 1)


def _move_chunksize(converted: Converted, chunksize: Any) -> None:
    packing = converted.data.get("packing_config", {})
    kwargs = packing.get("kwargs", {}) if isinstance(packing, dict) else None
    if not isinstance(kwargs, dict):
        # Validation reports the problem with packing_config.
        return
    if "max_length" not in kwargs:
        kwargs = {**kwargs, "max_length": chunksize}
        converted.data["packing_config"] = {**packing, "kwargs": kwargs}
        converted.written_as[_MAX_LENGTH] = ("chunksize",)
    elif kwargs["max_length"] != chunksize:
        other = f"packing_config.kwargs.max_length, which means the same, is {shown(kwargs['max_length'])}"
        text = f"is {shown(chunksize)}, but {other}; keep one of the two"
        converted.problems.append(Problem(("chunksize",), text))


def _drop_writer(converted: Converted, writer: Any) -> None:
    if isinstance(writer, dict):
        converted.names_a_writer = True
    else:
        text = f"must be a mapping; got {shown(writer)}; remove the key, because nothing is written to disk"
        converted.problems.append(Problem(("dataset_writer_config",), text))
