"""A training process whose workers are blocked: `python -m tests.jobs.blocked FOLDER METHOD:BLOCK ...`.

`METHOD` starts the workers. `BLOCK` is where they block: at the `queue`, which nobody reads, while `reading` a row, or
while `counting` rows. The last one may be `counting`. The job writes `FOLDER/ready` when all workers are blocked.
"""

import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from samsum_stream.loader.loader import StreamLoader
from tests.streams import make_rows, make_stream

FIRST_BLOCKED = 500
SECONDS_UNTIL_QUEUE_IS_FULL = 2


class Rows(list[dict[str, Any]]):
    """Rows of which the last ones block the worker that reads them; it creates `file` before it blocks."""

    def __init__(self, file: Path | None) -> None:
        super().__init__(make_rows(600) if file else make_rows(600) * 20)
        self.file = file

    def __getitem__(self, index: Any) -> Any:
        if self.file and index >= FIRST_BLOCKED and parent_process() is not None:
            self.file.touch()
            time.sleep(1000)
        return super().__getitem__(index)


def loader_of(method: str, block: str, file: Path) -> StreamLoader:
    batch_size, rows = (256, Rows(None)) if block == "queue" else (2, Rows(file))
    epochs = 1 if block == "counting" else None
    stream = make_stream(rows, batch_size=batch_size, epochs=epochs, shuffle=False, lanes=2)
    return stream.loader(num_workers=2, multiprocessing_context=method)


def main(folder: Path, cases: list[tuple[str, str]]) -> None:
    files, opened = [folder / f"blocked-{number}" for number in range(len(cases))], list[Iterator[Any]]()
    threading.Thread(target=report, args=(folder, files), daemon=True).start()
    for (method, block), file in zip(cases, files, strict=True):
        loader = loader_of(method, block, file)
        if block == "counting":
            len(loader)
        opened.append(iter(loader))
        next(opened[-1])
        if block == "queue":
            time.sleep(SECONDS_UNTIL_QUEUE_IS_FULL)
            file.touch()
    time.sleep(1000)


def report(folder: Path, files: list[Path]) -> None:
    while not all(file.exists() for file in files):
        time.sleep(0.05)
    (folder / "ready").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]), [(method, block) for method, _, block in (case.partition(":") for case in sys.argv[2:])])
