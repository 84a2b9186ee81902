"""One row that a caller passes: validated like a row of a source, with the columns of the config or our field names."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from samsum_stream.errors import RowError
from samsum_stream.errors.wording import shown
from samsum_stream.sources import ConversationRules
from samsum_stream.sources.memory import ListSource
from samsum_stream.sources.rows.columns import columns_of_row, parse_columns
from samsum_stream.sources.rows.rules import USUAL_RULES
from samsum_stream.values.rows import Rows


def rows_of_caller(
    row: Mapping[str, Any], *, columns: Mapping[str, str], training: bool, rules: ConversationRules = USUAL_RULES
) -> Rows:
    """One row as `Rows`.

    Args:
        row: Column names to values.
        columns: The `columns:` of the config.
        training: Whether the row needs an answer. Without one, the conversation is what the model gets before it
            answers, and a text takes the place of a response or a completion. An answer that the row has is left out.
        rules: How conversations are read.

    Raises:
        RowError: the row is not a mapping, or a field is missing or has a wrong value.
    """
    if not isinstance(row, Mapping):
        raise RowError(f"a row must map column names to values, got {shown(row)}; pass a dict such as a dataset's row")
    applied = columns_of_row(columns, row, is_prompt=not training)
    parsed = parse_columns(applied, rules=rules, is_prompt=not training).with_form_of(row, name="row")
    for field, column in parsed.required.items():
        if column not in row:
            names = " or as ".join(dict.fromkeys((repr(column), repr(field))))
            raise RowError(
                f"field {field!r} has no column {column!r} to come from; the row has "
                f"{', '.join(map(str, row)) or 'nothing'}; pass it as {names}",
                field=field,
                reason="missing_field",
            )
    return ListSource([row], name="row", columns=parsed).take(np.zeros(1, np.int64))
