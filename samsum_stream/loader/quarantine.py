"""Bad rows that were skipped, as JSON lines of position and reason, never with the content of a row.

    {"batch": 17, "source": "samsum", "shard": "train.jsonl", "row": 9, "epoch": 0, "field": "input", "reason": ...}

The delivered batches determine the lines. A run that resumes at batch `M` removes the lines of batch `M` and later
ones, and writes them again.
"""

import glob
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import shown
from samsum_stream.values.rows import BadRow, RowPosition

_ROW_FIELDS = RowPosition._fields[:4]
"""The fields of a position that a line has: those of the row. A bad row has no part."""


class Quarantine:
    """The file of this rank: `path`, or a file beside it such as `bad.rank-3.jsonl` if there are several ranks.

    Raises:
        ConfigError: the home folder that `path` names is unknown.
    """

    def __init__(self, path: str) -> None:
        with _config_errors(path):
            self.path = self._file = Path(path).expanduser()

    def begin(self, batch: int, rank: int, world_size: int) -> None:
        """Keep only the lines of batches before `batch`. Rank 0 also cuts the files that no rank writes to any more.

        Raises:
            ConfigError: the file cannot be written, or is not a list of bad rows.
        """
        with _config_errors(self.path):
            rank_files = [self._file_of(number) for number in range(world_size)] if world_size > 1 else [self.path]
            self._file = rank_files[rank]
            self._file.parent.mkdir(parents=True, exist_ok=True)
            pattern = self._file_of("*", escape=glob.escape).name
            existing = [self.path, *self.path.parent.glob(pattern)] if rank == 0 else []
            for file in {self._file, *existing} - ({*rank_files} - {self._file}):
                _cut(file, batch)

    def add(self, batch: int, rows: Sequence[BadRow]) -> None:
        """Append the bad rows that the stream skipped before it produced `batch`."""
        if rows:
            with _config_errors(self._file), self._file.open("a", encoding="utf-8") as file:
                file.writelines(_line(batch, row) for row in rows)

    def _file_of(self, rank: int | str, *, escape: Callable[[str], str] = str) -> Path:
        return self.path.with_name(f"{escape(self.path.stem)}.rank-{rank}{escape(self.path.suffix)}")


@contextmanager
def _config_errors(path: Path | str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"fault_config.quarantine_path: {path} cannot be written to ({type(error).__name__}: {error}); choose a "
            "file in a writable folder with free space"
        ) from error


def _line(batch: int, row: BadRow) -> str:
    position = dict(zip(_ROW_FIELDS, row.position, strict=False))
    return json.dumps({"batch": batch, **position, "field": row.field, "reason": row.reason}) + "\n"


def _batch_of(line: str) -> int:
    entry = json.loads(line)
    if list(entry) != ["batch", *_ROW_FIELDS, "field", "reason"]:
        raise ValueError(f"it has another line: {shown(entry)}")
    return int(entry["batch"])


def _cut(file: Path, batch: int) -> None:
    """Remove the lines of `batch` and later ones, and an incomplete last line: no state includes its batch."""
    if not file.exists():
        return
    try:
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and _batch_of(line) < batch]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"fault_config.quarantine_path: {file} is not a list of bad rows ({type(error).__name__}: {error}); "
            "choose another file"
        ) from None
    if len(kept) < len(lines):
        new = file.with_name(f"{file.name}.new")
        new.write_text("".join(kept), encoding="utf-8")
        new.replace(file)  # atomic: a kill leaves the old file or the new one
