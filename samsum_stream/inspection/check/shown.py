"""Findings for a terminal, with and without colour."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from samsum_stream.errors.wording import counted
from samsum_stream.inspection.check.findings import Finding

STYLES = {"error": "bold red", "warning": "bold yellow", "note": "bold cyan"}


def shown_findings(findings: Sequence[Finding]) -> Group:
    """Each finding with its remedy below it, and the number of findings of each level."""
    parts: list[RenderableType] = []
    for finding in findings:
        parts.append(Text.assemble((finding.level, STYLES[finding.level]), f" {finding.name}: {finding.reason}"))
        if finding.remedy:
            parts.append(Padding(Text(f"-> {finding.remedy}"), (0, 0, 0, 2)))
    parts.append(Text(_totals(findings), "bold"))
    return Group(*parts)


def _totals(findings: Sequence[Finding]) -> str:
    numbers = {level: sum(finding.level == level for finding in findings) for level in STYLES}
    return ", ".join(counted(number, level) for level, number in numbers.items() if number) or "nothing to advise"
