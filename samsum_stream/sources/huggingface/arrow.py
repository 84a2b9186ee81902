"""Random access to the rows of an Arrow column; the cost depends on the text, and not on the chunks of the table.

    small column    one contiguous copy, then one `take` per call                  about 0.3 µs per value
    large column    `take` for runs of adjacent rows, single cells for the rest    1 to 2 µs per value

`ChunkedArray.take` is slow: each call has a cost for every chunk of the table.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from samsum_stream.errors import SourceError
from samsum_stream.sources.rows.columns import Columns
from samsum_stream.sources.rows.locator import Locator
from samsum_stream.values.arrays import Int64Array

Batch = Mapping[str, Sequence[Any]]
"""Columns by name."""

MAX_COPIED_BYTES = 1 << 27
"""Columns up to this size are copied into one contiguous array; larger ones are not copied, and are mostly on disk."""

_MIN_RUN = 8


class ArrowColumn:
    """Random access to one column."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        if (kind := as_text(column.type)) != column.type:
            column = column.cast(kind, safe=False)  # without a check of UTF-8: each row is checked when it is read
        chunks = [chunk for chunk in column.chunks if len(chunk)]
        if len(chunks) > 1 and column.nbytes <= MAX_COPIED_BYTES:
            chunks = [pa.concat_arrays(chunks)]
        self._chunks = chunks
        self._starts = np.cumsum([0, *map(len, chunks)])[:-1]

    def take(self, indices: Int64Array) -> list[Any]:
        """The values at `indices`, `[n]`, in the given order."""
        if len(self._chunks) == 1:
            return _values(self._chunks[0], indices)
        which = np.searchsorted(self._starts, indices, side="right") - 1
        local = indices - self._starts[which]
        borders = np.flatnonzero(np.diff(which)) + 1
        if len(borders) * _MIN_RUN > len(indices):
            return [self._chunks[chunk][row].as_py() for chunk, row in zip(which.tolist(), local.tolist(), strict=True)]
        values: list[Any] = []
        for start, end in zip([0, *borders.tolist()], [*borders.tolist(), len(indices)], strict=True):
            values += _values(self._chunks[which[start]], local[start:end])
        return values


def _values(chunk: pa.Array, indices: Int64Array) -> list[Any]:
    taken = chunk.take(pa.array(indices))
    values: list[Any] = _arrays(taken) if _holds_numbers(taken) else taken.to_pylist()
    return values


def _holds_numbers(taken: pa.Array) -> bool:
    """Whether each value is a list of whole numbers, such as token ids: arrays of them need no Python object each."""
    kind = taken.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return is_list and pa.types.is_integer(kind.value_type) and not (taken.null_count or taken.values.null_count)


def _arrays(taken: pa.Array) -> list[Any]:
    numbers, offsets = taken.values.to_numpy(), taken.offsets.to_pylist()
    return [numbers[start:end] for start, end in pairwise(offsets)]


def decoded(batch_of: Callable[[Int64Array], Batch], indices: Int64Array, locate: Locator) -> Batch:
    """The columns at `indices`.

    Raises:
        RowError: a text is not UTF-8, which Arrow does not check before, or a date is none that Python has.
    """
    try:
        return batch_of(indices)
    except (ValueError, OverflowError):
        for number in range(len(indices)):
            try:
                batch_of(indices[number : number + 1])
            except UnicodeDecodeError as error:
                problem = f"a text is not UTF-8 ({error}); fix the row or leave it out"
                raise locate.error(number, problem, reason="not_utf8") from error
            except (ValueError, OverflowError) as error:
                problem = f"a value cannot be read ({error}); fix the row or leave it out"
                raise locate.error(number, problem, reason="wrong_type") from error
        raise


def as_text(kind: pa.DataType) -> pa.DataType:
    """The type with text in place of bytes, which many writers use for text, and of views, which Arrow cannot take.

    Rows of a list of views can be taken, and are left alone.
    """
    if pa.types.is_binary(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return pa.large_string()
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, as_text(kind.value_type), kind.ordered)
    if pa.types.is_list(kind):
        return pa.list_(as_text(kind.value_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(as_text(kind.value_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(as_text(kind.value_type), kind.list_size)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(as_text(field.type)) for field in kind])
    return kind


def holds_plain_values(kind: pa.DataType, *, structs: bool = False, dates: bool = False) -> bool:
    """Whether Arrow's values can be used unchanged: text, bytes of text, numbers, null, and lists of them.

    Structs and dates are allowed on request. Other types (JSON, images) need the decoding of their feature. Python
    cannot represent all times.
    """
    kind = as_text(kind)
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):  # Arrow casts them to lists of other values
        return as_text(kind.value_type) == kind.value_type and holds_plain_values(kind.value_type, structs=structs)
    if structs and pa.types.is_struct(kind):
        return all(holds_plain_values(field.type, structs=True, dates=dates) for field in kind)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return holds_plain_values(kind.value_type, structs=structs, dates=dates)
    if pa.types.is_dictionary(kind):
        return holds_plain_values(kind.value_type, dates=dates)
    if dates and (pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and kind.unit != "ns")):
        return True
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_null, pa.types.is_primitive)
    return any(is_kind(kind) for is_kind in kinds) and not pa.types.is_temporal(kind)


def require_plain_columns(schema: pa.Schema, columns: Columns, *, where: str) -> None:
    """Raise `SourceError` if a column is there twice, or has a type that is not decoded to plain values.

    `where` starts the message.
    """
    require_single(schema.names, columns, where=where)
    dates = columns.of_any_kind_in(schema.names)
    for column in columns.names_in(schema.names):
        is_text = column in columns.texts
        if not holds_plain_values(kind := schema.field(column).type, structs=not is_text, dates=column in dates):
            rule = "neither text nor a list of texts" if is_text else "not made of text, numbers, lists and structs"
            raise SourceError(
                f"{where}: column {column!r} holds {kind}, which is {rule}; name another column under `columns:`, or "
                "read the rows by load_dataset"
            )


def require_single(names: Sequence[str], columns: Columns, *, where: str) -> None:
    """Raise `SourceError` if two of the columns `names` have the name of one column that is read."""
    for column in columns.names_in(names):
        if (number := names.count(column)) > 1:
            raise SourceError(f"{where}: {number} columns are named {column!r}; give each another name")
