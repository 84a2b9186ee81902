"""Trains a tiny Llama in three layouts on the same number of labels: the effect of packing and of document isolation.

    padded                   one dialogue per row, padded to the longest dialogue
    packed                   full rows of several dialogues that do not see each other
    packed, full attention   the same rows, but each dialogue sees the dialogues before it

Run it from any folder: `python examples/why_it_matters.py`. It takes minutes on a CPU. It prints a table, and draws
the loss on held-out dialogues to `docs/why_it_matters.png`. Each held-out dialogue is read separately. The dialogues
are those of `meetings.py`, and no dialogue is read twice.
"""

import logging
import math
import time
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import common
import meetings
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table
from transformers import LlamaForCausalLM

from samsum_stream import IGNORE_INDEX, SFTStream

LAYOUTS: dict[str, dict[str, Any]] = {
    "padded": {"method": "padded"},
    "packed": {"method": "packed"},
    "packed, full attention": {"method": "packed", "kwargs": {"attention": "full"}},
}
COLOURS = {"padded": "#E69F00", "packed": "#0072B2", "packed, full attention": "#CC3311"}
LABEL_HEIGHTS = {"padded": -8, "packed": 0, "packed, full attention": 4}
"""Vertical offsets of the labels of the curves, in points, so that the labels do not overlap."""

UNPACKED = {"method": "none", "kwargs": {"max_length": 512}}
NUM_PACKS = 600
"""Number of packs for the mean number of dialogues per pack; the first packs hold more short dialogues."""
NUM_ROWS, NUM_HELD_OUT = 20_000, 96

Batches = Sequence[Mapping[str, Any]]


def main() -> None:
    """Run three trainings in turns, print a table and draw a picture."""
    parser = ArgumentParser(description="Train a tiny Llama padded, packed, and packed with full attention.")
    parser.add_argument(
        "--labels", type=int, default=60_000, help="trained tokens of each layout (default: %(default)s)"
    )
    parser.add_argument("--points", type=int, default=25, help="points of each curve (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=common.ROOT / "docs" / "why_it_matters.png")
    options = parser.parse_args()
    output = options.output.resolve()
    logging.getLogger("samsum_stream").setLevel(logging.ERROR)  # full attention is intended here, so its warning is not
    held_out = padded_batches(meetings.make_rows(NUM_HELD_OUT, seed=1))
    rows = meetings.make_rows(NUM_ROWS, seed=2)

    common.heading(f"Loss on held-out dialogues, while {options.labels:,} labels are trained in each layout")
    runs = [Run(name, make_stream(rows, name), budget=options.labels) for name in LAYOUTS]
    for point in range(1, options.points + 1):
        train_in_turns(runs, until=options.labels * point / options.points)
        for run in runs:
            run.measure(held_out)
        losses = "   ".join(f"{run.name} {run.curve[-1].loss:.3f}" for run in runs)
        common.console.print(f"{point / options.points:4.0%}   {losses}")
    show_table(runs)
    draw(runs, output)
    common.console.print(f"\n{output}")


class Point(NamedTuple):
    """A point of a curve: trained labels, seconds of training, loss on the held-out dialogues."""

    labels: int
    seconds: float
    loss: float


@dataclass
class Run:
    """One training."""

    name: str
    stream: SFTStream
    budget: int
    labels: int = 0
    slots: int = 0
    seconds: float = 0.0
    curve: list[Point] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model: LlamaForCausalLM = common.tiny_llama(self.stream)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=common.LEARNING_RATE)
        self.batches = iter(self.stream.loader(model=self.model))

    def step(self) -> None:
        """Train on one batch; the time includes reading the batch."""
        start = time.perf_counter()
        batch = next(self.batches)
        for group in self.optimizer.param_groups:
            group["lr"] = common.LEARNING_RATE * warmed_up_cosine(self.labels / self.budget)
        self.model.train()
        self.model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.seconds += time.perf_counter() - start
        self.labels += num_labels(batch)
        self.slots += batch["input_ids"].numel()

    def measure(self, batches: Batches) -> None:
        """Add a point to the curve."""
        self.curve.append(Point(self.labels, self.seconds, mean_loss(self.model, batches)))

    @property
    def padding(self) -> float:
        return 1 - self.stream.stats.tokens / self.slots

    @property
    def tokens_per_second(self) -> float:
        return self.stream.stats.tokens / self.seconds


