"""A journal of a distributed run: which rows each step has read, on which rank, and its loss."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


class Journal:
    """A file of JSON lines for each start of a rank: what the start took, and the loss and the rows of each step."""

    def __init__(self, folder: Path | None, device: torch.device, *, prepared: float) -> None:
        started = torch.tensor(time.time_ns(), device=device)
        dist.broadcast(started, src=0)  # the files of one start have one name
        self._rows, self._seconds = dict[int, list[str]](), {"prepared": prepared}
        self._path, self._created = None, time.perf_counter()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._path = folder / f"{started.item()}-rank-{dist.get_rank()}.jsonl"

    def recorded(self, loader: Any) -> Iterator[dict[str, Any]]:
        """The batches of the loader; the rows of each batch are remembered for the next line."""
        self._seconds["loaded"] = time.perf_counter() - self._created
        start = time.perf_counter()
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
