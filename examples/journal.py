"""A journal of a distributed run: which rows each step has read, on which rank, and its loss."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """A file of JSON lines for each process: the loss and the rows of each step, and what the start took."""

    def __init__(self, folder: Path | None, *, prepared: float) -> None:
        self._rows, self._seconds = dict[int, list[str]](), {"prepared": prepared}
        self._path = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._path = folder / f"{time.time_ns()}-{os.getpid()}.jsonl"

    def recorded(self, loader: Any, *, loaded: float) -> Iterator[dict[str, Any]]:
        """The batches of a loader that was opened in `loaded` seconds; the next line names their rows."""
        self._rows, start = {}, time.perf_counter()
        self._seconds = {"prepared": self._seconds["prepared"], "loaded": loaded}
        for batch in loader:
            self._seconds.setdefault("first_batch", time.perf_counter() - start)
            info = loader.last_batch_info
            self._rows[info.batch] = [str(position) for pack in info.positions for position in pack]
            yield batch

    def write(self, **entry: Any) -> None:
        """Append a line for a step."""
        if self._path is not None:
            line = {**entry, "time": time.time(), "seconds": self._seconds, "rows": self._rows}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        self._rows = {}
