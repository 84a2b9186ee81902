"""Token ids that another program prepared: checked, without padding, with the labels and the borders of the row.

input_ids       5 6 7 2 | 5 8 2 | 0 0         labels, or masks      which tokens are trained; none: all of them
attention_mask  1 1 1 1   1 1 1   0 0         position_ids          a document starts where they restart at 0
seq_lengths     4         3                   seq_lengths           the tokens of each document
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from samsum_stream.sources.rows.columns import MASKS
from samsum_stream.sources.rows.conversations.problem import Problem
from samsum_stream.values.arrays import BoolArray, Int64Array
from samsum_stream.values.examples import IGNORE_INDEX
from samsum_stream.values.rows import ReadyIds

_MAX_ID = 2**31 - 1


def ready_ids(row: Mapping[str, Any]) -> ReadyIds:
    """The documents of a row.

    Args:
        row: The values by field; a field that is null is left out.

    Raises:
        Problem: the row breaks a rule.
    """
    values = {field: _numbers(field, value) for field, value in row.items() if value is not None}
    if "input_ids" not in values:
        raise Problem("must be a list of whole numbers, got null; fix the row", field="input_ids", reason="wrong_type")
    ids = values["input_ids"]
    real = _real(values, len(ids))
    for field, numbers in values.items():
        if field != "seq_lengths" and len(numbers) != len(ids):
            raise _bad(field, f"has {len(numbers):,} numbers, and input_ids has {len(ids):,}; write one for each id")
    ids = ids[real]
    if not len(ids):
        raise _bad("input_ids", "has no token beside padding; leave the row out")
    if ids.min() < 0 or ids.max() > _MAX_ID:
        raise _bad("input_ids", f"has the id {ids[(ids < 0) | (ids > _MAX_ID)][0]}; ids are 0 or more; fix the row")
    trained = _trained({field: numbers[real] for field, numbers in values.items() if field != "seq_lengths"}, ids)
    lengths = _lengths(values, real, len(ids))
    has_borders = "position_ids" in values or "seq_lengths" in values
    return ReadyIds(ids.astype(np.int32), trained, lengths, has_borders)


def _numbers(field: str, value: Any) -> Int64Array:
    try:
        numbers = np.asarray(value)
        if numbers.ndim == 1 and (numbers.dtype.kind in "iub" or not numbers.size):
            return numbers.astype(np.int64)
    except (ValueError, TypeError, OverflowError):
        pass
    raise Problem("must be a list of whole numbers; fix the row", field=field, reason="wrong_type")


def _real(values: Mapping[str, Int64Array], num_ids: int) -> slice:
    """The tokens that are no padding."""
    mask = values.get("attention_mask")
    if mask is None or len(mask) != num_ids:
        return slice(0, num_ids)
    ones = np.flatnonzero(mask)
    start, end = (int(ones[0]), int(ones[-1]) + 1) if len(ones) else (0, 0)
    if not (mask[start:end] == 1).all():
        raise _bad(
            "attention_mask",
            "must be 1 for the tokens of the row and 0 for padding before or after them; to say where documents end, "
            "give position_ids or seq_lengths",
        )
    return slice(start, end)


def _trained(values: Mapping[str, Int64Array], ids: Int64Array) -> BoolArray:
    """Whether each token is trained: by its label and by all masks."""
    trained = np.ones(len(ids), np.bool_)
    if (labels := values.get("labels")) is not None:
        trained &= labels != IGNORE_INDEX
        if (wrong := np.flatnonzero(trained & (labels != ids))).size:
            first = int(wrong[0])
            raise Problem(
                f"must be {IGNORE_INDEX} or equal to input_ids, got {labels[first]} for the id {ids[first]} at token "
                f"{first:,}; the model shifts labels itself, so write them unshifted",
                field="labels",
                reason="bad_labels",
            )
    for field in MASKS:
        if (mask := values.get(field)) is not None:
            if not np.isin(mask, (0, 1)).all():
                raise Problem("must be 0 or 1 for each token; fix the row", field=field, reason="bad_labels")
            trained &= mask == 1
    return trained


def _lengths(values: Mapping[str, Int64Array], real: slice, num_ids: int) -> Int64Array:
    """The number of tokens of each document."""
    of_positions = None
    if (positions := values.get("position_ids")) is not None:
        of_positions = _between_restarts(positions[real])
    if (lengths := values.get("seq_lengths")) is not None:
        if (lengths < 1).any() or lengths.sum() != num_ids:
            raise _bad(
                "seq_lengths", f"must be 1 or more and have the sum {num_ids:,}, got {lengths.sum():,}; fix the row"
            )
        if of_positions is not None and not np.array_equal(lengths, of_positions):
            raise _bad("position_ids", "restarts at other tokens than those where seq_lengths ends; remove one of them")
        return lengths
    return np.array([num_ids]) if of_positions is None else of_positions


def _between_restarts(positions: Int64Array) -> Int64Array:
    starts = np.flatnonzero(positions == 0)
    lengths = np.diff([*starts, len(positions)])
    expected = np.concatenate([np.arange(length) for length in lengths]) if len(starts) else positions + 1
    if not np.array_equal(positions, expected):
        raise _bad("position_ids", "must count 0, 1, 2, ... in each document; fix the row, or give seq_lengths")
    return lengths


def _bad(field: str, text: str) -> Problem:
    return Problem(text, field=field, reason="bad_ids")
