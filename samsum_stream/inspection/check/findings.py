"""A finding: a problem, its level, its reason and its remedy."""

from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

Level = Literal["error", "warning", "note"]
"""Worst first: the stream cannot run; it runs, but hardly as intended; it is useful to know."""


class Finding(NamedTuple):
    """A problem of a config.

    Attributes:
        name: The name for machines.
        level: The level.
        reason: The observation.
        remedy: What to do; empty if there is nothing to do.
    """

    name: str
    level: Level
    reason: str
    remedy: str = ""


def failure(error: Exception) -> Finding:
    """The finding for an error."""
    return Finding(type(error).__name__, "error", *split_message(str(error)))


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """The findings sorted by level; findings of one level keep their order."""
    return sorted(findings, key=lambda finding: get_args(Level).index(finding.level))


def split_message(message: str) -> tuple[str, str]:
    """The reason and the remedy of a message of the package, which are separated by the last "; "."""
    reason, _, remedy = message.rpartition("; ")
    return (reason, remedy) if reason else (remedy, "")
