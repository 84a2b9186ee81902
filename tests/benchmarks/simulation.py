"""A job of a thousand ranks, simulated in one process: how often each row is read, and the cost of a state and a rank.

    python -m tests.benchmarks.simulation --ranks 1024 --workers 8 --lanes 8192

runs the real pipeline of every worker of every rank over one epoch of a synthetic source, and prints a table.
"""

import argparse
import json
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np

from samsum_stream import merge_states
from samsum_stream.lanes.order import Order
from samsum_stream.lanes.position import START
from samsum_stream.lanes.share import Share
from samsum_stream.loader.state.progress import Progress
from samsum_stream.loader.state.state import State, to_state
from samsum_stream.pipeline.pipeline import Pipeline
from samsum_stream.sources.faults import Window
from tests.benchmarks.depth import open_stream


def read_epoch(pipeline: Pipeline, share: Share, order: Order, progress: Progress) -> Iterator[np.ndarray[Any, Any]]:
    """The rows of epoch 0 in the batches of one worker; each batch is added to the progress."""
    lanes = share.lanes(order.num_lanes)
    unfinished = set(lanes)
    for produced in pipeline.batches(share, dict.fromkeys(lanes, START), order=order):
        lane = produced.number % order.num_lanes
        if lane in unfinished:
            records = produced.batch.records
            yield records["row"][records["epoch"] == 0]
            progress.advance(lane, produced.position, produced.counts, Window())
        if produced.position.start.epoch > 0:
            unfinished.discard(lane)
        if not unfinished:
            return


def run_rank(pipeline: Pipeline, order: Order, rank: int, *, ranks: int, workers: int, counts: Any) -> State:
    progress = Progress.at_start(range(rank, order.num_lanes, ranks), step=ranks)
    for worker in range(workers):
        for rows in read_epoch(pipeline, Share(0, rank, ranks, worker, workers), order, progress):
            np.add.at(counts, rows, 1)
    progress.batch = order.num_lanes  # ranks end their epoch at different batches; all states need the same batch
    return to_state(progress, {"lanes": order.num_lanes})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=1024)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--lanes", type=int, default=8192)
    parser.add_argument("--rows-per-lane", type=int, default=256)
    arguments = parser.parse_args()
    ranks, workers = arguments.ranks, arguments.workers
    num_rows = arguments.lanes * arguments.rows_per_lane + 1
    pipeline = open_stream(num_rows, batch_size=4).pipeline
    order, counts = pipeline.order(arguments.lanes), np.zeros(num_rows, np.int32)
    tracemalloc.start()
    states = [run_rank(pipeline, order, 0, ranks=ranks, workers=workers, counts=counts)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    start = time.perf_counter()
    states += [run_rank(pipeline, order, rank, ranks=ranks, workers=workers, counts=counts) for rank in range(1, ranks)]
    seconds = time.perf_counter() - start
    start_of_merge = time.perf_counter()
    state_of_job = merge_states(states)
    merge_seconds = time.perf_counter() - start_of_merge
    share = Share(0, ranks - 1, ranks, workers - 1, workers)
    start_of_worker = time.perf_counter()
    next(pipeline.batches(share, dict.fromkeys(share.lanes(order.num_lanes), START), order=order))
    first_batch_seconds = time.perf_counter() - start_of_worker
    print(f"| ranks x workers, lanes | {ranks:,} x {workers}, {arguments.lanes:,} |\n|---|---|")
    print(f"| rows | {num_rows:,}, each read {counts.min()} to {counts.max()} times |")
    print(f"| state of a rank | {len(json.dumps(states[0])):,} bytes |")
    print(f"| state of the job | {len(json.dumps(state_of_job)):,} bytes, merged in {merge_seconds:.2f} s |")
    print(f"| peak memory of the {workers} workers of a rank | {peak / 1e6:.1f} MB |")
    print(f"| first batch of the last worker | {first_batch_seconds * 1000:.0f} ms |")
    print(f"| all ranks, one after the other | {seconds:.0f} s |")


if __name__ == "__main__":
    main()
