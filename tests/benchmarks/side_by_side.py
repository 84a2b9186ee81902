"""Compares the package with its limits and its peers: medians and ratios of alternating runs in separate processes.

    python -m tests.benchmarks.side_by_side --peers-python PYTHON

runs both backends of the package, in the training process and with two workers, in turn with every peer, `--rounds`
times, and prints a Markdown table. Arguments select some of these systems. The clock of a system starts when rows and
tokenizer are in memory (for the limits: when the texts are also rendered) and stops after the last batch. Peers read
the rows once. The stream of the package is endless, and twelve epochs of it are measured: in one epoch, the rows that
wait in lanes for a later batch would count too much. A backend caches words, so later epochs are faster. Before the
clock of the package starts, Python collects the garbage of the imports.
"""

import argparse
import gc
import json
import os
import resource
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks import corpora

OURS = {
    "ours_hf": ("hf", 0),
    "ours_hf_2_workers": ("hf", 2),
    "ours_fastokens": ("fastokens", 0),
    "ours_fastokens_2_workers": ("fastokens", 2),
}
"""The backend and the number of workers."""

SHOWN_AS_RATIOS = ("ours_hf", "ours_fastokens")

PEERS = ("limit_hf", "limit_fast", "grain", "hf_stream", "trl", "trl_stream")
NUM_EPOCHS = 12

Runs = dict[str, list[dict[str, Any]]]


def run_ours(backend: str, num_workers: int, *, corpus: str, tokenizer: str, length: int) -> dict[str, Any]:
    """Measure rows in memory to batches of 8 x length as torch tensors; the keys are those of the peers' script."""
    rows, loaded = corpora.read_rows(corpus), corpora.load_tokenizer(tokenizer)
    stream = corpora.open_stream(rows, tokenizer=loaded, backend=backend, length=length)
    gc.collect()
    start, seconds, stats = time.perf_counter(), list[float](), stream.stats
    for _ in stream.loader(num_workers=num_workers):
        seconds.append(time.perf_counter() - start)
        if stats.examples >= NUM_EPOCHS * len(rows):  # every row of these corpora gives one example
            break
    return {
        "wall_s": seconds[-1] * len(rows) / stats.examples,
        "first_batch_s": seconds[0],
        "mtok_per_s": stats.tokens / seconds[-1] / 1e6,
        "efficiency": stats.efficiency,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def run_once(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run a system of the package or a peer in a separate process."""
    if name in OURS:
        words = ("--corpus", options.corpus, "--tokenizer", options.tokenizer, "--length", options.length)
        return corpora.run_apart(["-m", "tests.benchmarks.side_by_side", "--run", name, *words])
    work = {"PEERS_CORPUS": options.corpus, "PEERS_TOKENIZER": options.tokenizer, "PEERS_LENGTH": str(options.length)}
    return corpora.run_apart([options.peers_python, options.peers, name], environment=work)


def table(runs: Runs) -> str:
    """Medians, one row per system, and the tokens per second of the package as a multiple of those of the system."""
    speed = {name: median(run["mtok_per_s"] for run in results) for name, results in runs.items()}
    shown, rows = [ours for ours in SHOWN_AS_RATIOS if ours in runs], []
    for name, results in runs.items():
        wall, first = (median(run[key] for run in results) for key in ("wall_s", "first_batch_s"))
        share, memory = results[0]["efficiency"], median(run["peak_rss_mb"] for run in results)
        is_limit = name.startswith("limit")
        numbers = (f"{wall:.2f}", "-" if is_limit else f"{first:.3f}", f"{speed[name]:.2f}")
        ratios = [f"{speed[ours] / speed[name]:.2f} x" for ours in shown]
        rows.append([f"`{name}`", *numbers, "-" if is_limit else f"{share:.2%}", memory, *ratios])
    header = ("", "an epoch, s", "first batch, s", "Mtok/s", "efficiency", "peak MB")
    return corpora.markdown([*header, *(f"`{ours}` is" for ours in shown)], rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[*OURS, *PEERS], help=f"systems: {', '.join([*OURS, *PEERS])}")
    parser.add_argument("--run", choices=OURS, help="run one system of the package once here, and print one JSON line")
    parser.add_argument("--corpus", choices=corpora.FILES, default="samsum")
    parser.add_argument("--tokenizer", default="gpt-neox-20b", help=f"a folder in {corpora.TOKENIZERS}")
    parser.add_argument("--length", type=int, default=2048, help="tokens in a row of a batch")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--peers", type=Path, default=corpora.SHARED / "peers" / "peers.py", help="the peers' script")
    parser.add_argument("--peers-python", default=sys.executable, help="the Python that has the peers installed")
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.run:
        work = {"corpus": options.corpus, "tokenizer": options.tokenizer, "length": options.length}
        print(json.dumps(run_ours(*OURS[options.run], **work)))
        return
    runs: Runs = {name: [] for name in options.names}
    for number in range(options.rounds):
        for name, results in runs.items():
            results.append(run_once(name, options))
            print(f"round {number}: {name} {results[-1]['mtok_per_s']:.2f} Mtok/s", file=sys.stderr, flush=True)
    num_rows = len(corpora.read_rows(options.corpus))
    summary = (
        f"{options.corpus}, {num_rows:,} rows, tokenizer {options.tokenizer}, batches of 8 x {options.length:,}, "
        f"{os.cpu_count()} cores; medians of {options.rounds} alternating runs in separate processes.\n\n"
        f"{table(runs)}\n"
    )
    print(summary)
    if options.output:
        options.output.write_text(summary, encoding="utf-8")


if __name__ == "__main__":
    main()
