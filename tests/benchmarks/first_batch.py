"""Measures the time from rows and a tokenizer in memory to the first batch of an endless stream.

    python -m tests.benchmarks.first_batch

runs each backend over a thousand and over a million rows of SAMSum (its rows, repeated) as a `datasets.Dataset`. The
runs alternate, each in a separate process. The Markdown table has medians: the milliseconds to build the stream
(fastokens is loaded and checked meanwhile), and then to the first batch of 8 x 2,048.
"""

import argparse
import json
import sys
import time
from statistics import median

from datasets import Dataset

import samsum_stream  # noqa: F401  (imported before the clock starts)
from tests.benchmarks.corpora import load_tokenizer, markdown, open_stream, read_rows, run_apart

BACKENDS = ("hf", "fastokens")
SIZES = (1_000, 1_000_000)


def run(backend: str, num_rows: int, tokenizer: str) -> dict[str, float]:
    """Milliseconds of one run in this process."""
    rows = Dataset.from_list(read_rows("samsum"))
    table = rows.data.table.take([number % len(rows) for number in range(num_rows)]).combine_chunks()
    rows, loaded = Dataset(table), load_tokenizer(tokenizer)
    start = time.perf_counter()
    stream = open_stream(rows, tokenizer=loaded, backend=backend)
    built = time.perf_counter()
    next(iter(stream.loader()))
    return {"build": (built - start) * 1000, "first batch": (time.perf_counter() - built) * 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", default="gpt-neox-20b")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--run", nargs=2, metavar=("BACKEND", "ROWS"), help="run once here, and print one JSON line")
    options = parser.parse_args()
    if options.run:
        backend, num_rows = options.run
        print(json.dumps(run(backend, int(num_rows), options.tokenizer)))
        return
    runs = {(backend, size): list[dict[str, float]]() for backend in BACKENDS for size in SIZES}
    for number in range(options.rounds):
        for (backend, size), results in runs.items():
            words = ("--tokenizer", options.tokenizer, "--run", backend, size)
            results.append(run_apart(["-m", "tests.benchmarks.first_batch", *words]))
            print(f"round {number}: {backend}, {size:,} rows: {results[-1]}", file=sys.stderr, flush=True)
    rows = []
    for (backend, size), results in runs.items():
        built, first = (median(times[key] for times in results) for key in ("build", "first batch"))
        both = median(sum(times.values()) for times in results)
        rows.append([f"`{backend}`", f"{size:,}", f"{built:.0f}", f"{first:.0f}", f"{both:.0f}"])
    print(f"tokenizer {options.tokenizer}; medians of {options.rounds} runs\n")
    print(markdown(["backend", "rows", "build, ms", "first batch, ms", "both, ms"], rows))


if __name__ == "__main__":
    main()
