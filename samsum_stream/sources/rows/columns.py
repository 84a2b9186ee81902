"""Which column holds which field: `columns: {input: dialogue, response: summary}` against what a dataset has."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from samsum_stream.errors import ConfigError, SourceError
from samsum_stream.errors.wording import closest, did_you_mean

_FIELDS = ("input", "response", "contexts")
_CONTEXTS = ("contexts", "context")


class Columns(NamedTuple):
    """The column of each field; `contexts` are candidates, and the first that is not null counts.

    Contexts are optional until `columns:` names their column: a misspelt name must not read as "no contexts".
    """

    input: str
    response: str
    contexts: tuple[str, ...]
    contexts_required: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Every column that is read, each once."""
        return tuple(dict.fromkeys((self.input, self.response, *self.contexts)))


def parse_columns(columns: Mapping[str, str]) -> Columns:
    """The `columns:` of a config, from our field to the dataset's column."""
    for field, column in columns.items():
        if field not in (*_FIELDS, "context"):
            raise ConfigError(f"columns: {field!r} is no field of a row; {did_you_mean(str(field), _FIELDS)}")
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
    """The `columns:` of a config as far as they hold for a row that a caller wrote, perhaps with our names.

    Our names count where the row has those of all `needed` fields, and not the dataset's own. Contexts are optional,
    by either name.
    """
    is_ours = all(field in row for field in needed) and not all(columns.get(field, field) in row for field in needed)
    return {
        field: column for field, column in columns.items() if (column in row if field in _CONTEXTS else not is_ours)
    }


def match_columns(columns: Columns, known: Collection[str], *, name: str) -> Columns:
    """`columns` narrowed to those that exist, for a source that knows its columns when it is opened."""
    contexts = tuple(column for column in columns.contexts if column in known)
    required = {"input": columns.input, "response": columns.response}
    if columns.contexts_required:
        required["contexts"] = columns.contexts[0]
    for field, column in required.items():
        if column not in known:
            raise SourceError(f"{name}: {missing_column(field, column, known)}")
    return columns._replace(contexts=contexts)


def missing_column(field: str, column: str, known: Collection[str]) -> str:
    """The message for a field whose column is not there: what there is, and a line to paste."""
    names = list(map(str, known))
    line = f"{field}: {closest(column, names) or '...'}"
    if field != "contexts" and column == field and len(names) > 1 and {"input", "response"}.isdisjoint(names):
        line = f"input: {names[0]}, response: {names[1]}"
    return (
        f"field {field!r} has no column {column!r} to come from; {did_you_mean(column, names)}; "
        f"name the right one, as in `columns: {{{line}}}`"
    )
