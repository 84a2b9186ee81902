"""What the section of a source says about its rows: which are kept, and what a function of the user makes of them.

raw rows ──where──▶ rows that match ──map──▶ rows of the function ──filter──▶ rows that are validated
             └▶ dropped.where                                        └▶ dropped.filter

A row that is left out stays a row of the source: it keeps its number, and `Rows.skipped` has it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from samsum_stream.sources.rows.conditions import Condition


class Function(NamedTuple):
    """A function of the user, with its name in the config."""

    name: str
    call: Callable[[dict[str, Any]], Any]


@dataclass(frozen=True)
class Selection:
    """The keys `where`, `map` and `filter` of a source.

    Attributes:
        where: The condition of each column that has one.
        map: Changes a row; None leaves it as it is.
        filter: Says whether a row, after `map`, is kept; None keeps all.
    """

    where: Mapping[str, Condition] = field(default_factory=dict)
    map: Function | None = None
    filter: Function | None = None

    @property
    def has_functions(self) -> bool:
        """Whether functions run, which see all columns."""
        return self.map is not None or self.filter is not None

    @property
    def is_empty(self) -> bool:
        """Whether all rows are kept unchanged."""
        return not (self.where or self.has_functions)

    def with_labels(self, labels: Mapping[str, tuple[str, ...]]) -> "Selection":
        """The selection with the numbers of class labels in its conditions.

        Raises:
            SourceError: there is no such class label.
        """
        where = {
            column: condition.with_labels(labels[column], column=column) if column in labels else condition
            for column, condition in self.where.items()
        }
        return replace(self, where=where)


ALL_ROWS = Selection()
"""All rows, unchanged."""
