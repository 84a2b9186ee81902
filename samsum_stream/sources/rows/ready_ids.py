"""Token ids that another program prepared: checked, without padding, with the labels and the borders of the rows.

input_ids       5 6 7 2 | 5 8 2 | 0 0         labels, or masks      which tokens are trained; none: all of them
attention_mask  1 1 1 1   1 1 1   0 0         position_ids          a document starts where they restart at 0
seq_lengths     4         3                   seq_lengths           the tokens of each document

The rows of a chunk are checked together. If a check fails, each row is checked alone, so that the error names its row.
"""

from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from samsum_stream.sources.rows.conversations.problem import Problem
from samsum_stream.sources.rows.forms import MASKS
from samsum_stream.values.arrays import BoolArray, Int64Array, offsets_of, sums_of
from samsum_stream.values.examples import IGNORE_INDEX
from samsum_stream.values.rows import TokenIds

_MAX_ID = 2**31 - 1


class _Column(NamedTuple):
    """The numbers of all rows, end to end, and how many each row has, shape `[n]`."""

    numbers: Int64Array
    lengths: Int64Array


def ready_ids(columns: Mapping[str, Sequence[Any]]) -> TokenIds:
    """The documents of rows.

    Args:
        columns: The values of each field, one for each row; fields that the rows do not have are left out.

    Raises:
        Problem: a row breaks a rule; it is known which one if there is one row.
    """
    values = {field: _column(field, rows) for field, rows in columns.items()}
    lengths = values.pop("seq_lengths", None)
    _require_equal_lengths(values)
    values = _without_padding(values)
    ids, trained = values["input_ids"], _trained(values)
    if not ids.lengths.all():
        raise _bad("input_ids", "has no token beside padding; leave the row out")
    if (wrong := (ids.numbers < 0) | (ids.numbers > _MAX_ID)).any():
        raise _bad("input_ids", f"has the id {ids.numbers[wrong][0]}; ids are 0 or more; fix the row")
    documents = _documents(ids, lengths, values.get("position_ids"))
    has_borders = lengths is not None or "position_ids" in values
    return TokenIds(
        ids=ids.numbers.astype(np.int32),
        trained=trained,
        lengths=documents.numbers,
        num_documents=documents.lengths,
        has_borders=np.full(len(ids.lengths), has_borders),
    )


def _column(field: str, rows: Sequence[Any]) -> _Column:
    try:
        kinds = set(map(type, rows))
        if kinds == {list}:
            return _of_lists(rows)
        if all(issubclass(kind, np.ndarray) for kind in kinds):
            return _of_arrays(rows)
        if not any(issubclass(kind, str | bytes | Mapping) for kind in kinds):
            return _of_lists([[*(row.tolist() if hasattr(row, "tolist") else row)] for row in rows])
    except (TypeError, ValueError, OverflowError):
        pass
    raise Problem("must be a list of whole numbers; fix the row", field=field, reason="wrong_type")


def _of_lists(rows: Sequence[list[Any]]) -> _Column:
    lengths = np.array([*map(len, rows)], np.int64)
    try:
        numbers = _flat(rows, "Q")
        if not (numbers < 0).any():
            return _Column(numbers, lengths)
    except OverflowError:
        pass
    return _Column(_flat(rows, "q"), lengths)


def _flat(rows: Sequence[list[Any]], code: Literal["q", "Q"]) -> Int64Array:
    """The numbers of all rows; without a sign (`Q`) in 60% of the time. A float is a TypeError."""
    numbers = array(code)
    for row in rows:
        numbers.fromlist(row)  # half the time of `extend`
    return np.frombuffer(numbers, np.int64)


def _of_arrays(rows: Sequence[Any]) -> _Column:
    if any(row.ndim != 1 or (row.size and row.dtype.kind not in "iub") for row in rows):
        raise TypeError
    numbers = np.concatenate([np.empty(0, np.int64), *rows], dtype=np.int64, casting="unsafe")
    return _Column(numbers, np.array([*map(len, rows)], np.int64))


