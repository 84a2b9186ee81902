"""Rows or batches of any kind to one raw column per field; the only check is that each field is present.

[{"dialogue": ..., "summary": ...}, ...]  ──from_rows──▶  {"input": [...], "response": [...], "contexts": None}
{"dialogue": [...], "summary": [...]}     ──from_batch─▶
"""

from collections.abc import Mapping, Sequence
from itertools import repeat
from operator import contains, itemgetter
from reprlib import Repr
from typing import Any

from samsum_stream.errors import SamsumStreamError
from samsum_stream.errors.redaction import explain
from samsum_stream.sources.rows.columns import Columns, missing_column
from samsum_stream.sources.rows.locator import Locator

FIX_THE_ROW = "; if other rows have the column, fix the row, or skip bad rows by fault_config"


RawColumns = dict[str, list[Any] | None]
"""The values of a chunk as the source has them, `n` entries for each field; None if no row has the field."""


def from_rows(rows: Sequence[Any], *, columns: Columns, locate: Locator) -> RawColumns:
    """Rows as columns; raises `RowError` for the first row that is not a mapping, lacks a field or cannot be read."""
    try:
        return _raw_columns(rows, columns)
    except Exception:  # a row may be a mapping of the user's own class, which reads its values at this point
        for index, row in enumerate(rows):
            try:
                _check_row(row, columns=columns, locate=locate, index=index)
                _raw_columns([row], columns)
            except SamsumStreamError:
                raise
            except Exception as error:
                problem = f"reading the row failed: {explain(error)}; fix the code that gives the rows"
                raise locate.error(index, problem, reason="not_a_row") from error
        raise


def from_batch(batch: Mapping[str, Sequence[Any]], *, columns: Columns, locate: Locator) -> RawColumns:
    """A batch as columns; if a field has no column, raises `RowError` for the first row of the batch."""
    _check_row(batch, columns=columns, locate=locate, index=0)
    required = {field: list(batch[column]) for field, column in columns.required.items()}
    return required | {
        field: _first_present([list(batch[column]) for column in candidates if column in batch])
        for field, candidates in columns.optional.items()
    }


def _raw_columns(rows: Sequence[Any], columns: Columns) -> RawColumns:
    required = {field: [*map(itemgetter(column), rows)] for field, column in columns.required.items()}
    return required | {field: _of_candidates(rows, candidates) for field, candidates in columns.optional.items()}


def _of_candidates(rows: Sequence[Any], candidates: Sequence[str]) -> list[Any] | None:
    present = [column for column in candidates if any(map(contains, rows, repeat(column)))]
    return _first_present([[row.get(column) for row in rows] for column in present])


def _first_present(candidates: list[list[Any]]) -> list[Any] | None:
    """The first candidate of each row that is not null; None if all are null, which makes the common case fast."""
    used = [values for values in candidates if not set(map(type, values)) <= {type(None)}]
    if len(used) < 2:
        return used[0] if used else None
    return [next((value for value in values if value is not None), None) for values in zip(*used, strict=True)]


def _check_row(row: Any, *, columns: Columns, locate: Locator, index: int) -> None:
    if not isinstance(row, Mapping):
        problem = f"a row must map column names to values, got {typed_repr(row)}; fix the row"
        raise locate.error(index, problem, reason="not_a_row")
    for field, column in columns.required.items():
        if column not in row:
            problem = _wrapped(row, column) or missing_column(field, column, list(row)) + FIX_THE_ROW
            raise locate.error(index, problem, field=field, reason="missing_field")


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
