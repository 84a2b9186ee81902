"""How unequal the work of the ranks of a step is: `python -m tests.benchmarks.imbalance`.

Attention costs the square of the length of each document, so ranks with the same number of tokens have different work.
The program packs real lengths as a stream does, one lane for each rank, and prints for each step the largest sum of
squares over the mean of all ranks, and what this means for the time of a step:

    work of a rank = tokens + sum of squares / (12 * hidden size)

This is the ratio of the multiplications in the attention of a causal decoder to those in its matrices, if a layer has
12 * hidden size ** 2 weights. The ranks of a step wait for the slowest one.

`window` is what a lane could do about it alone, without other ranks: it keeps some packs, and takes those whose sum of
squares is nearest to the mean of its earlier batches.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from samsum_stream import SFTStream
from samsum_stream.batching.packing import PACKERS
from tests.benchmarks.conversations import load_tokenizer, tau_bench, topical_chat
from tests.benchmarks.corpora import markdown
from tests.benchmarks.window_curve import Lengths, example_lengths, items

MAX_LENGTHS = (2048, 8192, 32768)
TOKENS_OF_RANK, NUM_RANKS, NUM_STEPS = 32_768, 8, 20
HIDDEN_SIZE = 2048
WINDOW = 16
"""Packs that a lane keeps."""

MIN_SHARE = 0.5
"""A length is left out if fewer rows fit into it. Longer rows are left out."""


def corpora() -> Iterator[tuple[str, Lengths]]:
    """The names and the lengths of the examples of real rows."""
    yield "SAMSum", example_lengths("samsum", tokenizer="gpt-neox-20b")
    yield "Dolly", example_lengths("dolly", tokenizer="gpt-neox-20b")
    yield "Topical-Chat", conversation_lengths(topical_chat())
    yield "tau-bench", conversation_lengths(tau_bench())


def conversation_lengths(rows: Sequence[dict[str, object]]) -> Lengths:
    """The tokens of the example of each conversation."""
    config = {"packing_config": {"kwargs": {"max_length": 1_000_000}}}
    pipeline = SFTStream.from_config(config, rows=rows, tokenizer=load_tokenizer("qwen2_5")).pipeline
    chunks = (pipeline.source.take(indices) for indices in np.array_split(np.arange(len(rows)), -(-len(rows) // 256)))
    return np.concatenate([pipeline.encoder.encode(chunk, epoch=0).chunk.records["length"] for chunk in chunks])


def packs_of_lane(lengths: Lengths, *, max_length: int, lane: int) -> Iterator[float]:
    """The sum of squares of each pack of an endless lane."""
    packer = PACKERS["best_fit"](max_length=max_length, buffer_size=64)
    fitting = lengths[lengths <= max_length]
    for pack in packer.pack(items(fitting, seed=lane)):
        yield float(sum(length**2 for (length,) in pack))


def batches(packs: Iterator[float], *, batch_size: int, window: int) -> Iterator[float]:
    """The sum of squares of each batch; with a window, each pack brings its batch as near to the mean as possible."""
    waiting, mean, number = list(islice(packs, window)), 0.0, 0
    while True:
        total = 0.0
        for left in range(batch_size, 0, -1):
            waiting.append(next(packs))
            wanted = (mean * batch_size - total) / left if number else waiting[0]
            total += waiting.pop(min(range(len(waiting)), key=lambda index: abs(waiting[index] - wanted)))
        number += 1
        mean += (total / batch_size - mean) / number
        yield total


def imbalance(packs: Sequence[Sequence[float]], *, batch_size: int, window: int) -> tuple[float, float]:
    """The largest over the mean of the ranks, averaged over steps: of the sums of squares, and of the work."""
    lanes = [batches(iter(lane), batch_size=batch_size, window=window) for lane in packs]
    squares = np.array([list(islice(lane, NUM_STEPS)) for lane in lanes])
    work = TOKENS_OF_RANK + squares / (12 * HIDDEN_SIZE)
    return tuple(float((of_ranks.max(0) / of_ranks.mean(0)).mean()) for of_ranks in (squares, work))  # type: ignore[return-value]


def main() -> None:
    """Print a Markdown table."""
    rows = []
    for name, lengths in corpora():
        for max_length in MAX_LENGTHS:
            if np.mean(lengths <= max_length) < MIN_SHARE:
                continue
            batch_size = TOKENS_OF_RANK // max_length
            num_packs = batch_size * NUM_STEPS + WINDOW
            lanes = [packs_of_lane(lengths, max_length=max_length, lane=lane) for lane in range(NUM_RANKS)]
            packs = [list(islice(lane, num_packs)) for lane in lanes]
            today, kept = (imbalance(packs, batch_size=batch_size, window=window) for window in (0, WINDOW))
            cells = [f"{value:.2f}" for value in (today[0], kept[0])] + [
                f"{value:.3f}" for value in (today[1], kept[1])
            ]
            rows.append([name, f"{max_length:,}", *cells])
    header = ["rows", "max_length", "squares", f"window {WINDOW}", "time of a step", f"window {WINDOW}"]
    print(markdown(header, rows))


if __name__ == "__main__":
    main()
