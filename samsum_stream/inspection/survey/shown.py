"""What one pass over the rows found, as a person reads it in a terminal, and for machines."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from samsum_stream.errors import SourceError
from samsum_stream.errors.wording import counted
from samsum_stream.inspection.simulation import Epoch
from samsum_stream.inspection.survey.survey import TRIED_WINDOWS, Filling, SourceSurvey, Survey, histogram
from samsum_stream.values.counts import LEFT_OUT, by_reason

NUM_BINS = 16


class BinBar:
    """A share of the largest bin, in eighths of a block: as wide as there is place for, and no wider than `MAX`."""

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
    parts: list[RenderableType] = [_shown_totals(survey)]
    if len(survey.sources) > 1:
        parts += ["", _shown_sources(survey.sources)]
    parts += ["", _shown_lengths(survey), "", _shown_fillings(survey)]
    return Group(*parts)


def survey_for_machines(survey: Survey) -> dict[str, Any]:
    """The same as plain values of JSON."""
    epoch = survey.epoch if isinstance(survey.epoch, Epoch) else None
    return {
        **_source_for_machines(survey.whole),
        "special_tokens_in_rows": survey.counts["special_tokens_in_rows"],
        **{what: dict(by_reason(survey.counts, what)) for what in LEFT_OUT},
        "histogram": [{"from": start, "rows": number} for start, number in _histogram(survey)],
        "efficiency": survey.efficiency,
        "packs_in_epoch": None if epoch is None else epoch.num_packs,
        "batches_in_epoch": None if epoch is None else epoch.num_batches,
        "is_exact": None if epoch is None else epoch.is_exact,
        "problem": str(survey.epoch) if isinstance(survey.epoch, SourceError) else None,
        "fillings": {"method": survey.tried_method, "by_max_length": [each._asdict() for each in survey.fillings]},
        "sources": {source.name: _source_for_machines(source) for source in survey.sources},
    }


def _shown_totals(survey: Survey) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for heading, text in _totals(survey):
        table.add_row(heading, text)
    return table


def _totals(survey: Survey) -> Iterator[tuple[str, str]]:
    whole, packer = survey.whole, survey.pipeline.packer
    yield "rows", f"{whole.num_rows:,}, of which {whole.num_examples:,} become examples"
    for heading in LEFT_OUT:
        if reasons := by_reason(survey.counts, heading):
            yield heading, _reasons(reasons, whole.num_rows)
    if number := survey.counts["special_tokens_in_rows"]:
        yield "special", f"{counted(number, 'row')} spell a special token in their own text"
    yield "tokens", f"{whole.num_tokens:,}, {whole.trained_share:.1%} of them trained"
    method, epoch = survey.config.packing_config.method, survey.epoch
    about = "" if isinstance(epoch, Epoch) and epoch.is_exact else "about "
    of_them = f", {about}{epoch.num_packs:,} of them" if isinstance(epoch, Epoch) else ""
    yield "packs", f"{method} of {packer.max_length:,} tokens: {survey.efficiency:.1%} full{of_them}"
    yield "batches", _batches(survey)


def _batches(survey: Survey) -> str:
    epoch, size = survey.epoch, counted(survey.pipeline.batch_size, "pack")
    if isinstance(epoch, SourceError):
        return f"cannot be dealt: {epoch}"
    if epoch is None:
        return f"of {size}; a mixture without an end has no epochs"
    about, what = ("", "an epoch") if epoch.is_exact else ("about ", "a pass over the rows")
    return f"of {size}: {about}{epoch.num_batches:,} in {what}, which are the steps of one rank"


def _shown_sources(sources: Sequence[SourceSurvey]) -> Table:
    """Narrow enough for 60 columns: what does not fit a line is the name of a source."""
    table = Table(title="sources", title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=0)
    table.add_column("source", overflow="fold")
    for name in ("rows", "tokens", "fed", "trained", "left out", "cut", "half", "99%"):
        table.add_column(name, justify="right", no_wrap=True)
    for source in sources:
        left_out, quantiles = source.num_rows - source.num_examples, source.quantiles
        shares = (f"{share:.0%}" for share in (source.share, source.trained_share))
        others = (left_out, source.num_cut, quantiles[0.5], quantiles[0.99])
        table.add_row(source.name, *map(_short, (source.num_rows, source.num_tokens)), *shares, *map(_short, others))
    return table


def _shown_lengths(survey: Survey) -> Group:
    """A bar for each bin; those of which all rows are longer than a pack say so."""
    limit, bins = survey.pipeline.packer.max_length, _histogram(survey)
    most, total = max((number for _, number in bins), default=1), max(sum(number for _, number in bins), 1)
    table = Table.grid(padding=(0, 1))
    for justify in ("right", "left", "right", "right", "left"):
        table.add_column(justify=justify)
    for number, (start, count) in enumerate(bins):
        is_last, is_long = number == len(bins) - 1, start > limit
        end = "+" if is_last else f"-{bins[number + 1][0] - 1:,}"
        bar = BinBar(count / most, "yellow" if is_long else "green")
        table.add_row(f"{start:,}{end}", bar, f"{count:,}", f"{count / total:.1%}", "too long" if is_long else "")
    told = ", ".join(f"{_quantile(share)} {length:,}" for share, length in survey.whole.quantiles.items())
    return Group(Text("tokens of a whole row", "bold"), table, Text(told))


def _shown_fillings(survey: Survey) -> Table:
    section = survey.config.packing_config
    title = f"how full {survey.tried_method} packs get, by max_length and buffer_size"
    table = Table(
        title=title, title_justify="left", title_style="bold", caption="* as configured", caption_justify="left"
    )
    table.add_column("max_length", justify="right")
    table.add_column("longer rows", justify="right")
    for window in TRIED_WINDOWS:
        table.add_column(str(window), justify="right")
    for filling in survey.fillings:
        is_own = filling.max_length == section.kwargs.max_length
        table.add_row(*_filling_cells(filling, is_own=is_own), style="bold" if is_own else "")
    return table


def _filling_cells(filling: Filling, *, is_own: bool) -> list[str]:
    mark = "* " if is_own else ""
    return [
        f"{mark}{filling.max_length:,}",
        f"{filling.too_long:.1%}",
        *(f"{share:.1%}" for share in filling.efficiency.values()),
    ]


def _source_for_machines(source: SourceSurvey) -> dict[str, Any]:
    return {
        "rows": source.num_rows,
        "examples": source.num_examples,
        "tokens": source.num_tokens,
        "share": source.share,
        "trained_share": source.trained_share,
        "cut": source.num_cut,
        "length_quantiles": {str(share): length for share, length in source.quantiles.items()},
    }


def _histogram(survey: Survey) -> list[tuple[int, int]]:
    return histogram(survey.whole.whole_lengths, num_bins=NUM_BINS)


def _short(number: int) -> str:
    """Eight signs at most, so that a row of a table fits a line: `99,999`, `2.6 M`."""
    return f"{number:,}" if number < 1_000_000 else f"{number / 1e6:,.1f} M"


def _quantile(share: float) -> str:
    return {0.5: "half up to", 1.0: "longest"}.get(share, f"{share:.0%} up to")


def _reasons(reasons: Mapping[str, int], num_rows: int) -> str:
    return ", ".join(f"{number:,} {reason} ({number / num_rows:.1%})" for reason, number in reasons.items())
