"""The column of each field: `columns: {input: dialogue, response: summary}` matched with the columns of a dataset."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from samsum_stream.errors import ConfigError, SourceError
from samsum_stream.errors.wording import closest, did_you_mean

_FIELDS = ("input", "response", "contexts")
_CONTEXTS = ("contexts", "context")


class Columns(NamedTuple):
    """The column of each field; `contexts` lists candidates, and the first candidate that is not null is used.

    Contexts are optional unless `columns:` names their column: a misspelt name must not mean "no contexts".
    """

    input: str
    response: str
    contexts: tuple[str, ...]
    contexts_required: bool

    @property
    def names(self) -> tuple[str, ...]:
        """All columns to read, without repeats."""
        return tuple(dict.fromkeys((self.input, self.response, *self.contexts)))

    @property
    def required(self) -> dict[str, str]:
        """The fields that each row must have, with their columns."""
        contexts = {"contexts": self.contexts[0]} if self.contexts_required else {}
        return {"input": self.input, "response": self.response, **contexts}


def parse_columns(columns: Mapping[str, str]) -> Columns:
    """The `columns:` of a config, which maps fields to the columns of the dataset."""
    for field, column in columns.items():
        if field not in (*_FIELDS, "context"):
            raise ConfigError(f"columns: {field!r} is not a field of a row; {did_you_mean(str(field), _FIELDS)}")
        if not isinstance(column, str):
            raise ConfigError(f"columns.{field} must be the name of a column, got {type(column).__name__}: {column!r}")
    renamed = [columns[field] for field in _CONTEXTS if field in columns]
    if len(renamed) > 1:
        raise ConfigError(f"columns: 'context' and 'contexts' are one field, got both: {renamed}; keep 'contexts'")
    return Columns(
        input=columns.get("input", "input"),
        response=columns.get("response", "response"),
        contexts=tuple(renamed) or _CONTEXTS,
        contexts_required=bool(renamed),
    )


def columns_of_row(columns: Mapping[str, str], row: Collection[str], *, needed: Sequence[str]) -> dict[str, str]:
    """The part of `columns:` that applies to a row that a caller wrote, perhaps with the names of our fields.

    The names of our fields apply if the row has all `needed` fields under these names, and lacks one of the dataset's
    columns for them. Contexts are optional under either name.
    """
    is_ours = all(field in row for field in needed) and not all(columns.get(field, field) in row for field in needed)
    return {
        field: column for field, column in columns.items() if (column in row if field in _CONTEXTS else not is_ours)
    }


def match_columns(columns: Columns, known: Collection[str], *, name: str) -> Columns:
    """`columns` without unknown contexts columns; raises `SourceError` for a required column that is not `known`."""
    for field, column in columns.required.items():
        if column not in known:
            raise SourceError(f"{name}: {missing_column(field, column, known)}")
    return columns._replace(contexts=tuple(column for column in columns.contexts if column in known))


def missing_column(field: str, column: str, known: Collection[str]) -> str:
    """The message for a field without its column: the known columns, and a line to paste."""
    names = list(map(str, known))
    line = f"{field}: {closest(column, names) or '...'}"
    if field != "contexts" and column == field and len(names) > 1 and {"input", "response"}.isdisjoint(names):
        line = f"input: {names[0]}, response: {names[1]}"
    return (
        f"field {field!r} has no column {column!r} to come from; {did_you_mean(column, names)}; "
        f"name the right one, as in `columns: {{{line}}}`"
    )
