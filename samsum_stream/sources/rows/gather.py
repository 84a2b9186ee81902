"""Rows or batches of any kind to one raw column per field; the only check is that each field is present.

[{"dialogue": ..., "summary": ...}, ...]  ──from_rows──▶  {"input": [...], "response": [...], "contexts": None}
{"dialogue": [...], "summary": [...]}     ──from_batch─▶
"""

from collections.abc import Mapping, Sequence, Sized
from itertools import repeat
from operator import contains
from reprlib import Repr
from typing import Any

import numpy as np

from samsum_stream.errors import RowError, SamsumStreamError
from samsum_stream.errors.redaction import explain
from samsum_stream.sources.rows.columns import Columns
from samsum_stream.sources.rows.locator import Locator
from samsum_stream.sources.rows.matching import missing_column
from samsum_stream.sources.rows.paths import column_of, getter_of, has, names_of, path_in

FIX_THE_ROW = "; if other rows have the column, fix the row, or skip bad rows by fault_config"

FIX_OR_SKIP = "fix the row or leave it out, skip bad rows by fault_config, "
"""The first remedies for one bad value. They are wrong if the values of all rows are bad."""


RawColumns = dict[str, list[Any] | None]
"""The values of a chunk as the source has them, `n` entries for each field; None if no row has the field."""


def from_rows(rows: Sequence[Any], *, columns: Columns, locate: Locator) -> RawColumns:
    """Rows as columns; raises `RowError` for the first row that is not a mapping, lacks a field or cannot be read."""
    try:
        return _raw_columns(rows, columns, locate)
    except RowError:
        raise
    except Exception:  # a row may be a mapping of the user's own class, which reads its values at this point
        for index, row in enumerate(rows):
            try:
                _check_row(row, columns=columns, locate=locate, index=index)
                _raw_columns([row], columns, locate.at(index))
            except SamsumStreamError:
                raise
            except Exception as error:
                problem = f"reading the row failed: {explain(error)}; fix the code that gives the rows"
                raise locate.error(index, problem, reason="not_a_row") from error
        raise


def from_batch(batch: Mapping[str, Sequence[Any]], *, columns: Columns, locate: Locator) -> RawColumns:
    """A batch as columns; if a field has no column, raises `RowError` for the first row of the batch."""
    for field, column in columns.required.items():
        if path_in(column, batch) is None:
            raise _missing(field, column, list(batch), locate, 0)
    required = {field: _of_batch(batch, field, column, locate) for field, column in columns.required.items()}
    optional = {
        field: [list(batch[column]) for column in candidates if column in batch]
        for field, candidates in columns.optional.items()
    }
    return required | {field: _only_one(field, values, columns, locate) for field, values in optional.items()}


def _of_batch(batch: Mapping[str, Sequence[Any]], field: str, column: str, locate: Locator) -> list[Any]:
    try:
        return column_of(batch, column)
    except KeyError:
        path = path_in(column, batch) or (column,)
        for index, value in enumerate(batch[path[0]]):
            if not has(row := {path[0]: value}, column):
                raise _missing(field, column, names_of(row), locate, index) from None
        raise


def _raw_columns(rows: Sequence[Any], columns: Columns, locate: Locator) -> RawColumns:
    required = {field: [*map(getter_of(column), rows)] for field, column in columns.required.items()}
    return required | {
        field: _only_one(field, _of_candidates(rows, candidates), columns, locate)
        for field, candidates in columns.optional.items()
    }


def _of_candidates(rows: Sequence[Any], candidates: Sequence[str]) -> list[list[Any]]:
    present = [column for column in candidates if any(map(contains, rows, repeat(column)))]
    return [[row.get(column) for row in rows] for column in present]


def _only_one(field: str, candidates: list[list[Any]], columns: Columns, locate: Locator) -> list[Any] | None:
    """The candidate of each row that is not null; None if all are null, which makes the common case fast.

    Raises:
        RowError: a row has two candidates with different values, of which one would be ignored.
    """
    used = [values for values in candidates if not set(map(type, values)) <= {type(None)}]
    if len(used) < 2:
        return used[0] if used else None
    chosen = []
    for index, values in enumerate(zip(*used, strict=True)):
        given = [value for value in values if value is not None and not _is_empty(value)] or [values[0]]
        if any(not _is_same(value, given[0]) for value in given[1:]):
            names = columns.optional[field]
            problem = (
                f"the row has several of the columns {', '.join(map(repr, names))}, which are one field, with "
                f"different values; fix the row, or name one of them, as in `columns: {{{field}: {names[0]}}}`"
            )
            raise locate.error(index, problem, field=field, reason="wrong_type")
        chosen.append(given[0])
    return chosen


def _is_empty(value: Any) -> bool:
    return isinstance(value, Sized) and len(value) == 0


def _is_same(value: Any, other: Any) -> bool:
    return bool(np.array_equal(value, other)) if isinstance(value, np.ndarray) else bool(value == other)


def require_mapping(row: Any, *, locate: Locator, index: int) -> None:
    """Raise `RowError` if a row is not a mapping."""
    if not isinstance(row, Mapping):
        problem = f"a row must map column names to values, got {typed_repr(row)}; fix the row"
        raise locate.error(index, problem, reason="not_a_row")


def _check_row(row: Any, *, columns: Columns, locate: Locator, index: int) -> None:
    require_mapping(row, locate=locate, index=index)
    for field, column in columns.required.items():
        if not has(row, column):
            if problem := _wrapped(row, column):
                raise locate.error(index, problem, field=field, reason="missing_field")
            raise _missing(field, column, names_of(row), locate, index)


def _missing(field: str, column: str, known: Sequence[str], locate: Locator, index: int) -> RowError:
    return locate.error(
        index, missing_column(field, column, known) + FIX_THE_ROW, field=field.strip("{}"), reason="missing_field"
    )


def _wrapped(row: Mapping[str, Any], column: str) -> str:
    """The message for an object whose only value is a list of rows with the column; else empty."""
    key, rows = next(iter(row.items()), ("", None))
    if len(row) != 1 or not isinstance(rows, list) or not rows or not isinstance(rows[0], Mapping):
        return ""
    if column not in rows[0]:
        return ""
    return (
        f"the row has only {key!r}, which is a list of rows; read the file by `method: json` with `field: {key}`, "
        f"or by load_dataset with `path: json` and `field: {key}`"
    )


class _ShortRepr(Repr):
    def repr_int(self, x: int, level: int) -> str:
        """Python itself converts no number of more than 4,300 digits to text."""
        return super().repr_int(x, level) if x.bit_length() < _MANY_BITS else f"a number of {x.bit_length():,} bits"


_MANY_BITS = 1024
_SHORT_REPR = _ShortRepr()
_SHORT_REPR.maxstring = _SHORT_REPR.maxother = 80


def typed_repr(value: object) -> str:
    """The Python type and a short repr of a value from a row, for a message: `str: 'text'`."""
    return f"{type(value).__name__}: {_SHORT_REPR.repr(value)}"
