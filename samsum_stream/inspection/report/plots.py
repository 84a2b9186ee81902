"""The figures of the page. Each has the width of a phone, so that its text is readable on one.

Their colours are placeholders for the colours of the page (`page.css`), which differ in light and dark.
"""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator, PercentFormatter

from samsum_stream.inspection.report.svg import inline_svg
from samsum_stream.inspection.survey.survey import Filling, histogram
from samsum_stream.values.arrays import Int32Array

WIDTH = 340
"""In pixels; a figure is never shown much wider."""

NUM_BINS = 40
NUM_SERIES = 8
"""Colours of the page for lines and areas; more series start again with the first colour."""

INK, PAPER, GRID = "#000001", "#000002", "#000003"
WHOLE, PROMPT, RESPONSE = "#000004", "#000005", "#000006"
SERIES = tuple(f"#0000{number:02x}" for number in range(0x10, 0x10 + NUM_SERIES))
COLOURS = {
    INK: "var(--ink)",
    PAPER: "var(--page)",
    GRID: "var(--line)",
    WHOLE: "var(--muted)",
    PROMPT: "var(--prompt)",
    RESPONSE: "var(--trained)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES)},
}

_THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}")


def lengths_plot(lengths: Int32Array, *, name: str, colour: str, limit: int | None = None) -> Markup:
    """A histogram of lengths in tokens. The last bar includes all greater lengths; `limit` is a dashed line."""
    figure, axes = _figure(height=170)
    bins = histogram(lengths, num_bins=NUM_BINS)
    if bins:
        starts, numbers = np.array(bins).T
        width = int(starts[1] - starts[0])
        axes.bar(starts, numbers, width=0.86 * width, align="edge", color=colour)
        axes.set_xlim(0, starts[-1] + width)
        if limit is not None and limit <= starts[-1] + width:
            axes.axvline(limit, color=INK, linewidth=1, linestyle=(0, (3, 2)))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.set_xlabel("tokens")
    axes.set_ylabel("rows")
    return _drawn(figure, name=f"lengths-{name}", label=f"Histogram of the tokens of each {name}")


def fillings_plot(fillings: Sequence[Filling], *, configured: tuple[int, float]) -> Markup:
    """How full packs of each length are, one line for each window.

    `configured` is a ring at the length and the efficiency of the config.
    """
    figure, axes = _figure(height=210)
    sizes = [filling.max_length for filling in fillings]
    for number, window in enumerate(fillings[0].efficiency):
        shares = [filling.efficiency[window] for filling in fillings]
        axes.plot(sizes, shares, color=SERIES[number % NUM_SERIES], linewidth=2, marker="o", markersize=4)
    axes.plot(*configured, color=INK, marker="o", markersize=11, markerfacecolor="none", clip_on=False)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(_THOUSANDS)
    length = configured[0]
    labelled = [size for size in sizes if size == length or not 0.7 < size / length < 1.4]  # labels must not overlap
    axes.xaxis.set_major_locator(FixedLocator(labelled))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.set_xlabel("max_length")
    return _drawn(figure, name="fillings", label="How full packs get, by max_length and buffer_size")


def shares_plot(shares: np.ndarray, *, expected: Sequence[float]) -> Markup:
    """The share of each source in the tokens of each batch, `[num_batches, num_sources]`; `expected` is dashed."""
    figure, axes = _figure(height=210)
    colours = [SERIES[number % NUM_SERIES] for number in range(len(expected))]
    batches = np.arange(len(shares) + 1)
    axes.stackplot(batches, np.vstack([shares, shares[-1:]]).T, colors=colours, step="post", linewidth=0)
    for border in np.cumsum(expected)[:-1]:
        axes.axhline(border, color=PAPER, linewidth=1.5, linestyle=(0, (3, 2)))
    axes.set_xlim(0, len(shares))
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(False)
    axes.set_xlabel("batch")
    return _drawn(figure, name="shares", label="Share of each source in the tokens of each batch")


def _figure(*, height: int) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
    axes = figure.subplots()
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=GRID, linewidth=1)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.xaxis.set_major_formatter(_THOUSANDS)
    axes.yaxis.set_major_formatter(_THOUSANDS)
    return figure, axes


def _drawn(figure: Figure, *, name: str, label: str) -> Markup:
    return inline_svg(figure, name=name, label=label, colours=COLOURS)
