"""One row that a caller passes: validated like a row of a source, with the columns of the config or our field names."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from samsum_stream.errors import RowError
from samsum_stream.errors.wording import shown
from samsum_stream.sources import IndexedSource, as_source
from samsum_stream.sources.rows.columns import columns_of_row
from samsum_stream.values.rows import Rows

_NO_RESPONSE = "the response that the model writes"


def rows_of_caller(row: Mapping[str, Any], *, columns: Mapping[str, str], training: bool) -> Rows:
    """One row as `Rows`.

    Args:
        row: Column names to values.
        columns: The `columns:` of the config.
        training: Whether the row needs a response. Without one, a placeholder takes its place.

    Raises:
        RowError: the row is not a mapping, or a field is missing or has a wrong value.
    """
    if not isinstance(row, Mapping):
        raise RowError(f"a row must map column names to values, got {shown(row)}; pass a dict such as a dataset's row")
    needed = ("input", "response") if training else ("input",)
    columns = columns_of_row(columns, row, needed=needed)
    for field in needed:
        if (column := columns.get(field, field)) not in row:
            raise RowError(
                f"field {field!r} has no column {column!r} to come from; the row has "
                f"{', '.join(map(str, row)) or 'nothing'}; pass it as {column!r} or as {field!r}",
                field=field,
                reason="missing_field",
            )
    if not training:
        row, columns = {**row, _NO_RESPONSE: "x"}, {**columns, "response": _NO_RESPONSE}
    source = as_source([row], name="row", columns=columns)
    assert isinstance(source, IndexedSource)
    return source.take(np.zeros(1, np.int64))
