"""Applies the selection of a source to a chunk of its raw rows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from samsum_stream.errors import RowError
from samsum_stream.errors.redaction import explain
from samsum_stream.sources.rows.conditions import MISSING, Condition, IncomparableError
from samsum_stream.sources.rows.functions import FunctionError, changed, keeps
from samsum_stream.sources.rows.gather import FIX_OR_SKIP, require_mapping, typed_repr
from samsum_stream.sources.rows.locator import Locator
from samsum_stream.sources.rows.paths import path_in, value_at, value_below
from samsum_stream.sources.rows.selection import Function, Selection
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import DroppedRow

T = TypeVar("T")

ValuesOf = Callable[[str], list[Any]]
"""Gives the values of a column in all rows of a chunk, with `MISSING` for a row that does not have the column."""


class Kept(NamedTuple):
    """The rows of a chunk that are kept.

    Attributes:
        indices: Their indices, ascending, shape `[k]`.
        dropped: The other rows, each with its index, ascending.
    """

    indices: Int64Array
    dropped: tuple[tuple[int, DroppedRow], ...]


def matching(selection: Selection, values_of: ValuesOf, locate: Locator) -> Kept:
    """The rows that match the conditions. A condition is tested only in rows that match the conditions before it.

    Raises:
        RowError: a value cannot be compared.
    """
    indices, missing = list(range(len(locate.rows))), dict[int, str]()
    columns = {column: values_of(column) for column in selection.where}
    for column, values in columns.items():
        missing |= {index: column for index, value in enumerate(values) if value is MISSING and index not in missing}
    indices = [index for index in indices if index not in missing] if missing else indices
    for column, values in columns.items():
        matches = _matches(selection.where[column], column, [values[index] for index in indices], locate, indices)
        indices = [index for index, is_match in zip(indices, matches, strict=True) if is_match]
    return _kept(indices, "where", locate, missing)


def selected(rows: Sequence[Any], selection: Selection, locate: Locator) -> tuple[list[Any], Kept]:
    """The rows that are kept, changed by `map`, and their indices.

    Raises:
        RowError: a row is not a mapping, a value cannot be compared, or a function fails for a row.
    """
    for index, row in enumerate(rows):
        require_mapping(row, locate=locate, index=index)
    kept = matching(selection, lambda column: _values_of_rows(rows, column, locate), locate)
    chosen, inner = [rows[index] for index in kept.indices.tolist()], locate.of(kept.indices)
    if selection.map is not None:
        chosen = _each(changed, "map", selection.map, chosen, inner)
    if selection.filter is None:
        return chosen, kept
    are_kept = _each(keeps, "filter", selection.filter, chosen, inner)
    by_filter = _kept(np.flatnonzero(are_kept).tolist(), "filter", inner, {})
    dropped = [(int(kept.indices[index]), row) for index, row in by_filter.dropped]
    merged = tuple(sorted((*kept.dropped, *dropped), key=lambda pair: pair[0]))
    return [chosen[index] for index in by_filter.indices.tolist()], Kept(kept.indices[by_filter.indices], merged)


def rows_of(batch: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The rows of a batch of columns."""
    return [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]


def values_of_batch(batch: Mapping[str, Sequence[Any]], column: str, num_rows: int) -> list[Any]:
    """The values of a column, or of a field of structs, in a batch of columns."""
    path = path_in(column, batch)
    if path is None:
        return [MISSING] * num_rows
    values = batch[path[0]]
    return list(values) if len(path) == 1 else [_field(value, path[1:]) for value in values]


def _kept(indices: list[int], reason: str, locate: Locator, missing: Mapping[int, str]) -> Kept:
    others = np.delete(np.arange(len(locate.rows)), indices).tolist()
    dropped = ((index, DroppedRow(locate.position(index), reason, missing.get(index, ""))) for index in others)
    return Kept(np.array(indices, np.int64), tuple(dropped))


def _matches(
    condition: Condition, column: str, values: list[Any], locate: Locator, indices: Sequence[int]
) -> list[bool]:
    try:
        return condition.matches(values)
    except IncomparableError:
        for index, value in zip(indices, values, strict=True):
            try:
                condition.matches([value])
            except IncomparableError as error:
                raise _incomparable(error, column, value, locate, index) from None
        raise


def _incomparable(error: IncomparableError, column: str, value: Any, locate: Locator, index: int) -> RowError:
    problem = (
        f"column {column!r} must be {error}, got {typed_repr(value)}; {FIX_OR_SKIP}write the condition for values of "
        "this type, or compare them in a function of yours, as in `filter: path.to.module::name`"
    )
    return locate.error(index, problem, field=column, reason="wrong_type")


def _values_of_rows(rows: Sequence[Mapping[str, Any]], column: str, locate: Locator) -> list[Any]:
    values: list[Any] = []
    try:
        for row in rows:
            values.append(row[column] if column in row else _value(row, column))
    except Exception as error:  # a row may be a mapping of the user's own class
        problem = f"reading the row failed: {explain(error)}; fix the code that gives the rows"
        raise locate.error(len(values), problem, reason="not_a_row") from error
    return values


def _value(row: Mapping[str, Any], column: str) -> Any:
    try:
        return value_at(row, column)
    except KeyError:
        return MISSING


def _field(value: Any, path: Sequence[str]) -> Any:
    try:
        return value_below(value, path)
    except KeyError:
        return MISSING


def _each(
    call: Callable[[Function, Any], T], key: str, function: Function, rows: list[Any], locate: Locator
) -> list[T]:
    """What the function of a key gives for each row."""
    results: list[T] = []
    try:
        for row in rows:
            results.append(call(function, row))
    except FunctionError as error:
        raise locate.error(len(results), str(error), reason=f"{key}_failed") from error.__cause__
    return results
