"""Bad rows that were skipped, one JSON line each: where they stand and why, never what they hold.

    {"batch": 17, "source": "samsum", "shard": "train.jsonl", "row": 9, "epoch": 0, "field": "input", "reason": ...}

The lines follow from the batches that were handed over: a run that goes on at batch `M` takes back those of `M` and
later ones, which it will write again.
"""

import glob
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import shown
from samsum_stream.values.rows import BadRow, RowPosition


class Quarantine:
    """The file of one rank; of several ranks, each has its own beside `path`, as in `bad.rank-3.jsonl`."""

    def __init__(self, path: str) -> None:
        with _told_of(path):
            self.path = self._own = Path(path).expanduser()

    def begin(self, batch: int, rank: int, world_size: int) -> None:
        """Keep the lines of the batches before `batch`; rank 0 does so in files that no rank writes to any more.

        Raises:
            ConfigError: the file cannot be written to, or is no list of bad rows.
        """
        with _told_of(self.path):
            own = [self._of_rank(each) for each in range(world_size)] if world_size > 1 else [self.path]
            self._own = own[rank]
            self._own.parent.mkdir(parents=True, exist_ok=True)
            ranks = self._of_rank("*", escape=glob.escape).name
            others = [self.path, *self.path.parent.glob(ranks)] if rank == 0 else []
            for file in {self._own, *others} - ({*own} - {self._own}):
                _cut(file, batch)

    def add(self, batch: int, rows: Sequence[BadRow]) -> None:
        """Write down the bad rows that were passed on the way to a batch."""
        if rows:
            with _told_of(self._own), self._own.open("a", encoding="utf-8") as file:
                file.writelines(_line(batch, row) for row in rows)

    def _of_rank(self, rank: int | str, *, escape: Callable[[str], str] = str) -> Path:
        return self.path.with_name(f"{escape(self.path.stem)}.rank-{rank}{escape(self.path.suffix)}")


@contextmanager
def _told_of(path: Path | str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"fault_config.quarantine_path: {path} cannot be written to ({type(error).__name__}: {error}); name a file "
            "in a folder that can, with room for it"
        ) from error


def _line(batch: int, row: BadRow) -> str:
    return json.dumps({"batch": batch, **row.position._asdict(), "field": row.field, "reason": row.reason}) + "\n"


def _batch_of(line: str) -> int:
    entry = json.loads(line)
    if list(entry) != ["batch", *RowPosition._fields, "field", "reason"]:
        raise ValueError(f"it holds other lines, such as one with {shown(entry)}")
    return int(entry["batch"])


def _cut(file: Path, batch: int) -> None:
    """A line that was torn by a kill is of a batch that no state knows of."""
    if not file.exists():
        return
    try:
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and _batch_of(line) < batch]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"fault_config.quarantine_path: {file} is no list of bad rows ({type(error).__name__}: {error}); name "
            "another file"
        ) from None
    if len(kept) < len(lines):
        shorter = file.with_name(f"{file.name}.new")
        shorter.write_text("".join(kept), encoding="utf-8")
        shorter.replace(file)  # a kill leaves the one or the other