def train_in_turns(runs: Sequence[Run], *, until: float) -> None:
    """One step of each run in turn, so that other load of the machine slows all runs equally."""
    while unfinished := [run for run in runs if run.labels < until]:
        for run in unfinished:
            run.step()


def make_stream(rows: Sequence[Mapping[str, Any]], name: str) -> SFTStream:
    """The stream of the quickstart in one layout; padded and packed batches have the same number of dialogues."""
    packed = common.open_stream(rows=rows)
    packs = list(islice(packed, NUM_PACKS))
    changes: dict[str, Any] = {"collator_config": LAYOUTS[name]}
    if name == "padded":
        dialogues = sum(len(pack.examples) for pack in packs) / len(packs)
        changes |= {"packing_config": UNPACKED, "batch_size": round(packed.config.batch_size * dialogues)}
    return common.open_stream(rows=rows, **changes)


def padded_batches(rows: Sequence[Mapping[str, Any]]) -> Batches:
    """All rows once, one dialogue per row of a batch."""
    stream = common.open_stream(
        rows=rows,
        collator_config={"method": "padded"},
        packing_config=UNPACKED,
        batch_size=16,
        epochs=1,
        shuffle=False,
    )
    return list(stream.loader())


@torch.no_grad()
def mean_loss(model: LlamaForCausalLM, batches: Batches) -> float:
    """The mean loss over all labels."""
    model.eval()
    total = sum(model(**batch).loss.item() * num_labels(batch) for batch in batches)
    return total / sum(map(num_labels, batches))


def num_labels(batch: Mapping[str, Any]) -> int:
    return int((batch["labels"] != IGNORE_INDEX).sum())


def warmed_up_cosine(share: float, *, warmup: float = 0.05) -> float:
    """The learning rate divided by its maximum; `share` is the finished part of the training, 0 to 1."""
    if share < warmup:
        return max(share / warmup, 0.02)
    return 0.5 * (1 + math.cos(math.pi * (share - warmup) / (1 - warmup)))


def show_table(runs: Sequence[Run]) -> None:
    """Print speed, padding, time and loss of each training."""
    table = Table("layout", *("tokens/s", "padding", "seconds", "held-out loss"), title=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for run in runs:
        table.add_row(
            run.name,
            f"{run.tokens_per_second:,.0f}",
            f"{run.padding:.1%}",
            f"{run.seconds:.0f}",
            f"{run.curve[-1].loss:.3f}",
        )
    common.console.print(table)


def draw(runs: Sequence[Run], output: Path) -> None:
    """Draw the curves against trained labels and against time."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    draw_curves(left, runs, "labels", label="trained tokens, thousands", scale=1000)
    draw_curves(right, runs, "seconds", label="seconds of training")
    left.set_ylabel("loss on held-out dialogues, one at a time")
    losses = [point.loss for run in runs for point in run.curve]
    early = max(run.curve[len(run.curve) // 4].loss for run in runs)
    left.set_ylim(min(losses) - 0.05, early)
    figure.suptitle("One model, one data set, the same number of trained tokens: three layouts", fontsize=12)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=130)


def draw_curves(
    axes: Axes, runs: Sequence[Run], key: Literal["labels", "seconds"], *, label: str, scale: float = 1
) -> None:
    for run in runs:
        x, y = [getattr(point, key) / scale for point in run.curve], [point.loss for point in run.curve]
        axes.plot(x, y, color=COLOURS[run.name], linewidth=2)
        offset = {"xytext": (4, LABEL_HEIGHTS[run.name]), "textcoords": "offset points"}
        axes.annotate(run.name, (x[-1], y[-1]), color=COLOURS[run.name], **offset)
    axes.set_xlabel(label)
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
