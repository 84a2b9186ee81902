"""Rows or batches of any origin, turned into one raw column a field: nothing is checked here but that it is there.

[{"dialogue": ..., "summary": ...}, ...]  ──from_rows──▶  RawColumns(inputs, responses, contexts)
{"dialogue": [...], "summary": [...]}     ──from_batch─▶
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from reprlib import Repr
from typing import Any, NamedTuple

from samsum_stream.errors import SamsumStreamError
from samsum_stream.errors.redaction import explain
from samsum_stream.sources.rows.columns import Columns, missing_column
from samsum_stream.sources.rows.locator import Locator

OR_THE_ROW = "; where other rows have it, fix the row, or skip bad rows by fault_config"


class RawColumns(NamedTuple):
    """The values of a chunk as its source had them: `n` entries in each; `contexts` is None where no row has any."""

    inputs: list[Any]
    responses: list[Any]
    contexts: list[Any] | None


def from_rows(rows: Sequence[Any], *, columns: Columns, locate: Locator) -> RawColumns:
    """Rows as columns; the first row that is no mapping, misses a field or cannot be read is an error."""
    try:
        return _picked(rows, columns)
    except Exception:  # a row may be a mapping of the user's own, which reads its values only now
        for index, row in enumerate(rows):
            try:
                _check_row(row, columns=columns, locate=locate, index=index)
                _picked([row], columns)
            except SamsumStreamError:
                raise
            except Exception as error:
                problem = f"reading the row failed: {explain(error)}; fix the code that gives the rows"
                raise locate.error(index, problem, reason="not_a_row") from error
        raise


def from_batch(batch: Mapping[str, Sequence[Any]], *, columns: Columns, locate: Locator) -> RawColumns:
    """A batch of columns; a field without its column is an error at the batch's first row."""
    _check_row(batch, columns=columns, locate=locate, index=0)
    return RawColumns(
        inputs=list(batch[columns.input]),
        responses=list(batch[columns.response]),
        contexts=_first_present([list(batch[column]) for column in columns.contexts if column in batch]),
    )


def _picked(rows: Sequence[Any], columns: Columns) -> RawColumns:
    return RawColumns(
        inputs=[*map(itemgetter(columns.input), rows)],
        responses=[*map(itemgetter(columns.response), rows)],
        contexts=_contexts_of_rows(rows, columns),
    )


def _contexts_of_rows(rows: Sequence[Any], columns: Columns) -> list[Any] | None:
    if columns.contexts_required:
        return [*map(itemgetter(columns.contexts[0]), rows)]
    return _first_present([[row.get(column) for row in rows] for column in columns.contexts])


def _first_present(candidates: list[list[Any]]) -> list[Any] | None:
    """Row by row the first candidate that is not null; None where all are null, so that the common case is free."""
    used = [values for values in candidates if not set(map(type, values)) <= {type(None)}]
    if len(used) < 2:
        return used[0] if used else None
    return [next((value for value in values if value is not None), None) for values in zip(*used, strict=True)]


def _check_row(row: Any, *, columns: Columns, locate: Locator, index: int) -> None:
    if not isinstance(row, Mapping):
        problem = f"a row must map column names to values, got {shown(row)}; fix the row"
        raise locate.error(index, problem, reason="not_a_row")
    required = {"input": columns.input, "response": columns.response}
    if columns.contexts_required:
        required["contexts"] = columns.contexts[0]
    for field, column in required.items():
        if column not in row:
            raise locate.error(
                index,
                missing_column(field, column, list(row)) + OR_THE_ROW,
                field=field,
                reason="missing_field",
            )


class _Short(Repr):
    def repr_int(self, x: int, level: int) -> str:
        """Python itself spells no number of more than 4,300 digits."""
        return super().repr_int(x, level) if x.bit_length() < _MANY_BITS else f"a number of {x.bit_length():,} bits"


_MANY_BITS = 1024
_SHORT = _Short()
_SHORT.maxstring = _SHORT.maxother = 80


def shown(value: object) -> str:
    """A value for a message: its type and a short repr."""
    return f"{type(value).__name__}: {_SHORT.repr(value)}"
