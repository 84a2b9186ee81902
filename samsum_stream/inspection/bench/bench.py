"""How fast a stream is: the whole flow as training gets it, and then each of its stages.

whole    loader, with its workers ──▶ batches
stages   read ──▶ render ──▶ tokenize ──▶ mask ──▶ pack ──▶ collate      in this process, a clock for each
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Any

import psutil

from samsum_stream.inspection.bench.stopwatch import Stopwatch, replaced
from samsum_stream.loader.loader import StreamLoader
from samsum_stream.pipeline.pipeline import Made
from samsum_stream.stream.stream import SFTStream
from samsum_stream.values.examples import Chunk, Item
from samsum_stream.values.rows import Rows

OF_CHUNKS = {
    "read": "rows from the source, by lanes",
    "render": "rows to texts",
    "tokenize": "texts to ids, verified",
    "mask": "border, eos, what is too long",
}
"""Stages that work on chunks of rows, most of which wait for a later batch: their tokens are those of the chunks."""
OF_WORKERS = {**OF_CHUNKS, "pack": "examples to packs", "place": "where a lane stands"}
STAGES = {**OF_WORKERS, "collate": "packs to tensors", "rest": "buffer, counts, state"}
"""What each stage does, in the order of the flow. Workers share those of `OF_WORKERS`."""


@dataclass(frozen=True)
class StageSpeed:
    """A stage: the tokens that it makes in a second of its own, and its share of a token's time in all stages."""

    tokens_per_second: float
    share: float


@dataclass(frozen=True)
class Whole:
    """What the whole flow gives.

    Attributes:
        num_workers: Worker processes of the loader.
        tokens_per_second: Real tokens of the batches behind the first one, over the seconds that they took.
        rows_per_second: Rows of theirs, likewise.
        seconds_to_first_batch: From the stream, which is built, to its first batch: workers start, and rows of a
            stream with an end are counted.
        efficiency: Real tokens / room in the batches, 0 to 1.
        worker_memory_mb: What the workers hold and share with nobody, taken together.
    """

    num_workers: int
    tokens_per_second: float
    rows_per_second: float
    seconds_to_first_batch: float
    efficiency: float
    worker_memory_mb: float


@dataclass(frozen=True)
class Benchmark:
    """How fast a stream is.

    Attributes:
        backend: What encodes.
        seconds_to_build: From the config to the stream: opening the source, loading the tokenizer and proving it.
        memory_mb: Resident memory of this process at the end, above that before the stream was built.
        whole: The whole flow.
        stages: The stages by name, of `STAGES`.
        limit: The stage that takes longest where workers share those that are theirs.
    """

    backend: str
    seconds_to_build: float
    memory_mb: float
    whole: Whole
    stages: dict[str, StageSpeed]
    limit: str


def measure(open_stream: Callable[[], SFTStream], *, num_workers: int | None, seconds: float) -> Benchmark:
    """Build a stream, and let its loader run for some seconds, and for as many again with a clock for each stage.

    A batch that was begun is waited for, so that it may take longer.

    Args:
        open_stream: Builds the stream, which is used up.
        num_workers: As in `SFTStream.loader`.
        seconds: For the whole, from its first batch on, and for the stages.

    Raises:
        SamsumStreamError: the stream cannot be built, or its rows break a rule.
    """
    memory, start = _resident_mb(), time.perf_counter()
    stream = open_stream()
    built = time.perf_counter() - start
    whole = _measure_whole(stream, num_workers=num_workers, seconds=seconds)
    costs = _measure_stages(stream, seconds=seconds)
    return Benchmark(
        backend=stream.pipeline.tokenizer.sides.backend.name,
        seconds_to_build=built,
        memory_mb=_resident_mb() - memory,
        whole=whole,
        stages={name: StageSpeed(1 / cost, cost / sum(costs.values())) for name, cost in costs.items()},
        limit=max(costs, key=lambda name: costs[name] / (max(whole.num_workers, 1) if name in OF_WORKERS else 1)),
    )


def _measure_whole(stream: SFTStream, *, num_workers: int | None, seconds: float) -> Whole:
    start = time.perf_counter()
    loader, stats = _loader(stream, num_workers=num_workers), stream.stats
    batches = chain.from_iterable(repeat(loader))  # epochs without an end
    next(batches)
    first, tokens, rows = time.perf_counter(), stats.tokens, stats.rows
    for _ in batches:
        passed = time.perf_counter() - first
        if passed >= seconds:
            break
    workers = [psutil.Process(process.pid) for process in multiprocessing.active_children()]
    return Whole(
        num_workers=loader.num_workers,
        tokens_per_second=(stats.tokens - tokens) / passed,
        rows_per_second=(stats.rows - rows) / passed,
        seconds_to_first_batch=first - start,
        efficiency=stats.efficiency,
        worker_memory_mb=sum(process.memory_full_info().uss for process in workers) / 1e6,
    )


def _measure_stages(stream: SFTStream, *, seconds: float) -> dict[str, float]:
    """The seconds that a token takes in each stage: those of packing and collating are of batches that were made."""
    stream.pipeline = replace(stream.pipeline, epochs=None)  # with an end, all rows would be encoded to count them
    batches = iter(_loader(stream, num_workers=0))
    watch, tokens = Stopwatch("rest"), stream.stats.tokens
    start = time.perf_counter()
    with _stages_on(watch, stream) as num_encoded:
        for _ in batches:
            if time.perf_counter() - start >= seconds:
                break
    watch.switch("rest")
    num_handed = stream.stats.tokens - tokens
    return {name: watch.seconds[name] / (num_encoded() if name in OF_CHUNKS else num_handed) for name in STAGES}


@contextmanager
def _stages_on(watch: Stopwatch, stream: SFTStream) -> Iterator[Callable[[], int]]:
    """Let the clock run for each stage of a stream; gives what tells how many tokens were encoded since."""
    pipeline, collator = stream.pipeline, stream.collator
    batches, tokenizer, packer, sides = pipeline.batches, pipeline.tokenizer, pipeline.packer, pipeline.tokenizer.sides
    encode, pack, num_encoded = watch.timed("mask", tokenizer.encode), packer.pack, 0

    def encode_and_count(rows: Rows, *, epoch: int) -> Chunk:
        nonlocal num_encoded
        chunk = encode(rows, epoch=epoch)
        num_encoded += int(chunk.records["length"].sum())
        return chunk

    def pack_what_is_read(items: Iterator[Item]) -> Iterator[list[Item]]:
        return watch.each("pack", pack(watch.each("read", items)))

    def make_batches(*args: Any, **kwargs: Any) -> Iterator[Made]:
        return watch.each("place", batches(*args, **kwargs))

    with ExitStack() as stack:
        for part, method, other in (
            (sides.renderer, "texts", watch.timed("render", sides.renderer.texts)),
            (sides.backend, "encode", watch.timed("tokenize", sides.backend.encode)),
            (tokenizer, "encode", encode_and_count),
            (packer, "pack", pack_what_is_read),
            (pipeline, "batches", make_batches),
            (collator, "collate", watch.timed("collate", collator.collate)),
        ):
            stack.enter_context(replaced(part, method, other))
        yield lambda: num_encoded


def _loader(stream: SFTStream, *, num_workers: int | None) -> StreamLoader:
    loader = stream.loader(num_workers=num_workers)
    loader.quarantine = None  # the file belongs to a run that trains
    return loader


def _resident_mb() -> float:
    return float(psutil.Process().memory_info().rss) / 1e6
