"""The whole result of `check`: the facts, the measurement of a model, and the findings."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.console import Group, RenderableType

from samsum_stream.config import load_config
from samsum_stream.errors import ContaminationError, SamsumStreamError
from samsum_stream.inspection.check.advice import advise, findings_in
from samsum_stream.inspection.check.facts import Facts, gather, recorded_warnings
from samsum_stream.inspection.check.findings import Finding, failure, worst_first
from samsum_stream.inspection.check.outline import numbers, outline
from samsum_stream.inspection.check.shown import shown_findings
from samsum_stream.showing.tables import headed_lines
from samsum_stream.training.model_loading import load_model
from samsum_stream.training.model_report import LayoutReport, ModelReport, shown_report


class Checked(NamedTuple):
    """The result of `check`.

    Attributes:
        facts: The facts; None if the stream cannot be built.
        report: The measurement of the model; None without a model.
        findings: The findings, worst first.
    """

    facts: Facts | None
    report: ModelReport | None
    findings: list[Finding]


def check_config(
    path: str | os.PathLike[str],
    *,
    model: str | None = None,
    attn_implementation: str | None = None,
    ranks: int = 1,
    num_workers: int | None = None,
    trust: Sequence[str] = (),
) -> Checked:
    """Check a config, and optionally a model. An error of the package becomes a finding.

    Args:
        path: The YAML file.
        model: A Hub id or a folder.
        attn_implementation: The attention of the model.
        ranks: The number of ranks in training.
        num_workers: The workers of each rank; by default `num_proc` of the config.
        trust: Modules from which the config may import code.
    """
    try:
        facts = gather(load_config(path), ranks=ranks, num_workers=num_workers, trust=trust)
    except SamsumStreamError as error:
        return Checked(None, None, [failure(error)])
    report, findings = None, advise(facts)
    if model is not None:
        with recorded_warnings() as warned:
            try:
                report = facts.stream.check_model(load_model(model, attn_implementation=attn_implementation))
            except SamsumStreamError as error:
                report = error.report if isinstance(error, ContaminationError) else None
                findings.append(failure(error))
        findings += findings_in(warned)
    return Checked(facts, report, worst_first(findings))


def shown_check(checked: Checked) -> Group:
    """The outline, the report of the model and the findings for a terminal."""
    parts: list[RenderableType] = []
    if checked.facts is not None:
        parts.append(headed_lines(outline(checked.facts)))
    if checked.report is not None:
        parts += ["", shown_report(checked.report)]
        if not any(finding.name == "ContaminationError" for finding in checked.findings):
            parts.append(f"best for this config: {checked.report.best.layout}")
    return Group(*parts, *([""] if parts else []), shown_findings(checked.findings))


def for_machines(checked: Checked) -> dict[str, Any]:
    """The same as plain values for JSON."""
    facts, report = checked.facts, checked.report
    return {
        "findings": [finding._asdict() for finding in checked.findings],
        "outline": None if facts is None else [{"heading": name, "text": text} for name, text in outline(facts)],
        "numbers": None if facts is None else numbers(facts),
        "layouts": None if report is None else [_layout(layout) for layout in report.layouts],
    }


def _layout(report: LayoutReport) -> dict[str, Any]:
    """A number that was not measured is null, because JSON has no NaN."""
    values = {name: None if value != value else value for name, value in vars(report).items()}  # only NaN differs
    return {**values, "layout": str(report.layout)}
