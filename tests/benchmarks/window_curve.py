"""How full packs are, by the number of examples that may wait for a pack: real lengths, and the packers of the stream.

    python -m tests.benchmarks.window_curve

tokenizes SAMSum and Dolly, packs them repeatedly in new orders, writes the curves of `best_fit` to
`docs/window_curve.png`, and prints a Markdown table, also with `greedy`, and with `first_fit` at its largest window.
The rows are endless, so that no end of an epoch leaves a pack half empty. Rows longer than a pack are left out.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from samsum_stream.batching.packing import PACKERS
from samsum_stream.values.counts import efficiency
from tests.benchmarks.corpora import ROOT, markdown, open_stream, read_rows

NAMES = {"samsum": "SAMSum", "dolly": "Dolly"}
LENGTHS = (512, 1024, 2048, 4096, 8192)
WINDOWS = tuple(2**power for power in range(11))
DEFAULT_WINDOW = 64
NUM_TOKENS = 5_000_000
LABELS = {0.2: "80%", 0.1: "90%", 0.01: "99%", 0.001: "99.9%", 1e-4: "99.99%", 1e-5: "99.999%\nand more"}
"""The names of efficiencies, by the padding that is left."""
FLOOR = min(LABELS)
COLOURS = ("#CC79A7", "#E69F00", "#0072B2", "#009E73", "#CC3311")

Lengths = NDArray[np.int64]


def example_lengths(corpus: str, *, tokenizer: str) -> Lengths:
    """The tokens of every example, with its prompt and its eos."""
    rows = read_rows(corpus)
    pipeline = open_stream(rows, tokenizer=tokenizer, length=1_000_000).pipeline
    chunks = (pipeline.source.take(indices) for indices in np.array_split(np.arange(len(rows)), len(rows) // 512))
    return np.concatenate([pipeline.encoder.encode(chunk, epoch=0).chunk.records["length"] for chunk in chunks])


def items(lengths: Lengths, *, seed: int) -> Iterator[tuple[int]]:
    """The lengths in random order, endlessly, each time in a new order."""
    generator = np.random.default_rng(seed)
    while True:
        yield from ((length,) for length in generator.permutation(lengths).tolist())


def efficiency_of(lengths: Lengths, *, method: str, max_length: int, window: int, num_tokens: int) -> float:
    """Tokens / capacity of consecutive packs, 0 to 1."""
    packer = PACKERS[method](max_length=max_length, buffer_size=window)
    packs = packer.pack(items(lengths[lengths <= max_length], seed=0))
    num_packs = -(-num_tokens // max_length)
    packed_tokens = sum(length for pack in islice(packs, num_packs) for (length,) in pack)
    return efficiency(packed_tokens, num_packs * max_length)


def measure(lengths: Lengths, *, num_tokens: int) -> tuple[dict[int, list[float]], str]:
    """The curve of each length, and a table of the curves."""
    curves, rows = {}, []
    for max_length in LENGTHS:
        share = partial(efficiency_of, lengths, max_length=max_length, num_tokens=num_tokens)
        curves[max_length] = [share(method="best_fit", window=window) for window in WINDOWS]
        others = [share(method=method, window=WINDOWS[-1]) for method in ("greedy", "first_fit")]
        rows.append([f"{max_length:,}", *(f"{value:.2%}" for value in (*curves[max_length], *others))])
    windows = [f"{window:,}" for window in WINDOWS]
    return curves, markdown(["max_length", *windows, "`greedy`", f"`first_fit`, {windows[-1]}"], rows)


def draw(curves: dict[str, dict[int, list[float]]], output: Path) -> None:
    """The axis is the padding, logarithmic and upside down, with efficiencies as labels."""
    figure = Figure(figsize=(10, 4.4), layout="constrained", facecolor="white")
    for axes, (corpus, of_length) in zip(figure.subplots(1, 2, sharey=True), curves.items(), strict=True):
        draw_corpus(axes, of_length)
        axes.set_title(NAMES[corpus], fontsize=11)
    left = figure.axes[0]
    left.set_yscale("log")
    left.set_ylim(0.4, FLOOR * 0.8)
    left.set_yticks(list(LABELS), list(LABELS.values()))
    left.yaxis.set_minor_locator(NullLocator())
    left.set_ylabel("efficiency: real tokens / room")
    figure.suptitle("Efficiency of best_fit, by the length of packs and the window", fontsize=12)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=130)


def draw_corpus(axes: Axes, of_length: dict[int, list[float]]) -> None:
    for colour, (max_length, shares) in zip(COLOURS, of_length.items(), strict=True):
        padding = [max(1 - share, FLOOR) for share in shares]
        axes.plot(WINDOWS, padding, color=colour, linewidth=2, label=f"{max_length:,}")
    axes.axvline(DEFAULT_WINDOW, color="#888888", linewidth=1, linestyle=":")
    axes.annotate("default", (DEFAULT_WINDOW, 0.3), (-42, 0), textcoords="offset points", color="#666666", fontsize=9)
    axes.set_xscale("log", base=2)
    axes.set_xticks(WINDOWS[::2], [f"{window:,}" for window in WINDOWS[::2]])
    axes.set_xlabel("buffer_size: examples that may wait")
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(title="max_length", frameon=False, fontsize=9, loc="lower right")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", default="gpt-neox-20b")
    parser.add_argument("--tokens", type=int, default=NUM_TOKENS, help="for each point (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "window_curve.png")
    options = parser.parse_args()
    curves = {}
    for corpus, name in NAMES.items():
        lengths = example_lengths(corpus, tokenizer=options.tokenizer)
        mean, p95, longest = lengths.mean(), np.percentile(lengths, 95), lengths.max()
        print(f"{name}: {len(lengths):,} rows of {mean:.0f} tokens, p95 {p95:.0f}, longest {longest:,}\n")
        curves[corpus], table = measure(lengths, num_tokens=options.tokens)
        print(f"{table}\n", flush=True)
    draw(curves, options.output)


if __name__ == "__main__":
    main()
