r"""Texts and values of a template that have placeholders.

"\n (1) \n"               a text with the placeholder of a value; the white space at the edges may belong to the value
"Hi (1), see (2)."        its literals: "Hi", ", see", "."
{"(3)": "(3)"}            the placeholder of a mapping
"\"(1)\""                 JSON of a text: it has a quote, which no placeholder has
"""

import re
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from types import FunctionType, MethodType, NoneType
from typing import Any

from jinja2.runtime import Macro, Undefined

OPEN, CLOSE = "\ue0f0", "\ue0f1"
"""The characters around the number of a placeholder."""

ID_LENGTH = 9
"""The length of the ids of tool calls that Mistral's templates require."""

VALUE = re.compile(rf"\s*{OPEN}[^{CLOSE}]*{CLOSE}\s*")
"""A placeholder, and the white space at its edges, which may belong to it."""

_ID = re.compile(rf"{OPEN}[a-zA-Z]*0[0-9]{{4,}}{CLOSE}")


class Length:
    """The length of a value. A text is not blank, so it is more than 0; of an id, a shape has whether it is 9.

    No operation but a comparison knows this object, so that a template that computes with it fails.
    """

    def __init__(self, text: str) -> None:
        self.size, self.is_of_id = len(text), is_id(text)


def is_value(value: Any) -> bool:
    """Whether a value is a text with a placeholder."""
    return isinstance(value, str) and OPEN in value


def is_one_value(text: str) -> bool:
    """Whether a text is one placeholder."""
    return literals(text) == ["", ""]


def is_mapping_value(value: Any) -> bool:
    """Whether a value is the placeholder of a mapping."""
    return isinstance(value, dict) and len(value) == 1 and is_value(next(iter(value)))


def is_id(value: Any) -> bool:
    """Whether a value is the placeholder of an id, which alone has leading zeros."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def is_json(text: str) -> bool:
    """Whether a text with placeholders may be JSON, which can have signs that its values do not have."""
    return '"' in text


def has_value(value: Any) -> bool:
    """Whether a value is a placeholder, has one inside, or is of a type that may hide one."""
    if isinstance(value, str):
        return OPEN in value
    if isinstance(value, Mapping):
        return any(map(has_value, value)) or any(map(has_value, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(has_value, value))
    return not isinstance(value, _WITHOUT_VALUES)


_WITHOUT_VALUES = (NoneType, int, float, Undefined, Macro, FunctionType, MethodType)


def expanded(value: Any) -> Any:
    """An iterator or a view of a mapping as a list, which shows its values."""
    return [*value] if isinstance(value, Iterator | KeysView | ValuesView | ItemsView) else value


def literals(text: str) -> list[str]:
    """The parts of a text before, between and after its placeholders."""
    return VALUE.split(text)


def overlap(left: str, right: str) -> bool:
    """Whether the end of one text is the start of another one."""
    return any(left.endswith(right[:length]) for length in range(1, min(len(left), len(right)) + 1))
