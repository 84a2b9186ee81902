"""What was measured of a model, as a table."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from samsum_stream.fidelity import LayoutReport, ModelReport


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
