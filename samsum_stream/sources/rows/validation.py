"""Rows or batches to validated rows: each column is checked as a whole, and searched only if the check fails."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from samsum_stream.errors import RowError
from samsum_stream.sources.rows.columns import Columns
from samsum_stream.sources.rows.gather import RawColumns, from_batch, from_rows, typed_repr
from samsum_stream.sources.rows.locator import Locator
from samsum_stream.values.rows import Rows, has_blank, is_blank


class _Field(NamedTuple):
    """A field under validation, with all that an error about one of its values needs."""

    name: str
    column: str
    locate: Locator

    def error(self, index: int, *, rule: "_Rule", value: object) -> RowError:
        origin = "" if self.column == self.name else f" (column {self.column!r})"
        return self.locate.error(
            index,
            f"field {self.name!r}{origin} must be {rule.text}, got {typed_repr(value)}; fix the row or leave it out, "
            "skip bad rows by fault_config, or name another column under `columns:`",
            field=self.name,
            reason=rule.reason,
        )


class _Rule(NamedTuple):
    """What a field must be, and the name in `stats.skipped` for a row that breaks the rule."""

    text: str
    reason: str


_TEXT = _Rule("a str", "wrong_type")
_NOT_BLANK = _Rule("a str that is not blank", "empty_response")
_UNICODE = _Rule("text without lone surrogates", "not_unicode")
_TEXTS = _Rule("a list of str, one str, or null", "wrong_type")


def rows_from_mappings(rows: Sequence[Any], *, columns: Columns, locate: Locator) -> Rows:
    """Validated rows from one mapping per row; raises `RowError` for a row that breaks a rule."""
    return _validated(from_rows(rows, columns=columns, locate=locate), columns, locate)


def rows_from_batch(
    batch: Mapping[str, Sequence[Any]], *, columns: Columns, locate: Locator, is_unicode: bool = False
) -> Rows:
    """Like `rows_from_mappings`, from columns by name; `is_unicode` promises that no text has a lone surrogate."""
    return _validated(from_batch(batch, columns=columns, locate=locate), columns, locate, is_unicode=is_unicode)


def _validated(raw: RawColumns, columns: Columns, locate: Locator, *, is_unicode: bool = False) -> Rows:
    input_field = _Field("input", columns.input, locate)
    response_field = _Field("response", columns.response, locate)
    contexts_field = _Field("contexts", columns.contexts[0] if columns.contexts_required else "contexts", locate)
    inputs = _texts(raw.inputs, input_field)
    responses = _texts(raw.responses, response_field)
    if has_blank(responses):
        _fail_first(responses, response_field, rule=_NOT_BLANK, is_good=lambda text: not is_blank(text))
    contexts = _context_lists(raw.contexts, contexts_field)
    if not is_unicode:
        _check_unicode(inputs, input_field)
        _check_unicode(responses, response_field)
        if contexts is not None:
            _check_unicode(["".join(texts) for texts in contexts], contexts_field)
    return Rows(inputs=inputs, responses=responses, contexts=contexts, shards=locate.shards, rows=locate.rows)


def _texts(values: list[Any], field: _Field) -> list[str]:
    if set(map(type, values)) <= {str}:
        return values
    _fail_first(values, field, rule=_TEXT, is_good=lambda value: isinstance(value, str))
    # A subclass (numpy.str_, an enum of str) becomes a plain text without a call of its own __str__.
    return list(map(str.__str__, values))


def _fail_first(values: list[Any], field: _Field, *, rule: _Rule, is_good: Callable[[Any], bool]) -> None:
    for index, value in enumerate(values):
        if not is_good(value):
            raise field.error(index, rule=rule, value=value)


def _check_unicode(texts: list[str], field: _Field) -> None:
    try:
        "".join([text for text in texts if not text.isascii()]).encode()
    except UnicodeEncodeError:
        _fail_first(texts, field, rule=_UNICODE, is_good=_is_unicode)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _context_lists(values: list[Any] | None, field: _Field) -> list[list[str]] | None:
    if values is None:
        return None
    is_plain = set(map(type, values)) <= {list} and set(map(type, chain.from_iterable(values))) <= {str}
    lists = values if is_plain else [_context_list(value, field, index) for index, value in enumerate(values)]
    return lists if any(lists) else None


def _context_list(value: Any, field: _Field, index: int) -> list[str]:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, str):
        return [str.__str__(value)] if value else []
    if isinstance(value, list | tuple) and all(isinstance(text, str) for text in value):
        return list(map(str.__str__, value))
    raise field.error(index, rule=_TEXTS, value=value)
