"""One row that a caller passes: validated like a row of a source, with the columns of the config or our field names."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from samsum_stream.config.source import ColumnConfig
from samsum_stream.errors import ConfigError, RowError
from samsum_stream.errors.wording import did_you_mean, quoted, shown
from samsum_stream.sources import ConversationRules, Source, TemplateNames
from samsum_stream.sources.memory import ListSource
from samsum_stream.sources.rows.columns import Columns
from samsum_stream.sources.rows.forms import NO_NAMES
from samsum_stream.sources.rows.functions import FunctionError, changed
from samsum_stream.sources.rows.matching import columns_of_row, parse_columns
from samsum_stream.sources.rows.paths import has
from samsum_stream.sources.rows.rules import USUAL_RULES
from samsum_stream.sources.rows.selection import Function, Selection
from samsum_stream.stream.encoders import BuiltTask
from samsum_stream.values.rows import Rows

NO_CHILDREN = "the stream is no mixture, so its rows need no source; leave source= out"

NO_LABELS: Mapping[str, tuple[str, ...]] = {}


def rows_of_caller(
    row: Mapping[str, Any],
    *,
    columns: Mapping[str, str | ColumnConfig],
    training: bool,
    rules: ConversationRules = USUAL_RULES,
    templates: TemplateNames = NO_NAMES,
    labels: Mapping[str, tuple[str, ...]] = NO_LABELS,
    function: Function | None = None,
) -> Rows:
    """One row as `Rows`.

    Args:
        row: Column names to values.
        columns: The `columns:` of the config.
        training: Whether the row needs an answer. Without one, the conversation is what the model gets before it
            answers, and a text takes the place of a response or a completion. An answer that the row has is left out.
        rules: How conversations are read.
        templates: What the templates read of the row.
        labels: The names of the class labels in the source, by column.
        function: Changes the row first, as it changes the rows of the source; None leaves it as it is.

    Raises:
        RowError: the row is not a mapping, the function fails, or a field is missing or has a wrong value.
    """
    if not isinstance(row, Mapping):
        raise RowError(f"a row must map column names to values, got {shown(row)}; pass a dict such as a dataset's row")
    if function is not None:
        row = _changed(row, function)
    applied = columns_of_row(columns, row, is_prompt=not training, templates=templates)
    parsed = parse_columns(applied, rules=rules, is_prompt=not training, templates=templates)
    parsed = parsed.with_form_of(row, name="row")._replace(labels=labels)
    for field, column in parsed.required.items():
        if not has(row, column):
            names = " or as ".join(dict.fromkeys((repr(column), repr(field.strip("{}")))))
            raise RowError(
                f"field {field!r} has no column {column!r} to come from; the row has "
                f"{', '.join(map(str, row)) or 'nothing'}; pass it as {names}",
                field=field.strip("{}"),
                reason="missing_field",
            )
    return ListSource([row], name="row", columns=parsed).take(np.zeros(1, np.int64))


def task_of(tasks: Mapping[str, BuiltTask], selections: Mapping[str, Selection], source: str | None) -> BuiltTask:
    """The task of a row of a caller.

    Args:
        tasks: The task of each source, by its name as in `stats.children`.
        selections: How the rows of each source are changed.
        source: The name of the source; None if the rows of all sources are written in one way.

    Raises:
        ConfigError: there is no such source, or sources write rows in different ways and none is named.
    """
    known = did_you_mean(source or "", tasks)
    if source is not None:
        if source in tasks:
            return tasks[source]
        raise ConfigError(f"no source is called {quoted(source)}; {known}" if any(tasks) else NO_CHILDREN)
    first, *others = tasks.values()
    has_map = any(selection.map is not None for selection in selections.values())
    if others and (has_map or any(other is not first for other in others)):
        raise ConfigError(f"the children of the mixture write rows in different ways; pass source=...; {known}")
    return first


def _changed(row: Mapping[str, Any], function: Function) -> Mapping[str, Any]:
    try:
        return changed(function, row)
    except FunctionError as error:
        raise RowError(
            f"row: {error}; pass a row as the source has it, with all columns that the function reads",
            reason="map_failed",
        ) from error.__cause__


def columns_of(source: Source) -> Columns | None:
    """The columns of the source that rows are read from; None for a source of the caller's own class."""
    return getattr(source.origin, "columns", None)


def selections_of(source: Source) -> dict[str, Selection]:
    """Which rows are kept, and how they are changed, by the name of the child of a mixture."""
    columns = {leaf.name: columns_of(leaf.source) for leaf in source.leaves}
    return {name: of_leaf.selection for name, of_leaf in columns.items() if of_leaf}
