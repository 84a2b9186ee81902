"""Values of rows as plain Python values: JSON texts are parsed, and nulls that Arrow adds are removed.

Arrow gives all structs of a column the same keys, and fills the keys that a row does not have with null.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from samsum_stream.sources.rows.conversations.problem import Problem
from samsum_stream.sources.rows.gather import typed_repr
from samsum_stream.values.conversations import texts_in

_MAX_LOADS = 2
"""Some data sets encode JSON twice."""


def parsed(value: Any, *, what: str, field: str = "messages") -> Any:
    """The value, or what its JSON text means; raises `Problem` for a text that is not JSON."""
    for _ in range(_MAX_LOADS):
        if not isinstance(value, str):
            break
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            problem = f"{what} must be valid JSON ({error}), got {typed_repr(value)}; fix the JSON"
            raise Problem(problem, reason="not_json", field=field) from None
    return value


def plain(value: Any, *, keeps_nulls: bool, what: str, field: str = "messages") -> Any:
    """The value as JSON has it: dicts, lists, texts, numbers, booleans and null.

    Args:
        value: The value.
        keeps_nulls: Whether keys with null are kept.
        what: A name of the value for messages.
        field: The field of the row.
    """

    def convert(value: Any) -> Any:
        if value is None or type(value) in _PLAIN:
            return value
        if isinstance(value, Mapping):
            return {convert(key): convert(item) for key, item in value.items() if keeps_nulls or item is not None}
        if isinstance(value, list | tuple | np.ndarray):
            return [convert(item) for item in value]
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, np.generic):
            return convert(value.item())
        if isinstance(value, int | float):
            return value
        problem = f"{what} must be made of values of JSON, got {typed_repr(value)}; write it as text or as a number"
        raise Problem(problem, reason="wrong_type", field=field)

    return convert(value)


_PLAIN = frozenset({str, int, float, bool})


def as_list(value: Any, *, what: str, field: str = "messages") -> list[Any] | None:
    """A list, or the JSON text of one; None for null; raises `Problem` for anything else."""
    if isinstance(value, str) and not value.strip():
        return None
    items = parsed(value, what=what, field=field)
    if isinstance(items, np.ndarray):
        items = items.tolist()
    if items is None or isinstance(items, list):
        return items
    if isinstance(items, tuple):
        return list(items)
    problem = f"{what} must be a list or the JSON text of a list, got {typed_repr(items)}; fix the row"
    raise Problem(problem, reason="wrong_type", field=field)


NOT_UNICODE = (
    "texts must have no lone surrogates, because UTF-8 has no bytes for them; fix the row or leave it out, or skip bad "
    "rows by fault_config"
)


def is_unicode(value: Any) -> bool:
    """Whether no text in a plain value has a lone surrogate."""
    text = value if isinstance(value, str) else "".join(texts_in(value))
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_text(value: Any, *, what: str, field: str = "messages") -> str:
    """A plain text; empty for null."""
    if value is None:
        return ""
    if isinstance(value, str):
        return str.__str__(value)
    problem = f"{what} must be a text, got {typed_repr(value)}; write it as text"
    raise Problem(problem, reason="wrong_type", field=field)
