"""All that `check` finds: the facts, what was measured of a model, and the findings; as text and for machines."""

import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.console import Group, RenderableType

from samsum_stream.config import load_config
from samsum_stream.errors import ContaminationError, SamsumStreamError
from samsum_stream.inspection.check.advice import advise, findings_in
from samsum_stream.inspection.check.facts import Facts, gather, heard
from samsum_stream.inspection.check.findings import Finding, failure, worst_first
from samsum_stream.inspection.check.outline import numbers, outline
from samsum_stream.inspection.check.shown import shown_findings, shown_outline
from samsum_stream.training.model_loading import load_model
from samsum_stream.training.model_report import ModelReport, shown_report


class Checked(NamedTuple):
    """What was found; there are no facts where the stream cannot be made, and no report without a model."""

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
    """Check a config, and a model with it; what a user did wrong is a finding as well.

    Args:
        path: The YAML file.
        model: A Hub id or a folder.
        attn_implementation: How the model attends.
        ranks: How many ranks will train.
        num_workers: Workers of each; by default the config's.
        trust: Modules whose code the config may name.
    """
    try:
        facts = gather(load_config(path), ranks=ranks, num_workers=num_workers, trust=trust)
    except SamsumStreamError as error:
        return Checked(None, None, [failure(error)])
    report, found = None, advise(facts)
    if model is not None:
        with heard() as warned:
            try:
                report = facts.stream.check_model(load_model(model, attn_implementation=attn_implementation))
            except SamsumStreamError as error:
                report = error.report if isinstance(error, ContaminationError) else None
                found.append(failure(error))
        found += findings_in(warned)
    return Checked(facts, report, worst_first(found))


def shown_check(checked: Checked) -> Group:
    """What a person reads."""
    parts: list[RenderableType] = []
    if checked.facts is not None:
        parts.append(shown_outline(outline(checked.facts)))
    if checked.report is not None:
        parts += ["", shown_report(checked.report)]
        if not any(finding.name == "ContaminationError" for finding in checked.findings):
            parts.append(f"best for this config: {checked.report.best.layout}")
    return Group(*parts, *([""] if parts else []), shown_findings(checked.findings))


def for_machines(checked: Checked) -> dict[str, Any]:
    """The same as plain values of JSON."""
    facts, report = checked.facts, checked.report
    return {
        "findings": [finding._asdict() for finding in checked.findings],
        "outline": None if facts is None else [{"heading": name, "text": text} for name, text in outline(facts)],
        "numbers": None if facts is None else numbers(facts),
        "layouts": None if report is None else [_layout(each) for each in report.layouts],
    }


def _layout(report: Any) -> dict[str, Any]:
    """A number that was not measured is null: JSON knows no NaN."""
    return {
        "layout": str(report.layout),
        "is_exact": report.is_exact,
        "difference": None if math.isnan(report.difference) else report.difference,
        "gradient_difference": None if math.isnan(report.gradient_difference) else report.gradient_difference,
        "tokens_per_second": report.tokens_per_second,
        "problem": report.problem,
    }
