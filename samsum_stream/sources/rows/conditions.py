"""The conditions of `where`, as tests of the raw values of a column.

A value is compared only with values of its own kind. Null, NaN and a missing column match no condition.

text            texts                              a class label    numbers and names
a number        numbers                            a date           texts such as `2026-01-31`, which mean a whole day
true or false   true and false                     a time           the same, and texts such as `2026-01-31T08:30`
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np

from samsum_stream.config.conditions import ConditionConfig
from samsum_stream.errors import SourceError
from samsum_stream.errors.wording import did_you_mean, quoted

Test = Callable[[Any], bool]


class Missing:
    """The class of `MISSING`, which keeps its identity in no pickle: it is never stored."""


MISSING = Missing()
"""The value of a column that a row does not have."""


class IncomparableError(ValueError):
    """A value is not of a kind that the condition compares; the message says which kinds it compares."""


@dataclass(frozen=True)
class Condition:
    """What the values of a column must be. All parts that are given hold together.

    Attributes:
        included: The values of which one must be equal; empty for any.
        excluded: The values of which none may be equal.
        minimum: The smallest value; None for any.
        maximum: The largest value; None for any.
    """

    included: tuple[Any, ...] = ()
    excluded: tuple[Any, ...] = ()
    minimum: Any = None
    maximum: Any = None

    @classmethod
    def of(cls, section: Any) -> "Condition":
        """The condition of a config: a value, a list of values, or a mapping."""
        if not isinstance(section, ConditionConfig):
            return cls(included=_as_tuple(section))
        excluded = () if section.excluded is None else _as_tuple(section.excluded)
        return cls(excluded=excluded, minimum=section.minimum, maximum=section.maximum)

    def matches(self, values: Sequence[Any]) -> list[bool]:
        """Whether each value matches.

        Raises:
            IncomparableError: a value is not of a kind that is compared.
        """
        tests = {kind: self.test_of(kind) for kind in set(map(type, values))}
        return [tests[type(value)](value) for value in values]

    def test_of(self, kind: type) -> Test:
        """The test of the values of a Python type."""
        if kind in (Missing, type(None)):
            return lambda value: False
        if issubclass(kind, np.generic):
            return lambda value: self.matches([value.item()])[0]
        if issubclass(kind, date):
            return self._test_of_dates(kind)
        own = next((own for own in (str, bool, int, float, Decimal) if issubclass(kind, own)), None)
        if own is None:
            raise self._error()
        return self._test_of_plain(own, is_exact=own is kind)

    def with_labels(self, names: Sequence[str], *, column: str) -> "Condition":
        """The condition with the numbers of class labels in place of their names.

        Raises:
            SourceError: there is no such class label.
        """
        if isinstance(self.minimum, str) or isinstance(self.maximum, str):
            raise SourceError(
                f"where.{column}: the column has class labels, which have no order as texts; list the names, as in "
                f"[{quoted(names[0])}], or write numbers"
            )
        included, excluded = (
            tuple(_number_of(value, names, column) for value in values) for values in (self.included, self.excluded)
        )
        return replace(self, included=included, excluded=excluded)

    @property
    def _operands(self) -> tuple[Any, ...]:
        bounds = (bound for bound in (self.minimum, self.maximum) if bound is not None)
        return (*self.included, *self.excluded, *bounds)

    def _test_of_plain(self, kind: type, *, is_exact: bool) -> Test:
        read = _READERS[kind]
        test = self._only(lambda value: isinstance(value, bool) == (kind is bool) and isinstance(value, _KINDS[kind]))
        included, excluded = frozenset(map(read, test.included)), frozenset(map(read, test.excluded))
        low, high = (None if bound is None else read(bound) for bound in (test.minimum, test.maximum))

        def matches(value: Any) -> bool:
            value = value if is_exact else read(value)
            return (
                value == value  # not NaN
                and (not included or value in included)
                and value not in excluded
                and (low is None or value >= low)
                and (high is None or value <= high)
            )

        return matches

    def _test_of_dates(self, kind: type) -> Test:
        test = self._only(lambda value: _moment(value, kind) is not None)
        included, excluded = ([_moment(value, kind) for value in part] for part in (test.included, test.excluded))
        low, high = _moment(test.minimum, kind), _moment(test.maximum, kind)

        def matches(value: Any) -> bool:
            if value != value:  # the null of pandas
                return False
            try:
                return (
                    (not included or any(_order(value, moment) == 0 for moment in included))
                    and all(_order(value, moment) != 0 for moment in excluded)
                    and (low is None or _order(value, low) >= 0)
                    and (high is None or _order(value, high) <= 0)
                )
            except TypeError:  # one of two times has a time zone
                raise self._error() from None

        return matches

    def _only(self, is_own: Callable[[Any], bool]) -> "Condition":
        """The condition with the values that are compared with values of a kind.

        Raises:
            IncomparableError: a part of the condition has no such value.
        """
        included, excluded = (tuple(filter(is_own, part)) for part in (self.included, self.excluded))
        bounds = [bound for bound in (self.minimum, self.maximum) if bound is not None]
        lists_of_others = (self.included and not included) or (self.excluded and not excluded)
        if lists_of_others or not all(map(is_own, bounds)):
            raise self._error()
        return replace(self, included=included, excluded=excluded)

    def _error(self) -> IncomparableError:
        kinds = dict.fromkeys(map(_kind_of, self._operands))
        return IncomparableError(f"{' or '.join(kinds)}, which `where` compares it with ({self})")

    def __str__(self) -> str:
        """As in a config: `["de", "en"]`, `{min: 3}`."""
        if self.included:
            return _shown(self.included)
        parts = {"min": self.minimum, "max": self.maximum, "not": self.excluded or None}
        return f"{{{', '.join(f'{key}: {_shown(value)}' for key, value in parts.items() if value is not None)}}}"


_KINDS: dict[type, tuple[type, ...]] = {
    str: (str,),
    bool: (bool,),
    int: (int, float),
    float: (int, float),
    Decimal: (int, float),
}
"""The types of the values of a config with which values of a Python type are compared."""

_READERS: dict[type, Callable[[Any], Any]] = {
    str: str.__str__,
    bool: bool,
    int: lambda value: value,
    float: lambda value: value,
    Decimal: lambda value: value if isinstance(value, Decimal) else Decimal(str(value)),
}


def _as_tuple(values: Any) -> tuple[Any, ...]:
    return tuple(values) if isinstance(values, list) else (values,)


def _moment(text: Any, kind: type) -> date | None:
    """The day or the time of a text; None if dates of a Python type are not compared with it."""
    if not isinstance(text, str):
        return None
    for read in (date.fromisoformat, *([datetime.fromisoformat] if issubclass(kind, datetime) else [])):
        try:
            return read(text)
        except ValueError:
            continue
    return None


def _order(value: Any, moment: date | None) -> int:
    """-1, 0 or 1: whether a value comes before, at or after a moment; a day without a time is the whole day."""
    if not isinstance(moment, datetime) and isinstance(value, datetime):
        value = value.date()
    return int(value > moment) - int(value < moment)


def _number_of(value: Any, names: Sequence[str], column: str) -> Any:
    if isinstance(value, str):
        if value not in names:
            raise SourceError(f"where.{column}: no class label is named {quoted(value)}; {did_you_mean(value, names)}")
        return names.index(value)
    if isinstance(value, int) and not isinstance(value, bool) and not -1 <= value < len(names):
        raise SourceError(
            f"where.{column}: no class label has the number {value}; the {len(names)} labels have the numbers from 0, "
            "and -1 is no label"
        )
    return value


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    return "a text or a date" if isinstance(value, str) else "a number"


def _shown(value: Any) -> str:
    if isinstance(value, Iterable) and not isinstance(value, str):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return quoted(value) if isinstance(value, str) else str(value)
