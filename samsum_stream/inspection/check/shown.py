"""What `check` found, as a person reads it in a terminal, also without colour."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from samsum_stream.errors.wording import counted
from samsum_stream.inspection.check.findings import Finding

STYLES = {"error": "bold red", "warning": "bold yellow", "note": "bold cyan"}


def shown_outline(lines: Iterable[tuple[str, str]]) -> Table:
    """A line each, under its heading once."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    last = ""
    for heading, text in lines:
        table.add_row("" if heading == last else heading, text)
        last = heading
    return table


def shown_findings(findings: Sequence[Finding]) -> Group:
    """Each finding with its remedy under it, and how many there are of each level."""
    parts: list[RenderableType] = []
    for finding in findings:
        parts.append(Text.assemble((finding.level, STYLES[finding.level]), f" {finding.name}: {finding.reason}"))
        if finding.remedy:
            parts.append(Padding(Text(f"-> {finding.remedy}"), (0, 0, 0, 2)))
    parts.append(Text(_total(findings), "bold"))
    return Group(*parts)


def _total(findings: Sequence[Finding]) -> str:
    numbers = {level: sum(finding.level == level for finding in findings) for level in STYLES}
    told = [counted(number, level) for level, number in numbers.items() if number]
    return ", ".join(told) or "nothing to advise"
