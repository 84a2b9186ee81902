"""The results of measuring a model: one report for each layout, as text and as a table."""

from dataclasses import dataclass
from typing import NamedTuple

from rich.console import Group
from rich.table import Table
from rich.text import Text

from samsum_stream.errors import ContaminationError
from samsum_stream.showing.pages import as_html

CLEARLY_FASTER = 1.5
"""A later layout is taken only if it is this many times as fast as an earlier one."""


class Layout(NamedTuple):
    """A layout of a batch: the collator's method and its form, which is the attention of packed rows, or `left`."""

    method: str
    form: str | None = None

    def __str__(self) -> str:
        return "/".join(filter(None, self))


LAYOUTS = (
    Layout("packed", "position_ids"),
    Layout("packed", "block_mask"),
    Layout("packed", "varlen"),
    Layout("packed", "full"),
    Layout("padding_free"),
    Layout("padded"),
    Layout("padded", "left"),
)


@dataclass(frozen=True)
class LayoutReport:
    """The measurement of one layout.

    Attributes:
        layout: The layout.
        difference: The largest difference between the log-probability of a token in a batch and in its isolated
            document; NaN if there is a problem.
        gradient_difference: The norm of the difference of the gradients, relative to the norm of the isolated one; 0
            if no parameter is trained, NaN if there is a problem.
        is_exact: Whether both differences are within the tolerance.
        tokens_per_second: Real tokens per second, forward and backward; 0 if not timed, or if there is a problem.
        problem: The error of the model if it rejects the layout, else empty.
    """

    layout: Layout
    difference: float
    gradient_difference: float
    is_exact: bool
    tokens_per_second: float
    problem: str = ""

    @property
    def verdict(self) -> str:
        if self.problem:
            return "rejected"
        return "exact" if self.is_exact else "leaks"


@dataclass(frozen=True)
class ModelReport:
    """The measurement of a model in every layout.

    Attributes:
        model: The class of the model and its attention implementation.
        tolerance: The largest difference of a log-probability that counts as rounding.
        gradient_tolerance: The same for gradients.
        layouts: One report for each of `LAYOUTS`.
        method: The collator's method in the config; `best` is one of its layouts.
        cached_difference: The difference of `packed/position_ids` in a loop that does not pass `use_cache=False`; 0 if
            `use_cache` is false in the model's config.
    """

    model: str
    tolerance: float
    gradient_tolerance: float
    layouts: tuple[LayoutReport, ...]
    method: str
    cached_difference: float = 0.0

    @property
    def best(self) -> LayoutReport:
        """The fastest exact layout of the config's method.

        Raises:
            ContaminationError: no layout of the method is exact.
        """
        best: LayoutReport | None = None
        for report in self.layouts:
            if report.layout.method != self.method or not report.is_exact:
                continue
            if best is None or report.tokens_per_second > CLEARLY_FASTER * best.tokens_per_second:
                best = report
        if best is None:
            raise ContaminationError(f"{self._leaks(self.method)}; {self._remedy()}", report=self)
        return best

    def of(self, layout: Layout) -> LayoutReport:
        """The report of one layout."""
        return next(report for report in self.layouts if report.layout == layout)

    def require_exact(self, layout: Layout) -> None:
        """Raises `ContaminationError` if documents see each other in `layout`."""
        if not self.of(layout).is_exact:
            raise ContaminationError(f"{self._leaks(str(layout))}; {self._other_form()}", report=self)

    def _other_form(self) -> str:
        """The remedy for a form that is not exact: another form of the same method."""
        form = self.best.layout.form
        if self.method == "padded":
            return f"write collator_config.kwargs.padding_side: {form or 'right'}, which is exact"
        return f"write collator_config.kwargs.attention: auto, or {form}, which is exact"

    def _repr_html_(self) -> str:
        return as_html(shown_report(self))

    def __str__(self) -> str:
        """One line for each layout; `shown_report` is a table for a terminal."""
        lines = [
            f"{report.layout!s:20} log-probability {report.difference:7.1e}, "
            f"gradient {report.gradient_difference:7.1e}, {report.tokens_per_second:,.0f} tokens/s: {report.verdict}"
            for report in self.layouts
        ]
        return "\n".join([self.title, *lines])

    @property
    def title(self) -> str:
        """The model, and what counts as rounding."""
        tolerances = f"{self.tolerance:.0e} (gradient {self.gradient_tolerance:.0e})"
        return f"{self.model}: differences up to {tolerances} are rounding"

    def _leaks(self, layouts: str) -> str:
        reports = [report for report in self.layouts if str(report.layout).startswith(layouts)]
        differences = ", ".join(
            f"{report.layout} {'is rejected' if report.problem else format(report.difference, '.1e')}"
            for report in reports
            if report.layout.form != "full"
        )
        fault = "documents are not computed as alone" if layouts.startswith("padded") else "documents see each other"
        return (
            f"{self.model}: {fault} (largest difference from the log-probabilities of isolated documents; up to "
            f"{self.tolerance:.0e} is rounding: {differences})"
        )

    def _remedy(self) -> str:
        exact = [str(report.layout) for report in self.layouts if report.is_exact]
        if exact:
            return f"write collator_config.method: {exact[-1].partition('/')[0]}, which is exact"
        return "load the model with another attn_implementation"


def shown_report(report: ModelReport) -> Group:
    """The measurement of a model as a table, one row for each layout, and the errors for rejected layouts."""
    table = Table(title=report.title, title_justify="left", title_style="bold")
    table.add_column("layout", no_wrap=True)
    for name in ("log-probability", "gradient", "tokens/s"):
        table.add_column(name, justify="right")
    table.add_column("documents", no_wrap=True)
    for row in report.layouts:
        numbers = ("-",) * 3 if row.problem else _numbers_of(row)
        table.add_row(str(row.layout), *numbers, Text(row.verdict, "green" if row.is_exact else "bold red"))
    problems = [Text(f"{row.layout}: {row.problem}", "dim") for row in report.layouts if row.problem]
    return Group(table, *problems)


def _numbers_of(report: LayoutReport) -> tuple[str, str, str]:
    return f"{report.difference:.1e}", f"{report.gradient_difference:.1e}", f"{report.tokens_per_second:,.0f}"
