"""What was measured of a model, as a table."""

from dataclasses import dataclass
from typing import NamedTuple

from rich.console import Group
from rich.table import Table
from rich.text import Text

from samsum_stream.errors import ContaminationError
from samsum_stream.showing.pages import as_html

CLEARLY_FASTER = 1.5
"""Layouts this near to each other are equally fast, and the one that stands first is taken."""


class Layout(NamedTuple):
    """A layout of the config: the collator's method and, for packed rows, the form of attention."""

    method: str
    attention: str | None = None

    def __str__(self) -> str:
        return "/".join(filter(None, self))


LAYOUTS = (
    Layout("packed", "position_ids"),
    Layout("packed", "block_mask"),
    Layout("packed", "varlen"),
    Layout("packed", "full"),
    Layout("padding_free"),
    Layout("padded"),
)


@dataclass(frozen=True)
class LayoutReport:
    """What was measured of one layout.

    Attributes:
        layout: Which.
        difference: The largest difference of the log-probability of a token from that in its document alone.
        gradient_difference: That of the gradient, relative to its length; 0 where no parameter is trained.
        is_exact: Whether both are no more than rounding.
        tokens_per_second: Real tokens through a forward and a backward pass.
        problem: What the model said where it does not take such batches, else empty.
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
            return "not taken"
        return "exact" if self.is_exact else "leaks"


@dataclass(frozen=True)
class ModelReport:
    """What was measured of a model, layout by layout.

    Attributes:
        model: Its class and how it attends.
        tolerance: The largest difference that counts as rounding.
        layouts: One report for each of `LAYOUTS`.
        method: The collator's method of the config, among whose layouts is the best one.
        cached_difference: The difference of `packed/position_ids` where a loop forgets `use_cache=False`; 0 where the
            model's config has it off.
    """

    model: str
    tolerance: float
    layouts: tuple[LayoutReport, ...]
    method: str
    cached_difference: float = 0.0

    @property
    def best(self) -> LayoutReport:
        """The fastest exact layout of the config's method.

        Raises:
            ContaminationError: there is none.
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
        """Raises `ContaminationError` where documents see each other in `layout`."""
        if not self.of(layout).is_exact:
            best = self.best.layout.attention
            raise ContaminationError(
                f"{self._leaks(str(layout))}; write collator_config.kwargs.attention: auto, or {best}, which is exact",
                report=self,
            )

    def _repr_html_(self) -> str:
        return as_html(shown_report(self))

    def __str__(self) -> str:
        """One line a layout; `samsum_stream.showing.shown_report` is a table for a terminal."""
        lines = [
            f"{report.layout!s:20} log-probability {report.difference:7.1e}, "
            f"gradient {report.gradient_difference:7.1e}, {report.tokens_per_second:,.0f} tokens/s: {report.verdict}"
            for report in self.layouts
        ]
        return "\n".join([f"{self.model}, where differences up to {self.tolerance:.0e} are rounding", *lines])

    def _leaks(self, layouts: str) -> str:
        found = [report for report in self.layouts if str(report.layout).startswith(layouts)]
        told = ", ".join(
            f"{report.layout} {'is not taken' if report.problem else format(report.difference, '.1e')}"
            for report in found
            if report.layout.attention != "full"
        )
        return (
            f"{self.model}: documents of a batch see each other (largest difference of a log-probability from that of "
            f"the document alone, where up to {self.tolerance:.0e} is rounding: {told})"
        )

    def _remedy(self) -> str:
        exact = [str(report.layout) for report in self.layouts if report.is_exact]
        instead = f"write collator_config.method: {exact[-1].partition('/')[0]}, which is exact" if exact else ""
        return " or ".join(filter(None, [instead, "load the model with another attn_implementation"]))


def shown_report(report: ModelReport) -> Group:
    """What was measured of a model, a row a layout, and what it said where it does not take one."""
    title = f"{report.model}: differences up to {report.tolerance:.0e} are rounding"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("layout", no_wrap=True)
    for name in ("log-probability", "gradient", "tokens/s"):
        table.add_column(name, justify="right")
    table.add_column("documents", no_wrap=True)
    for each in report.layouts:
        numbers = ("-",) * 3 if each.problem else _numbers_of(each)
        table.add_row(str(each.layout), *numbers, Text(each.verdict, "green" if each.is_exact else "bold red"))
    problems = [Text(f"{each.layout}: {each.problem}", "dim") for each in report.layouts if each.problem]
    return Group(table, *problems)


def _numbers_of(report: LayoutReport) -> tuple[str, str, str]:
    return f"{report.difference:.1e}", f"{report.gradient_difference:.1e}", f"{report.tokens_per_second:,.0f}"
