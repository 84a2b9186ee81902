"""Calls the functions of the user for one row: `map`, which changes a row, and `filter`, which keeps or drops it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from samsum_stream.errors.redaction import explain
from samsum_stream.sources.rows.gather import typed_repr
from samsum_stream.sources.rows.selection import Function

_REMEDY = "fix the function, or skip bad rows by fault_config"


class FunctionError(Exception):
    """A function failed for a row; the message names the function, what happened, and the remedy."""


def changed(function: Function, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row that `map` returns; raises `FunctionError` if it fails, or returns no mapping."""
    result = _called("map", function, row)
    if not isinstance(result, Mapping):
        raise FunctionError(f"`map: {function.name}` must return a dict, got {typed_repr(result)}; {_REMEDY}")
    return result


def keeps(function: Function, row: Mapping[str, Any]) -> bool:
    """Whether `filter` keeps a row; raises `FunctionError` if it fails, or returns no bool."""
    result = _called("filter", function, row)
    if not isinstance(result, bool | np.bool_):
        raise FunctionError(f"`filter: {function.name}` must return True or False, got {typed_repr(result)}; {_REMEDY}")
    return bool(result)


def _called(key: str, function: Function, row: Mapping[str, Any]) -> Any:
    """What a function returns for a copy of a row: a row in memory is read in each epoch, and must not change."""
    try:
        return function.call(_copy(row))
    except Exception as error:
        raise FunctionError(f"`{key}: {function.name}` failed: {explain(error)}; {_REMEDY}") from error


def _copy(value: Any) -> Any:
    """A copy of nested columns; arrays of numbers, as Arrow columns give them, are lists."""
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_copy, value))
    return value.tolist() if isinstance(value, np.ndarray) else value
