"""The older offline layout, read as today's: `chunksize` is `max_length`, and no writer writes."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from samsum_stream.config.problems import Path, Problem
from samsum_stream.errors.wording import shown

OLDER_KEYS = ("chunksize", "dataset_writer_config")
"""Keys at the top that only the older layout has; `ignore_index` and `num_proc` live on."""

_MAX_LENGTH = ("packing_config", "kwargs", "max_length")


@dataclass
class Modern:
    """A config in today's layout, and what came of the older keys."""

    data: dict[str, Any]
    written_as: dict[Path, Path] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    names_a_writer: bool = False


def from_older_layout(data: Mapping[str, Any]) -> Modern:
    """Moves the older keys to where they live today; leaves the caller's mapping as it is."""
    modern = Modern({key: value for key, value in data.items() if key not in OLDER_KEYS})
    if "chunksize" in data:
        _move_chunksize(modern, data["chunksize"])
    if "dataset_writer_config" in data:
        _drop_writer(modern, data["dataset_writer_config"])
    return modern


def warn_of_writer(modern: Modern, origin: str, *, stacklevel: int) -> None:
    """Says once for a config that its writer has nothing to do."""
    if modern.names_a_writer:
        message = f"{origin}: dataset_writer_config is ignored: rows are streamed, and nothing is written to disk"
        warnings.warn(message, UserWarning, stacklevel=stacklevel + 1)


def _move_chunksize(modern: Modern, chunksize: Any) -> None:
    packing = modern.data.get("packing_config", {})
    kwargs = packing.get("kwargs", {}) if isinstance(packing, dict) else None
    if not isinstance(kwargs, dict):
        # Validation tells what is wrong with packing_config; until then there is no place to move to.
        return
    if "max_length" not in kwargs:
        kwargs = {**kwargs, "max_length": chunksize}
        modern.data["packing_config"] = {**packing, "kwargs": kwargs}
        modern.written_as[_MAX_LENGTH] = ("chunksize",)
    elif kwargs["max_length"] != chunksize:
        other = f"packing_config.kwargs.max_length, which means the same, says {shown(kwargs['max_length'])}"
        text = f"says {shown(chunksize)}, and {other}; keep one of the two"
        modern.problems.append(Problem(("chunksize",), text))


def _drop_writer(modern: Modern, writer: Any) -> None:
    if isinstance(writer, dict):
        modern.names_a_writer = True
    else:
        text = f"must be a mapping; got {shown(writer)}; leave the key out, as nothing is written to disk"
        modern.problems.append(Problem(("dataset_writer_config",), text))
