"""Bad rows that were skipped, as JSON lines of position and reason, never with the content of a row.

    {"batch": 17, "source": "samsum", "shard": "train.jsonl", "row": 9, "epoch": 0, "field": "input", "reason": ...}

The delivered batches determine the lines. A run that resumes at batch `M` removes the lines of batch `M` and later
ones, and writes them again.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath

from samsum_stream.errors import ConfigError, StateError
from samsum_stream.errors.redaction import redact
from samsum_stream.errors.wording import shown
from samsum_stream.loader.quarantine.files import LinesFile, lines_file
from samsum_stream.sources.files.schemes import refuse_scheme
from samsum_stream.values.rows import BadRow, RowPosition

_KEY = "fault_config.quarantine_path"
_ROW_FIELDS = RowPosition._fields[:4]
"""The fields of a position that a line has: those of the row. A bad row has no part."""


class Quarantine:
    """The file of this rank: `path`, or a file beside it such as `bad.rank-3.jsonl` if there are several ranks.

    Args:
        path: A path, or a URL of fsspec.

    Raises:
        ConfigError: the home folder that `path` names is unknown, or its scheme is not allowed in a config.
    """

    def __init__(self, path: str) -> None:
        refuse_scheme(_KEY, path)
        with _config_errors(redact(path)):
            self._file = lines_file(path.rstrip("/"))
        self._name = PurePath(path).name
        self._others_end: float = math.inf

    def begin(self, batch: int, rank: int, world_size: int) -> None:
        """Keep only the lines of batches before `batch`. Rank 0 also cuts the files that no rank writes to any more.

        Raises:
            ConfigError: the file cannot be written, or is not a list of bad rows.
        """
        names = [self._name_of(number) for number in range(world_size)] if world_size > 1 else [self._name]
        self._file = self._file.beside(names[rank])
        with _config_errors(self._file):
            self._file.prepare()
            _cut(self._file, batch)
            if rank == 0 and batch < self._others_end:
                for name in {*filter(self._is_of_quarantine, self._file.names())} - {*names}:
                    _cut(self._file.beside(name), batch)
                self._others_end = batch

    def add(self, batch: int, rows: Sequence[BadRow]) -> None:
        """Append the bad rows that the stream skipped before it produced `batch`."""
        if rows:
            with _config_errors(self._file):
                self._file.append("".join(_line(batch, row) for row in rows))

    def flush(self) -> None:
        """Write the lines that are still in memory: a run that resumes from a state does not add them again."""
        with _config_errors(self._file):
            self._file.flush()

    def _name_of(self, rank: int) -> str:
        name = PurePath(self._name)
        return f"{name.stem}.rank-{rank}{name.suffix}"

    def _is_of_quarantine(self, name: str) -> bool:
        match = re.search(r"\.rank-(\d+)", name)
        return name == self._name or (match is not None and name == self._name_of(int(match.group(1))))


@contextmanager
def _config_errors(file: LinesFile | str) -> Iterator[None]:
    try:
        yield
    except StateError as error:
        raise ConfigError(f"{_KEY}: {error}") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"{_KEY}: {file} cannot be written to ({type(error).__name__}: {error}); choose a file in a writable "
            "folder with free space"
        ) from error


def _line(batch: int, row: BadRow) -> str:
    position = dict(zip(_ROW_FIELDS, row.position, strict=False))
    return json.dumps({"batch": batch, **position, "field": row.field, "reason": row.reason}) + "\n"


def _batch_of(line: str) -> int:
    entry = json.loads(line)
    if list(entry) != ["batch", *_ROW_FIELDS, "field", "reason"]:
        raise ValueError(f"it has another line: {shown(entry)}")
    return int(entry["batch"])


def _cut(file: LinesFile, batch: int) -> None:
    """Remove the lines of `batch` and later ones, and an incomplete last line: no state includes its batch."""
    try:
        lines = file.read().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and _batch_of(line) < batch]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{_KEY}: {file} is not a list of bad rows ({type(error).__name__}: {error}); choose another file"
        ) from None
    if len(kept) < len(lines):
        file.replace("".join(kept))
