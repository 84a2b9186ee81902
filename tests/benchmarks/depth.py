"""Measures the time to restore at any row, the size of a state, and the memory over ten million rows.

    python -m tests.benchmarks.depth --rows 10000000

reads a synthetic indexed source once (endless stream, 24 lanes, windows of 64 rows), and prints a line after each tenth
of the rows.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from samsum_stream import SFTStream
from samsum_stream.loader.state.state import State
from tests.streams import make_stream


class SyntheticRows(Sequence[dict[str, str]]):
    """Rows that are generated when they are read."""

    def __init__(self, num_rows: int) -> None:
        self.num_rows = num_rows

    def __len__(self) -> int:
        return self.num_rows

    def __getitem__(self, index: Any) -> Any:
        words = str(10 + index % 600)
        return {"input": words, "response": " ".join([words] * (index * 7 % 11 + 1))}


def open_stream(num_rows: int, *, batch_size: int = 64) -> SFTStream:
    prompt = {"kwargs": {"response_template": "10 {text}"}}
    return make_stream(
        SyntheticRows(num_rows), epochs=None, lanes=24, max_length=256, batch_size=batch_size, prompt_config=prompt
    )


def resident_mb() -> float:
    """The resident memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def restore_seconds(state: State, num_rows: int) -> float:
    """The time from a state to the next batch, of a stream that is already built."""
    loader = open_stream(num_rows).loader()
    start = time.perf_counter()
    loader.load_state_dict(json.loads(json.dumps(state)))
    next(iter(loader))
    return time.perf_counter() - start


def read(num_rows: int) -> Iterator[tuple[int, float, State]]:
    """The number of rows, the memory and the state after each tenth of the rows."""
    stream = open_stream(num_rows)
    loader, tenth = stream.loader(), 0
    for _ in loader:
        if stream.stats.rows >= (tenth + 1) * num_rows // 10:
            tenth += 1
            yield stream.stats.rows, resident_mb(), loader.state_dict()
        if tenth == 10:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    num_rows = parser.parse_args().rows
    first = restore_seconds(open_stream(num_rows).loader().state_dict(), num_rows)
    print(f"first batch of a new run: {first:.3f} s", flush=True)
    start = time.perf_counter()
    for rows, memory, state in read(num_rows):
        seconds = time.perf_counter() - start
        print(
            f"{rows:,} rows in {seconds:.0f} s: {memory:.0f} MB, state {len(json.dumps(state)):,} bytes, "
            f"restored in {restore_seconds(state, num_rows):.3f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
