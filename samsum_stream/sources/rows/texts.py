"""Checks of the texts of a field: as a whole column, and text by text only if that fails."""

from collections.abc import Callable
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from samsum_stream.errors import RowError
from samsum_stream.sources.rows.columns import Columns
from samsum_stream.sources.rows.forms import CONVERTED
from samsum_stream.sources.rows.gather import FIX_OR_SKIP, typed_repr
from samsum_stream.sources.rows.locator import Locator


class Rule(NamedTuple):
    """What a field must be, and the name in `stats.skipped` for a row that breaks the rule."""

    text: str
    reason: str


class FieldCheck(NamedTuple):
    """A field under validation, with all that an error about one of its values needs."""

    name: str
    origin: str
    locate: Locator
    remedy: str = ""

    def error(self, index: int, *, rule: "Rule", value: object) -> RowError:
        remedy = self.remedy if rule.reason == "wrong_type" and value is not None else ""
        return self.locate.error(
            index,
            f"{self.origin} must be {rule.text}, got {typed_repr(value)}; {FIX_OR_SKIP}"
            f"{remedy}or name another column under `columns:`",
            field=self.name,
            reason=rule.reason,
        )


def field_check(name: str, columns: Columns, locate: Locator) -> FieldCheck:
    """A field, with the conversion that would read its values as text."""
    column = columns.required.get(name, name)
    if name in columns.kinds or name not in CONVERTED or not set(columns.required) & {name}:
        return FieldCheck(name, columns.origin(name), locate)
    kind = "class_name" if column in columns.labels else "text"
    what = "the names of the class labels" if kind == "class_name" else "numbers and dates as text (or `as: json`)"
    remedy = f"read {what} by `columns: {{{name}: {{from: {column}, as: {kind}}}}}`, "
    return FieldCheck(name, columns.origin(name), locate, remedy)


_TEXT = Rule("a str", "wrong_type")

NOT_BLANK = Rule("a str that is not blank", "empty_response")

NOT_BLANK_TEXT = Rule("a str that is not blank", "empty_text")

_UNICODE = Rule("text without lone surrogates", "not_unicode")

_TEXTS = Rule("a list of str, one str, or null", "wrong_type")


def texts_of(values: list[Any], field: FieldCheck) -> list[str]:
    """The texts of a column; raises `RowError` for the first value that is not a text."""
    if set(map(type, values)) <= {str}:
        return values
    fail_first(values, field, rule=_TEXT, is_good=lambda value: isinstance(value, str))
    # A subclass (numpy.str_, an enum of str) becomes a plain text without a call of its own __str__.
    return list(map(str.__str__, values))


def fail_first(values: list[Any], field: FieldCheck, *, rule: Rule, is_good: Callable[[Any], bool]) -> None:
    """Raise `RowError` for the first value that is not good."""
    for index, value in enumerate(values):
        if not is_good(value):
            raise field.error(index, rule=rule, value=value)


def check_unicode(texts: list[str], field: FieldCheck) -> None:
    """Raise `RowError` for the first text with a lone surrogate."""
    try:
        for text in texts:
            if not text.isascii():
                text.encode()  # one by one: a copy of all texts of a long row would be large
    except UnicodeEncodeError:
        fail_first(texts, field, rule=_UNICODE, is_good=_is_unicode)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def context_lists(values: list[Any] | None, field: FieldCheck) -> list[list[str]] | None:
    """The contexts of each row; None if no row has any."""
    if values is None:
        return None
    is_plain = set(map(type, values)) <= {list} and set(map(type, chain.from_iterable(values))) <= {str}
    lists = values if is_plain else [_context_list(value, field, index) for index, value in enumerate(values)]
    return lists if any(lists) else None


def _context_list(value: Any, field: FieldCheck, index: int) -> list[str]:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, str):
        return [str.__str__(value)] if value else []
    if isinstance(value, list | tuple) and all(isinstance(text, str) for text in value):
        return list(map(str.__str__, value))
    raise field.error(index, rule=_TEXTS, value=value)
