"""Compares the throughput of rows with a prompt, of texts, and of ids, without workers.

    python -m tests.benchmarks.kinds_of_rows

reads SAMSum in separate processes, which alternate, and prints a Markdown table of medians: million tokens per second
of CPU time, from rows to tensors. Rows of ids have labels, of which the first half is not trained.

    prompt    an input and a response        text      both as one text
    lists     ids and labels as lists        arrays    as arrays of numpy
    dataset   as a datasets.Dataset          jsonl     as lists in JSON lines
"""

import argparse
import gc
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tests.benchmarks.corpora import load_tokenizer, markdown, open_stream, read_rows, run_apart

KINDS = ("prompt", "text", "lists", "arrays", "dataset", "jsonl")
NUM_EPOCHS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", default="qwen3")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--run", choices=KINDS, help="measure one kind here, and print JSON")
    options = parser.parse_args()
    if options.run:
        print(json.dumps(measure(options.run, load_tokenizer(options.tokenizer))))
        return
    runs = {kind: list[float]() for kind in KINDS}
    for number in range(options.rounds):
        for kind, results in runs.items():
            words = ("--tokenizer", options.tokenizer, "--run", kind)
            results.append(run_apart(["-m", "tests.benchmarks.kinds_of_rows", *words])["mtok_per_s"])
            print(f"round {number}: {kind} {results[-1]:.1f} Mtok/s", file=sys.stderr, flush=True)
    rows = [
        [f"`{kind}`", f"{median(results):.1f}", f"{min(results):.1f} to {max(results):.1f}"]
        for kind, results in runs.items()
    ]
    print(f"tokenizer {options.tokenizer}; medians of {options.rounds} runs\n")
    print(markdown(["rows", "Mtok per CPU second", "range"], rows))


def measure(kind: str, tokenizer: Any) -> dict[str, float]:
    """The throughput of a kind of rows after a first epoch, which fills the caches."""
    rows = rows_of(kind, tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        source = {}
        if kind == "jsonl":
            path = Path(folder, "rows.jsonl")
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            source = {"source_config": {"method": "jsonl", "kwargs": {"path": str(path)}}}
        stream = open_stream(None if source else rows, tokenizer=tokenizer, prompt_config={}, **source)
        batches = iter(stream.loader())
        while stream.stats.examples < len(rows):
            next(batches)
        gc.collect()
        num_tokens, start = stream.stats.tokens, time.process_time()
        while stream.stats.examples < (1 + NUM_EPOCHS) * len(rows):
            next(batches)
        return {"mtok_per_s": (stream.stats.tokens - num_tokens) / (time.process_time() - start) / 1e6}


def rows_of(kind: str, tokenizer: Any) -> Any:
    rows = read_rows("samsum")
    if kind == "prompt":
        return rows
    texts = [f"{row['input']}\n{row['response']}" for row in rows]
    if kind == "text":
        return [{"text": text} for text in texts]
    ids = tokenizer(texts).input_ids
    of_ids = [{"input_ids": row, "labels": [-100] * (len(row) // 2) + row[len(row) // 2 :]} for row in ids]
    if kind == "dataset":
        from datasets import Dataset

        return Dataset.from_list(of_ids)
    if kind == "arrays":
        return [{name: np.array(values) for name, values in row.items()} for row in of_ids]
    return of_ids


if __name__ == "__main__":
    main()
