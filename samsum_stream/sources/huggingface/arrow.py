"""Any rows of an Arrow column as Python values, at the price of the text and not of the table's shape.

    few bytes      one contiguous copy made once, then one `take` a chunk        about 0.3 µs a value
    many bytes     runs of neighbours by `take`, scattered rows cell by cell     1 to 2 µs a value

`ChunkedArray.take` is the slow way: it pays for every chunk of the table on every call.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from samsum_stream.sources.rows.locator import Locator
from samsum_stream.values.arrays import Int64Array

Batch = Mapping[str, Sequence[Any]]
"""Columns by name."""

MAX_COPIED_BYTES = 1 << 27
"""Columns up to this size are copied into one contiguous array; larger ones stay where they are, mostly on disk."""

_MIN_RUN = 8


class ArrowColumn:
    """Random access to one column."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        chunks = [chunk for chunk in column.chunks if len(chunk)]
        if len(chunks) > 1 and column.nbytes <= MAX_COPIED_BYTES:
            chunks = [pa.concat_arrays(chunks)]
        self._chunks = chunks
        self._starts = np.cumsum([0, *map(len, chunks)])[:-1]

    def take(self, indices: Int64Array) -> list[Any]:
        """The values at `indices`, `[n]`, in that order."""
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
    values: list[Any] = chunk.take(pa.array(indices)).to_pylist()
    return values


def decoded(batch_of: Callable[[Int64Array], Batch], indices: Int64Array, locate: Locator) -> Batch:
    """The columns at `indices`; Arrow reads text from files without a look, so bytes that are none show up here."""
    try:
        return batch_of(indices)
    except UnicodeDecodeError:
        for number in range(len(indices)):
            try:
                batch_of(indices[number : number + 1])
            except UnicodeDecodeError as error:
                problem = f"a text is not UTF-8 ({error}); fix the row or leave it out"
                raise locate.error(number, problem, reason="not_utf8") from error
        raise


def holds_plain_values(kind: pa.DataType) -> bool:
    """Whether Arrow's own values are the rows' values: text, numbers, null, and lists of them.

    The rest (JSON, images, structs) needs the decoding of its dataset feature; Python knows not every point in time.
    """
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return holds_plain_values(kind.value_type)
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_null, pa.types.is_primitive)
    return any(is_kind(kind) for is_kind in kinds) and not pa.types.is_temporal(kind)
