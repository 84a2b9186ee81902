"""A finding: what is amiss, how bad that is, and what to do."""

from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

Level = Literal["error", "warning", "note"]
"""The worst first: the stream cannot run; it runs, and hardly as was meant; it is good to know."""


class Finding(NamedTuple):
    """What is amiss: `name` is for machines, `reason` what was found, `remedy` what to do, empty where nothing is."""

    name: str
    level: Level
    reason: str
    remedy: str = ""


def failure(error: Exception) -> Finding:
    """The finding that an error is."""
    return Finding(type(error).__name__, "error", *split_message(str(error)))


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """The findings by their levels, else in the order in which they come."""
    return sorted(findings, key=lambda finding: get_args(Level).index(finding.level))


def split_message(message: str) -> tuple[str, str]:
    """The reason and the remedy of a message: the house writes them in this order, with a semicolon between."""
    reason, _, remedy = message.rpartition("; ")
    return (reason, remedy) if reason else (remedy, "")
