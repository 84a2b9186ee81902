"""Conversion of values of a column to texts: `columns: {response: {from: label, as: class_name}}`.

text          "a" → a     3 → 3     0.5 → 0.5     true → true     a date → 2026-01-31     a list of these: each of them
json          any value → JSON: ["a", "b"] → ["a", "b"]
class_name    the number of a class label → its name
"""

import json
import math
from collections.abc import Sequence
from datetime import date, time
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import numpy as np

Kind = Literal["text", "json", "class_name"]

KINDS: dict[str, str] = {
    "text": "a text, a number, true or false, or a date",
    "json": "a value that JSON can write",
    "class_name": "the number or the name of a class label",
}
"""What each kind of conversion accepts, for messages."""


class Conversion(NamedTuple):
    """How the values of a column become texts.

    Attributes:
        kind: The kind.
        names: The names of the class labels by their numbers; only for `class_name`.
    """

    kind: Kind
    names: tuple[str, ...] = ()

    def text_of(self, value: Any) -> str:
        """The text of a value.

        Raises:
            ValueError: the value is null, or is not what the kind accepts.
        """
        value = value.item() if isinstance(value, np.generic) else value
        if self.kind == "json":
            return _json(value)
        return plain_text(value) if self.kind == "text" else self._name(value)

    def texts_of(self, value: Any) -> Any:
        """The texts of a field of several texts: null stays, and each item of a list is converted, except to JSON."""
        value = value.tolist() if isinstance(value, np.ndarray) else value
        if value is None or self.kind == "json":
            return None if value is None else self.text_of(value)
        return [*map(self.text_of, value)] if isinstance(value, list | tuple) else self.text_of(value)

    def _name(self, value: Any) -> str:
        if isinstance(value, str) and value in self.names:
            return value
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(self.names):
            raise ValueError(KINDS[self.kind])
        return self.names[value]


def plain_text(value: Any) -> str:
    """A text, number, truth value or date as text.

    Raises:
        ValueError: the value is something else, or is not a number (NaN, infinity).
    """
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date | time):
        return value.isoformat()
    is_number = isinstance(value, int | float | Decimal) and math.isfinite(value)
    if not is_number:
        raise ValueError(KINDS["text"])
    return str(value)


def _json(value: Any) -> str:
    if value is None:
        raise ValueError(KINDS["json"])
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except (TypeError, RecursionError) as error:
        raise ValueError(KINDS["json"]) from error


def _plain(value: Any) -> Any:
    """A value that JSON does not know: an array as a list, a number of numpy, or a date as text."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return plain_text(value)


def class_names(features: Any, path: Sequence[str]) -> tuple[str, ...]:
    """The names of the class labels of a column, or of a field of structs in it; empty if it has none.

    Args:
        features: The `datasets.Features` of the dataset; None if they are not known.
        path: The column, and the names of the fields below it.
    """
    for name in path:
        features = features.get(name) if hasattr(features, "get") else None
    return tuple(getattr(features, "names", None) or ())
