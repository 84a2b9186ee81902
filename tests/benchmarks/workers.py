"""Measures the speed of one worker and of two, and the transfer of batches from a worker to the training process.

    python -m tests.benchmarks.workers

runs an endless stream over SAMSum with one and with two workers of one thread each. The runs alternate, each in a
separate process. The output is tokens per second and their ratio. Then a worker repeatedly sends one batch of
8 x 8,192, as it sends every batch. The output is nanoseconds per token until the training process has the views that it
collates.
"""

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator
from itertools import islice
from statistics import median

from torch.utils.data import DataLoader, IterableDataset

from samsum_stream.lanes.position import START
from samsum_stream.lanes.share import Share
from samsum_stream.loader.processes.supervision import identity
from samsum_stream.loader.worker import Work, WorkerBatches
from samsum_stream.pipeline.pipeline import ProducedBatch
from tests.benchmarks.corpora import open_stream, read_rows, run_apart

ONE_THREAD = {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
WARM_UP = 24
"""The number of batches before the clock starts: one of each lane."""
NUM_SENT = 2000


def tokens_per_second(num_workers: int, *, backend: str, num_epochs: int) -> float:
    """The speed after the first batches, if the training process only receives batches."""
    rows = read_rows("samsum")
    stream = open_stream(rows, backend=backend)
    batches = iter(stream.loader(num_workers=num_workers))
    list(islice(batches, WARM_UP))
    tokens, start = stream.stats.tokens, time.perf_counter()
    for _ in batches:
        if stream.stats.rows >= num_epochs * len(rows):
            break
    return (stream.stats.tokens - tokens) / (time.perf_counter() - start)


class RepeatedBatch(IterableDataset[ProducedBatch]):
    """Yields one batch many times."""

    def __init__(self, produced: ProducedBatch) -> None:
        self.produced = produced

    def __iter__(self) -> Iterator[ProducedBatch]:
        return iter([self.produced] * NUM_SENT)


def transfer_nanoseconds() -> float:
    """The time per token to send a batch from a worker to this process."""
    pipeline = open_stream(read_rows("samsum"), length=8192).pipeline
    batches = WorkerBatches(pipeline)
    order = pipeline.order(24)
    batches.work = Work(Share(0), order, dict.fromkeys(range(24), START), ())
    [produced] = next(batches.of_worker(0, 1))
    loader = DataLoader(RepeatedBatch(produced), batch_size=None, collate_fn=identity, num_workers=1)
    start, num_tokens = 0.0, 0
    for produced in loader:
        tokens = len(produced.batch.tokens.ids)
        if start:
            num_tokens += tokens
        else:
            start = time.perf_counter()
    return (time.perf_counter() - start) / num_tokens * 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="hf")
    parser.add_argument("--passes", type=int, default=3, help="epochs of each run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--run", help="a number of workers, or `border`: run once here, and print one JSON line")
    options = parser.parse_args()
    if options.run == "border":
        print(json.dumps({"rate": transfer_nanoseconds()}))
        return
    if options.run:
        rate = tokens_per_second(int(options.run), backend=options.backend, num_epochs=options.passes)
        print(json.dumps({"rate": rate}))
        return
    rates: dict[str, list[float]] = {"1": [], "2": [], "border": []}
    for number in range(options.rounds):
        for run, results in rates.items():
            words = ("--backend", options.backend, "--passes", options.passes, "--run", run)
            results.append(run_apart(["-m", "tests.benchmarks.workers", *words], environment=ONE_THREAD)["rate"])
            print(f"round {number}: {run} {results[-1]:,.1f}", file=sys.stderr, flush=True)
    one, two, border = map(median, rates.values())
    print(f"medians of {options.rounds} rounds, {multiprocessing.cpu_count()} cores, `{options.backend}`\n")
    print(f"one worker, one thread: {one / 1e6:.2f} Mtok/s\ntwo workers: {two / 1e6:.2f} Mtok/s, {two / one:.2f} x")
    print(f"8 x 8,192 from a worker: {border:.1f} ns per token")


if __name__ == "__main__":
    main()
