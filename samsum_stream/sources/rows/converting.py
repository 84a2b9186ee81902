"""Converts the raw values of the fields of a chunk to texts, as `columns:` says."""

from typing import Any

from samsum_stream.errors import RowError, SourceError
from samsum_stream.sources.rows.columns import Columns
from samsum_stream.sources.rows.conversion import KINDS, Conversion, Kind
from samsum_stream.sources.rows.forms import FIELDS, is_of_template
from samsum_stream.sources.rows.gather import FIX_OR_SKIP, RawColumns, typed_repr
from samsum_stream.sources.rows.locator import Locator


def converted(raw: RawColumns, columns: Columns, locate: Locator) -> dict[str, list[Any]]:
    """The converted fields of a chunk: those that `columns:` converts, and all that templates name.

    Without a conversion, class labels in a template become their names, and other values text.

    Raises:
        RowError: a value cannot be converted.
        SourceError: a column has no class labels.
    """
    of_templates = [field for field in columns.required if is_of_template(field)]
    usual: dict[str, Kind] = {
        field: "class_name" if columns.required[field] in columns.labels else "text" for field in of_templates
    }
    return {
        field: _converted(values, field, kind, columns, locate)
        for field, kind in (usual | {**columns.kinds}).items()
        if (values := raw.get(field)) is not None
    }


def _converted(values: list[Any], field: str, kind: Kind, columns: Columns, locate: Locator) -> list[Any]:
    if kind == "text" and set(map(type, values)) <= {str}:
        return values
    conversion = Conversion(kind, _names(field, kind, columns, locate))
    convert = conversion.texts_of if field == "contexts" else conversion.text_of
    texts: list[Any] = []
    for value in values:
        try:
            texts.append(convert(value))
        except ValueError:
            raise _error(value, len(texts), field, kind, columns, locate) from None
    return texts


def _names(field: str, kind: Kind, columns: Columns, locate: Locator) -> tuple[str, ...]:
    column = columns.required[field]
    if kind != "class_name" or column in columns.labels:
        return columns.labels.get(column, ())
    if columns.is_prompt:  # the row of a caller, which can have the names themselves
        return ()
    raise SourceError(
        f"{locate.source.name}: columns.{field.strip('{}')}: column {column!r} has no class labels, which a dataset of "
        "the `datasets` library and its parquet files can have; write `as: text`"
    )


def _error(value: Any, index: int, field: str, kind: Kind, columns: Columns, locate: Locator) -> RowError:
    is_list = isinstance(value, list | tuple | dict) and kind == "text"
    return locate.error(
        index,
        f"{columns.origin(field)} must be {KINDS[kind]}, got {typed_repr(value)}; {FIX_OR_SKIP}"
        f"{_as_json(field, columns.required[field]) if is_list else ''}or name another column under `columns:`",
        field=field.strip("{}"),
        reason="wrong_type",
    )


def _as_json(field: str, column: str) -> str:
    """The remedy for a list: a name in a template that is the name of a field needs another name first."""
    key = field.strip("{}")
    if is_of_template(field) and key in FIELDS:
        key = f"{key}_column"
        return f"write {{{key}}} in the template and `columns: {{{key}: {{from: {column}, as: json}}}}`, "
    return f"read it as JSON by `columns: {{{key}: {{from: {column}, as: json}}}}`, "
