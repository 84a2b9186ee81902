"""Names of columns, and of fields of structs in columns: `meta.prompt.text`.

A column that has the whole name comes first, so that names with dots stay names.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any


def path_in(name: str, known: Collection[str]) -> tuple[str, ...] | None:
    """The column that a name begins with, and the names of the fields below it; None if no column is `known`."""
    if name in known:
        return (name,)
    return next(((column, *rest.split(".")) for column, rest in _splits(name) if column in known), None)


def getter_of(name: str) -> Callable[[Mapping[str, Any]], Any]:
    """A function that gets the value of a name from a row; it raises `KeyError` if the row has no such value."""
    return itemgetter(name) if "." not in name else lambda row: value_at(row, name)


def value_at(row: Mapping[str, Any], name: str) -> Any:
    """The value of a name in a row; a field of a null struct is null.

    Raises:
        KeyError: the row has no such column or field.
    """
    path = path_in(name, row)
    if path is None:
        raise KeyError(name)
    return value_below(row[path[0]], path[1:])


def has(row: Mapping[str, Any], name: str) -> bool:
    """Whether a row has a value for a name."""
    try:
        value_at(row, name)
    except KeyError:
        return False
    return True


def names_of(row: Mapping[str, Any]) -> list[str]:
    """The columns of a row, and the fields of structs in them."""
    below = {str(name): names_of(value) if isinstance(value, Mapping) else [] for name, value in row.items()}
    return [text for name, fields in below.items() for text in (name, *(f"{name}.{field}" for field in fields))]


def column_of(batch: Mapping[str, Sequence[Any]], name: str) -> list[Any]:
    """The values of a name in a batch of columns.

    Raises:
        KeyError: the batch has no such column, or a value has no such field.
    """
    path = path_in(name, batch)
    if path is None:
        raise KeyError(name)
    values = batch[path[0]]
    return list(values) if len(path) == 1 else [value_below(value, path[1:]) for value in values]


def value_below(value: Any, path: Sequence[str]) -> Any:
    """The value of a field below a value; a field of null is null; raises `KeyError` if there is no such field."""
    for field in path:
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise KeyError(field)
        value = value[field]
    return value


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """The column and the rest of a name, at each dot, from the last one."""
    end = name.rfind(".")
    while end > 0:
        yield name[:end], name[end + 1 :]
        end = name.rfind(".", 0, end)
