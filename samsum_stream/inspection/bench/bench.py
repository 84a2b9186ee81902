"""Measures the throughput of a stream: first the whole flow as in training, then each stage.

whole    loader, with its workers ──▶ batches
stages   read ──▶ render ──▶ tokenize ──▶ mask ──▶ pack ──▶ collate      in this process, each stage timed
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import psutil

from samsum_stream.inspection.bench.stopwatch import Stopwatch, replaced
from samsum_stream.pipeline.encoder import EncodedRows
from samsum_stream.pipeline.pipeline import ProducedBatch
from samsum_stream.stream.stream import SFTStream
from samsum_stream.values.examples import Item
from samsum_stream.values.rows import Rows

OF_CHUNKS = {
    "read": "rows from the source, by lanes",
    "render": "rows to texts",
    "tokenize": "texts to ids, verified",
    "mask": "trained spans, eos, truncation",
}
"""Stages that process chunks of rows. Their tokens are the tokens of the chunks: most rows wait for a later batch."""
OF_WORKERS = {**OF_CHUNKS, "pack": "examples to packs", "position": "positions of lanes"}
STAGES = {**OF_WORKERS, "collate": "packs to tensors", "rest": "buffer, counts, state"}
"""What each stage does, in the order of the flow. Workers share the stages of `OF_WORKERS`."""


@dataclass(frozen=True)
class StageSpeed:
    """Tokens per second of a stage while it runs, and its share of the time per token of all stages, 0 to 1."""

    tokens_per_second: float
    share: float


@dataclass(frozen=True)
class Whole:
    """The throughput of the whole flow.

    Attributes:
        num_workers: Worker processes of the loader.
        tokens_per_second: Real tokens per second, without the first batch.
        rows_per_second: Rows per second, without the first batch.
        seconds_to_first_batch: Seconds from the built stream to its first batch. Workers start, and a finite stream
            counts its rows.
        efficiency: Real tokens / capacity of the batches, 0 to 1.
        worker_memory_mb: Memory of all workers that is not shared with other processes, in MB.
    """

    num_workers: int
    tokens_per_second: float
    rows_per_second: float
    seconds_to_first_batch: float
    efficiency: float
    worker_memory_mb: float


@dataclass(frozen=True)
class Benchmark:
    """The throughput of a stream.

    Attributes:
        backend: The tokenization backend.
        seconds_to_build: Seconds to open the source, and to load and prove the tokenizer.
        memory_mb: Growth of the resident memory of this process since before the stream was built, in MB.
        whole: The whole flow.
        stages: The stages by their names in `STAGES`.
        limit: The stage that takes the most time, if workers share their stages.
    """

    backend: str
    seconds_to_build: float
    memory_mb: float
    whole: Whole
    stages: dict[str, StageSpeed]
    limit: str


def measure(open_stream: Callable[[], SFTStream], *, num_workers: int | None, seconds: float) -> Benchmark:
    """Build a stream, measure its loader for some seconds, and then its stages for the same time.

    The measurement ends with a whole batch, so it may take longer.

    Args:
        open_stream: Builds the stream.
        num_workers: As in `SFTStream.loader`.
        seconds: Seconds for the whole flow, after its first batch, and again for the stages.

    Raises:
        SamsumStreamError: the stream cannot be built, or its rows break a rule.
    """
    memory, start = _resident_mb(), time.perf_counter()
    stream = open_stream().with_run(quarantine=False)  # the quarantine file belongs to a run that trains
    built = time.perf_counter() - start
    whole = _measure_whole(stream, num_workers=num_workers, seconds=seconds)
    costs = _measure_stages(stream, seconds=seconds)
    return Benchmark(
        backend=stream.pipeline.backend,
        seconds_to_build=built,
        memory_mb=_resident_mb() - memory,
        whole=whole,
        stages={name: StageSpeed(1 / cost, cost / sum(costs.values())) for name, cost in costs.items()},
        limit=max(costs, key=lambda name: costs[name] / (max(whole.num_workers, 1) if name in OF_WORKERS else 1)),
    )


def _measure_whole(stream: SFTStream, *, num_workers: int | None, seconds: float) -> Whole:
    start = time.perf_counter()
    loader, stats = stream.loader(num_workers=num_workers), stream.stats
    batches = chain.from_iterable(repeat(loader))  # a finite stream starts again after its end
    next(batches)
    first, tokens, rows = time.perf_counter(), stats.tokens, stats.rows
    for _ in batches:
        elapsed = time.perf_counter() - first
        if elapsed >= seconds:
            break
    workers = [psutil.Process(process.pid) for process in multiprocessing.active_children()]
    return Whole(
        num_workers=loader.num_workers,
        tokens_per_second=(stats.tokens - tokens) / elapsed,
        rows_per_second=(stats.rows - rows) / elapsed,
        seconds_to_first_batch=first - start,
        efficiency=stats.efficiency,
        worker_memory_mb=sum(process.memory_full_info().uss for process in workers) / 1e6,
    )


def _measure_stages(stream: SFTStream, *, seconds: float) -> dict[str, float]:
    """Seconds per token in each stage: per encoded token in `OF_CHUNKS`, per delivered token in the other stages."""
    stream = stream.with_run(epochs=None)  # a finite stream would encode all rows first to count them
    batches = iter(stream.loader(num_workers=0))
    watch, tokens = Stopwatch("rest"), stream.stats.tokens
    start = time.perf_counter()
    with _stages_on(watch, stream) as num_encoded:
        for _ in batches:
            if time.perf_counter() - start >= seconds:
                break
    watch.switch("rest")
    num_delivered = stream.stats.tokens - tokens
    return {name: watch.seconds[name] / (num_encoded() if name in OF_CHUNKS else num_delivered) for name in STAGES}


@contextmanager
def _stages_on(watch: Stopwatch, stream: SFTStream) -> Iterator[Callable[[], int]]:
    """Within this context, each stage is timed; yields a function that returns the number of encoded tokens so far."""
    pipeline, collator = stream.pipeline, stream.collator
    batches, encoder, packer = pipeline.batches, pipeline.encoder, pipeline.packer
    encode, pack, num_encoded = watch.timed("mask", encoder.encode), packer.pack, 0
    renderers = [each.renderer for each in encoder.each]
    backends = {id(each.tokenizer.runs.backend): each.tokenizer.runs.backend for each in encoder.each}.values()

    def encode_and_count(rows: Rows, *, epoch: int) -> EncodedRows:
        nonlocal num_encoded
        encoded = encode(rows, epoch=epoch)
        num_encoded += int(encoded.chunk.records["length"].sum())
        return encoded

    def read_and_pack(items: Iterator[Item]) -> Iterator[list[Item]]:
        return watch.timed_items("pack", pack(watch.timed_items("read", items)))

    def produce_batches(*args: Any, **kwargs: Any) -> Iterator[ProducedBatch]:
        return watch.timed_items("position", batches(*args, **kwargs))

    timed: tuple[tuple[object, str, Callable[..., Any]], ...] = (
        *((renderer, "render", watch.timed("render", renderer.render)) for renderer in renderers),
        *((backend, "encode", watch.timed("tokenize", backend.encode)) for backend in backends),
        (encoder, "encode", encode_and_count),
        (packer, "pack", read_and_pack),
        (pipeline, "batches", produce_batches),
        (collator, "collate", watch.timed("collate", collator.collate)),
    )
    with ExitStack() as stack:
        for part, method, other in timed:
            stack.enter_context(replaced(part, method, other))
        yield lambda: num_encoded


def _resident_mb() -> float:
    return float(psutil.Process().memory_info().rss) / 1e6
