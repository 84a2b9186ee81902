"""What a second worker brings, and what it takes to bring batches from a worker to the training process.

    python -m tests.benchmarks.workers

runs a stream without an end over SAMSum with one and with two workers of one thread each, alternately, each run in its
own process, and prints tokens a second and their ratio. Then a worker sends one batch of 8 x 8,192 over and over, as it
sends all: nanoseconds a token until the training process has it as the views that are collated.
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
from samsum_stream.loader.wire import from_buffer
from samsum_stream.loader.worker import Message, Messages, Work
from tests.benchmarks.corpora import open_stream, read_rows, run_apart

ONE_THREAD = {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
WARM_UP = 24
"""Batches before the clock starts: one of each lane."""
NUM_SENT = 2000


def tokens_per_second(num_workers: int, *, backend: str, passes: int) -> float:
    """Of batches behind the first ones, while the training process does nothing but take them."""
    rows = read_rows("samsum")
    stream = open_stream(rows, backend=backend)
    batches = iter(stream.loader(num_workers=num_workers))
    list(islice(batches, WARM_UP))
    tokens, start = stream.stats.tokens, time.perf_counter()
    for _ in batches:
        if stream.stats.rows >= passes * len(rows):
            break
    return (stream.stats.tokens - tokens) / (time.perf_counter() - start)


class OverAndOver(IterableDataset[Message]):
    """One message many times."""

    def __init__(self, message: Message) -> None:
        self.message = message

    def __iter__(self) -> Iterator[Message]:
        return iter([self.message] * NUM_SENT)


def nanoseconds_a_token() -> float:
    """Between processes: from a message in a worker to a `Batch` here."""
    pipeline = open_stream(read_rows("samsum"), length=8192).pipeline
    messages = Messages(pipeline, num_packs=pipeline.batch_size)
    order = pipeline.order(24)
    messages.work = Work(Share(0), order, dict.fromkeys(range(24), START), ())
    [message] = next(messages.of_worker(0, 1))
    loader = DataLoader(OverAndOver(message), batch_size=None, collate_fn=identity, num_workers=1)
    start, num_tokens = 0.0, 0
    for message in loader:
        tokens = len(from_buffer(message.buffer).tokens.ids)
        if start:
            num_tokens += tokens
        else:
            start = time.perf_counter()
    return (time.perf_counter() - start) / num_tokens * 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="hf")
    parser.add_argument("--passes", type=int, default=3, help="over the rows in each run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--run", help="a number of workers, or `border`: run once, here, and print one JSON line")
    options = parser.parse_args()
    if options.run == "border":
        print(json.dumps({"rate": nanoseconds_a_token()}))
        return
    if options.run:
        rate = tokens_per_second(int(options.run), backend=options.backend, passes=options.passes)
        print(json.dumps({"rate": rate}))
        return
    rates: dict[str, list[float]] = {"1": [], "2": [], "border": []}
    for number in range(options.rounds):
        for what, found in rates.items():
            words = ("--backend", options.backend, "--passes", options.passes, "--run", what)
            found.append(run_apart(["-m", "tests.benchmarks.workers", *words], environment=ONE_THREAD)["rate"])
            print(f"round {number}: {what} {found[-1]:,.1f}", file=sys.stderr, flush=True)
    one, two, border = map(median, rates.values())
    print(f"medians of {options.rounds} rounds, {multiprocessing.cpu_count()} cores, `{options.backend}`\n")
    print(f"one worker, one thread: {one / 1e6:.2f} Mtok/s\ntwo workers: {two / 1e6:.2f} Mtok/s, {two / one:.2f} x")
    print(f"8 x 8,192 from a worker: {border:.1f} ns a token")


if __name__ == "__main__":
    main()