def _require_equal_lengths(values: Mapping[str, _Column]) -> None:
    ids = values["input_ids"].lengths
    for field, column in values.items():
        if (differs := column.lengths != ids).any():
            number, expected = column.lengths[differs][0], ids[differs][0]
            raise _bad(field, f"has {number:,} numbers, and input_ids has {expected:,}; write one for each id")


def _without_padding(values: dict[str, _Column]) -> dict[str, _Column]:
    """The columns without the tokens at which the attention mask is 0, which are before or after all others."""
    if (mask := values.pop("attention_mask", None)) is None or (mask.numbers == 1).all():
        return values
    is_real = mask.numbers == 1
    starts = offsets_of(mask.lengths)[:-1]
    begins = is_real & ~np.concatenate([[False], is_real[:-1]])
    begins[starts[starts < len(is_real)]] |= is_real[starts[starts < len(is_real)]]
    if not np.isin(mask.numbers, (0, 1)).all() or (sums_of(begins, mask.lengths) > 1).any():
        raise _bad("attention_mask", _MASK)
    lengths = sums_of(is_real, mask.lengths)
    return {field: _Column(column.numbers[is_real], lengths) for field, column in values.items()}


_MASK = (
    "must be 1 for the tokens of the row and 0 for padding before or after them; to say where documents end, give "
    "position_ids or seq_lengths"
)


def _trained(values: Mapping[str, _Column]) -> BoolArray:
    """Whether each token is trained: by its label and by all masks."""
    ids = values["input_ids"].numbers
    trained = np.ones(len(ids), np.bool_)
    if (column := values.get("labels")) is not None:
        labels = column.numbers
        trained &= labels != IGNORE_INDEX
        if (wrong := np.flatnonzero(trained & (labels != ids))).size:
            first = int(wrong[0])
            raise _bad_labels(
                "labels",
                f"must be {IGNORE_INDEX} or equal to input_ids, got {labels[first]} for the id {ids[first]} at token "
                f"{first:,}; the model shifts labels itself, so write them unshifted",
            )
    for field in MASKS:
        if (column := values.get(field)) is not None:
            if not np.isin(column.numbers, (0, 1)).all():
                raise _bad_labels(field, "must be 0 or 1 for each token; fix the row")
            trained &= column.numbers == 1
    return trained


def _documents(ids: _Column, lengths: _Column | None, positions: _Column | None) -> _Column:
    """The number of tokens of each document, and the number of documents of each row."""
    of_positions = None if positions is None else _between_restarts(positions)
    if lengths is None:
        return of_positions or _Column(ids.lengths, np.ones(len(ids.lengths), np.int64))
    if (lengths.numbers < 1).any():
        raise _bad("seq_lengths", "must be 1 or more for each document; fix the row")
    sums = sums_of(lengths.numbers, lengths.lengths)
    if (wrong := sums != ids.lengths).any():
        number, expected = sums[wrong][0], ids.lengths[wrong][0]
        raise _bad("seq_lengths", f"must have the sum {expected:,}, the number of ids, got {number:,}; fix the row")
    if of_positions is not None and not all(map(np.array_equal, lengths, of_positions)):
        raise _bad("position_ids", "restarts at other tokens than those where seq_lengths ends; remove one of them")
    return lengths


def _between_restarts(positions: _Column) -> _Column:
    starts = np.flatnonzero(positions.numbers == 0)
    lengths = np.diff(np.append(starts, len(positions.numbers)))
    counted = np.arange(len(positions.numbers)) - np.repeat(starts, lengths) if len(starts) else positions.numbers + 1
    row_starts = offsets_of(positions.lengths)[:-1]
    if len(counted) != len(positions.numbers) or (counted != positions.numbers).any():
        raise _bad("position_ids", "must count 0, 1, 2, ... in each document; fix the row, or give seq_lengths")
    if not np.isin(row_starts, starts).all():
        raise _bad("position_ids", "must start at 0; fix the row, or give seq_lengths")
    return _Column(lengths, np.diff(np.append(np.searchsorted(starts, row_starts), len(starts))))


def _bad(field: str, text: str) -> Problem:
    return Problem(text, field=field, reason="bad_ids")


def _bad_labels(field: str, text: str) -> Problem:
    return Problem(text, field=field, reason="bad_labels")
