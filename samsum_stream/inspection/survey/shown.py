"""A survey as tables for a terminal, and as plain values for JSON."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from samsum_stream.errors import SourceError
from samsum_stream.errors.wording import counted
from samsum_stream.inspection.lengths import Measurements, quantile
from samsum_stream.inspection.simulation import Epoch
from samsum_stream.inspection.survey.survey import TRIED_WINDOWS, Filling, SourceSurvey, Survey, histogram
from samsum_stream.showing.tables import headed_lines
from samsum_stream.values.counts import LEFT_OUT, by_reason, untrained_turns

NUM_BINS = 16
QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99, 1.0)


class HistogramBar:
    """The share of the largest bin, in eighths of a block. The bar is as wide as possible, up to `MAX` columns."""

    MIN, MAX = 8, 40
    EIGHTHS = " ▏▎▍▌▋▊▉"

    def __init__(self, share: float, style: str) -> None:
        self.share, self.style = share, style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        eighths = max(round(self.share * options.max_width * 8), 1 if self.share else 0)
        yield Text("█" * (eighths // 8) + self.EIGHTHS[eighths % 8].rstrip(), self.style, no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(self.MIN, self.MAX)


def shown_survey(survey: Survey) -> Group:
    """The rows, their lengths, and how they are packed."""
    parts: list[RenderableType] = [headed_lines(_totals(survey))]
    if len(survey.sources) > 1:
        parts += ["", _shown_sources(survey.sources)]
    parts += ["", _shown_lengths(survey), "", _shown_fillings(survey)]
    return Group(*parts)


def survey_for_machines(survey: Survey) -> dict[str, Any]:
    """The survey as plain values for JSON."""
    epoch = survey.epoch if isinstance(survey.epoch, Epoch) else None
    return {
        **_for_machines(survey.measured, share=1.0),
        "special_tokens_in_rows": survey.measured.counts["special_tokens_in_rows"],
        **{what: dict(by_reason(survey.measured.counts, what)) for what in (*LEFT_OUT, "splits")},
        "untrained_turns": dict(untrained_turns(survey.measured.counts)),
        "histogram": [{"from": start, f"{survey.measured.unit}s": number} for start, number in _histogram(survey)],
        "efficiency": survey.efficiency,
        "packs_in_epoch": None if epoch is None else epoch.num_packs,
        "batches_in_epoch": None if epoch is None else epoch.num_batches,
        "is_exact": None if epoch is None else epoch.is_exact,
        "problem": str(survey.epoch) if isinstance(survey.epoch, SourceError) else None,
        "fillings": {
            "method": survey.tried_method,
            "by_max_length": [filling._asdict() for filling in survey.fillings],
        },
        "sources": {source.name: _for_machines(source.measured, share=source.share) for source in survey.sources},
    }


def _totals(survey: Survey) -> Iterator[tuple[str, str]]:
    measured, packer = survey.measured, survey.pipeline.packer
    yield "rows", f"{measured.num_rows:,}, of which {become_examples(measured)}"
    for heading in LEFT_OUT:
        if reasons := by_reason(measured.counts, heading):
            yield heading, _reasons(reasons, measured.num_rows if heading == "skipped" else len(measured.lengths))
    if turns := untrained_turns(measured.counts):
        yield "untrained", ", ".join(f"{counted(number, 'turn')} {reason}" for reason, number in turns.items())
    if splits := by_reason(measured.counts, "splits"):
        examples = ", ".join(f"{number:,} {reason}" for reason, number in splits.items())
        yield "splits", f"{examples}: examples after the first one of a row"
    if number := measured.counts["special_tokens_in_rows"]:
        yield "special", f"{counted(number, 'row')} spell a special token in their own text"
    yield "tokens", f"{measured.num_tokens:,}, {measured.trained_share:.1%} of them trained"
    method, epoch = survey.stream.config.packing_config.method, survey.epoch
    about = "" if isinstance(epoch, Epoch) and epoch.is_exact else "about "
    of_them = f", {about}{epoch.num_packs:,} of them" if isinstance(epoch, Epoch) else ""
    yield "packs", f"{method} of {packer.max_length:,} tokens: {survey.efficiency:.1%} full{of_them}"
    yield "batches", _batches(survey)


def become_examples(measured: Measurements) -> str:
    """`331 become examples`; if rows become several examples, `331 become 912 examples`."""
    number = "" if measured.num_examples == measured.num_rows_kept else f"{measured.num_examples:,} "
    return f"{measured.num_rows_kept:,} become {number}examples"


def _batches(survey: Survey) -> str:
    epoch, size = survey.epoch, counted(survey.pipeline.batch_size, "pack")
    if isinstance(epoch, SourceError):
        return f"cannot be planned: {epoch}"
    if epoch is None:
        return f"of {size}; an endless mixture has no epochs"
    about = "" if epoch.is_exact else "about "
    return f"of {size}: {about}{epoch.num_batches:,} in an epoch, which are the steps of one rank"


def _shown_sources(sources: Sequence[SourceSurvey]) -> Table:
    """A table that fits 60 columns, because the names of sources are wrapped."""
    table = Table(title="sources", title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=0)
    table.add_column("source", overflow="fold")
    for name in ("rows", "tokens", "fed", "trained", "left out", "cut", "half", "99%"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, measured, fed in sources:
        shares = (f"{share:.0%}" for share in (fed, measured.trained_share))
        lengths = (quantile(measured.whole, share) for share in (0.5, 0.99))
        others = (measured.num_rows - measured.num_rows_kept, measured.num_cut, *lengths)
        table.add_row(name, *map(_short, (measured.num_rows, measured.num_tokens)), *shares, *map(_short, others))
    return table


def _shown_lengths(survey: Survey) -> Group:
    """A bar for each bin, with a note if all its examples are longer than a pack."""
    limit, bins = survey.pipeline.packer.max_length, _histogram(survey)
    most, total = max((number for _, number in bins), default=1), max(sum(number for _, number in bins), 1)
    table = Table.grid(padding=(0, 1))
    for justify in ("right", "left", "right", "right", "left"):
        table.add_column(justify=justify)
    for number, (start, count) in enumerate(bins):
        is_last, is_long = number == len(bins) - 1, start > limit
        end = "+" if is_last else f"-{bins[number + 1][0] - 1:,}"
        bar = HistogramBar(count / most, "yellow" if is_long else "green")
        table.add_row(f"{start:,}{end}", bar, f"{count:,}", f"{count / total:.1%}", "too long" if is_long else "")
    quantiles = ", ".join(f"{_quantile(share)} {length:,}" for share, length in _quantiles(survey.measured).items())
    return Group(Text(f"tokens of a whole {survey.measured.unit}", "bold"), table, Text(quantiles))


def _shown_fillings(survey: Survey) -> Table:
    section = survey.stream.config.packing_config
    title = f"how full {survey.tried_method} packs get, by max_length and buffer_size"
    table = Table(
        title=title, title_justify="left", title_style="bold", caption="* as configured", caption_justify="left"
    )
    table.add_column("max_length", justify="right")
    table.add_column(f"longer {survey.measured.unit}s", justify="right")
    for window in TRIED_WINDOWS:
        table.add_column(str(window), justify="right")
    for filling in survey.fillings:
        is_configured = filling.max_length == section.kwargs.max_length
        table.add_row(*_filling_cells(filling, is_configured=is_configured), style="bold" if is_configured else "")
    return table


def _filling_cells(filling: Filling, *, is_configured: bool) -> list[str]:
    mark = "* " if is_configured else ""
    return [
        f"{mark}{filling.max_length:,}",
        f"{filling.too_long:.1%}",
        *(f"{share:.1%}" for share in filling.efficiency.values()),
    ]


def _for_machines(measured: Measurements, *, share: float) -> dict[str, Any]:
    return {
        "rows": measured.num_rows,
        "examples": measured.num_examples,
        "tokens": measured.num_tokens,
        "share": share,
        "trained_share": measured.trained_share,
        "cut": measured.num_cut,
        "length_quantiles": {str(share): length for share, length in _quantiles(measured).items()},
    }


def _quantiles(measured: Measurements) -> dict[float, int]:
    whole = measured.whole
    return {share: quantile(whole, share) for share in QUANTILES}


def _histogram(survey: Survey) -> list[tuple[int, int]]:
    return histogram(survey.measured.whole, num_bins=NUM_BINS)


def _short(number: int) -> str:
    """At most eight characters, so that a table fits 60 columns: `99,999`, `2.6 M`."""
    return f"{number:,}" if number < 1_000_000 else f"{number / 1e6:,.1f} M"


def _quantile(share: float) -> str:
    return {0.5: "half up to", 1.0: "longest"}.get(share, f"{share:.0%} up to")


def _reasons(reasons: Mapping[str, int], total: int) -> str:
    return ", ".join(f"{number:,} {reason} ({number / total:.1%})" for reason, number in reasons.items())
