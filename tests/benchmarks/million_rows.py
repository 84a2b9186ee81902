"""Measures a million rows of parquet on two workers: the memory stays constant, and the first batch is fast.

    python -m tests.benchmarks.million_rows --rows 1000000

writes the rows into a temporary folder, reads one epoch of an endless stream, and prints a table. The exit status is 1
if a process needs more memory at the end than after a tenth of the rows, or if the first batch takes too long.

The memory of a process is its PSS: pages that processes share are divided among them. The time of the first batch
starts when the transformers tokenizer is loaded. It is measured as wall-clock time and as CPU time (of the training
process and the slower worker), which other jobs of the machine do not delay. All rows have words of the same dialogues:
fastokens caches the words that it has encoded, up to about 230 MB per process, and new words would fill this cache over
millions of rows.
"""

import argparse
import json
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.parquet as pq
from psutil import Process
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from samsum_stream import SFTStream

ROOT = Path(__file__).resolve().parents[2]
DIALOGUES = ROOT / "examples" / "data" / "dialogues.jsonl"
REAL_TOKENIZER = ROOT.parent / "shared" / "data" / "tokenizers" / "gpt-neox-20b"
TOKENIZER = REAL_TOKENIZER if REAL_TOKENIZER.is_dir() else ROOT / "examples" / "data" / "tokenizer"

NUM_FILES = 8
ROWS_A_GROUP = 10_000
NUM_WORKERS = 2
MARKS = (0.1, 0.5, 1.0)
"""Shares of the rows at which the memory is measured: the median from 5% before to 5% after."""

MAX_GROWTH = 24.0
"""The maximum growth of a process from the first mark to the last, in MB."""
MAX_FIRST_BATCH = 2.0
"""The maximum CPU time of the first batch, in seconds."""

Samples = list[tuple[float, float]]
"""Pairs of the share of the rows that was read, and the memory of a process in MB."""


def write_rows(folder: Path, num_rows: int) -> None:
    """Write rows of some hundred bytes, with random lines of the example dialogues."""
    examples = [json.loads(line) for line in DIALOGUES.read_text(encoding="utf-8").splitlines()]
    lines = [line for row in examples for line in row["dialogue"].splitlines()]
    summaries = [row["summary"] for row in examples]
    chooser = random.Random(0)
    for number in range(NUM_FILES):
        rows = range(number * num_rows // NUM_FILES, (number + 1) * num_rows // NUM_FILES)
        dialogues = ["\n".join(chooser.choices(lines, k=chooser.randint(2, 10))) for _ in rows]
        table = pa.table({"dialogue": dialogues, "summary": chooser.choices(summaries, k=len(rows)), "id": list(rows)})
        pq.write_table(table, folder / f"part-{number}.parquet", row_group_size=ROWS_A_GROUP)


def open_stream(folder: Path, tokenizer: PreTrainedTokenizerBase) -> SFTStream:
    config = {
        "source_config": {
            "method": "parquet",
            "kwargs": {"path": str(folder / "*.parquet")},
            "columns": {"input": "dialogue", "response": "summary"},
        },
        "prompt_config": {"kwargs": {"response_template": "Summary: {text}"}},
        "tokenizer_config": {"backend": "fastokens"},
        "epochs": None,
    }
    return SFTStream.from_config(config, tokenizer=tokenizer)


def read_epoch(folder: Path, tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[float, dict[str, Process]]]:
    """The share of the rows that was read, and the processes by name: the training process and its workers.

    Yields after the first batch, and after each hundredth of the rows of an epoch.
    """
    stream = open_stream(folder, tokenizer)
    num_rows, number = stream.pipeline.num_rows or 0, 0
    for _ in stream.loader(num_workers=NUM_WORKERS):
        read = stream.stats.rows / num_rows
        if read >= number / 100:
            pids = sorted(process.pid or 0 for process in multiprocessing.active_children())
            yield read, {"training": Process(), **{f"worker {n}": Process(pid) for n, pid in enumerate(pids)}}
            number += 1
        if read >= 1:
            return


def cpu_seconds(process: Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def medians(samples: Samples) -> list[float]:
    """The memory at each of `MARKS`."""
    return [median(megabytes for read, megabytes in samples if abs(read - mark) <= 0.05) for mark in MARKS]


def table(memory: Mapping[str, Samples]) -> str:
    lines = ["| MB | " + " | ".join(f"{mark:.0%}" for mark in MARKS) + " | maximum |", "|---" * (len(MARKS) + 2) + "|"]
    for name, samples in memory.items():
        values = [*medians(samples), max(megabytes for _, megabytes in samples)]
        lines.append(f"| {name} | " + " | ".join(f"{value:.0f}" for value in values) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    num_rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as name:
        # In a separate process, so that its memory does not count for the training process.
        writer = multiprocessing.Process(target=write_rows, args=(folder := Path(name), num_rows))
        writer.start()
        writer.join()
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{num_rows:,} rows in {NUM_FILES} files, {size / 1e6:,.0f} MB; {TOKENIZER.name}", flush=True)
        return measure(folder)


def measure(folder: Path) -> int:
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    start, used = time.perf_counter(), cpu_seconds(Process())
    memory: dict[str, Samples] = {}
    first = 0.0
    for read, processes in read_epoch(folder, tokenizer):
        if not memory:
            training, *workers = map(cpu_seconds, processes.values())
            first = training - used + max(workers)
            print(f"first batch after {time.perf_counter() - start:.2f} s, with {first:.2f} s of CPU time")
        for name, process in processes.items():
            memory.setdefault(name, []).append((read, process.memory_full_info().pss / 1e6))
    growth = max(last - first for first, *_, last in map(medians, memory.values()))
    print(f"whole epoch after {time.perf_counter() - start:.0f} s\n\n{table(memory)}\n")
    print(f"growth {growth:.0f} MB, at most {MAX_GROWTH:.0f}; first batch {first:.2f} s, at most {MAX_FIRST_BATCH:.2f}")
    return int(growth > MAX_GROWTH or first > MAX_FIRST_BATCH)


if __name__ == "__main__":
    sys.exit(main())
