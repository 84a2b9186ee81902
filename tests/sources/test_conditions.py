"""The conditions of `where`: what matches, what does not, and what cannot be compared."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream import SourceError, parse_config
from samsum_stream.sources.rows.conditions import MISSING, Condition, IncomparableError


class Color(StrEnum):
    RED = "red"


def condition(given: Any) -> Condition:
    where = parse_config({"source_config": {"method": "jsonl", "where": {"x": given}}}).source_config.where
    return Condition.of(where["x"])


DAY = date(2026, 1, 31)
MORNING, EVENING = datetime(2026, 1, 31, 8, 30), datetime(2026, 1, 31, 20)


@pytest.mark.parametrize(
    ("given", "matching", "others"),
    [
        ("a", ["a", np.str_("a")], ["b", "A", "", "a "]),
        ("red", [Color.RED], []),
        (3, [3, 3.0, np.int64(3), np.float32(3), Decimal(3)], [4, -3, 3.5]),
        (0.1, [0.1, Decimal("0.1")], [0.2]),
        (True, [True, np.True_], [False]),
        (["a", "b"], ["a", "b"], ["c"]),
        ([1, "1"], [1, "1"], [2, "2"]),
        ({"min": 3}, [3, 4, 3.5, Decimal("3.1")], [2, 2.9]),
        ({"max": 3}, [3, 2, -1.5], [3.1]),
        ({"min": 2, "max": 3.5}, [2, 3, 3.5], [1, 4]),
        ({"min": "b", "max": "c"}, ["b", "bz", "c"], ["a", "cz"]),
        ({"not": "a"}, ["b", ""], ["a"]),
        ({"not": [1, 2]}, [3, 0], [1, 2, 2.0]),
        ({"min": 1, "not": 2}, [1, 3], [0, 2]),
        ("2026-01-31", [DAY, MORNING, EVENING, "2026-01-31"], [date(2026, 1, 30), "2026-01-31T08:30"]),
        ("2026-01-31T08:30", [MORNING], [EVENING]),
        ({"min": "2026-01-31"}, [DAY, MORNING], [date(2026, 1, 30)]),
        ({"max": "2026-01-31"}, [DAY, EVENING], [datetime(2026, 2, 1)]),
        ({"min": "2026-01-31T10:00"}, [EVENING], [MORNING]),
        ({"not": "2026-01-31"}, [date(2026, 1, 30)], [DAY, MORNING]),
    ],
)
def test_what_matches(given: Any, matching: list[Any], others: list[Any]) -> None:
    assert condition(given).matches([*matching, *others]) == [True] * len(matching) + [False] * len(others)


@pytest.mark.parametrize("given", ["a", 3, {"min": 3}, {"not": "a"}, {"not": [3, 4]}])
@pytest.mark.parametrize("value", [None, MISSING])
def test_a_row_without_a_value_matches_nothing(given: Any, value: Any) -> None:
    assert condition(given).matches([value]) == [False]


@pytest.mark.parametrize("given", [3, {"min": 3}, {"max": 3}, {"not": 3}])
def test_nan_matches_nothing(given: Any) -> None:
    assert condition(given).matches([float("nan"), np.float32("nan"), Decimal("nan")]) == [False] * 3


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"min": 3}, "5"),
        (5, "5"),
        ("5", 5),
        (1, True),
        (True, 1),
        ([1, 2], "1"),
        ({"not": "a"}, 3),
        ("a", ["a"]),
        ("a", {"a": "a"}),
        (1, np.array([1])),
        ("spring", DAY),
        (3, DAY),
        ("2026-01-31T08:30", DAY),
        ({"min": "2026-01-31T08:30"}, datetime(2026, 1, 31, tzinfo=UTC)),
        ("08:30", time(8, 30)),
        ("a", b"a"),
    ],
)
def test_values_of_other_types_are_no_silent_miss(given: Any, value: Any) -> None:
    with pytest.raises(IncomparableError, match="which `where` compares it with"):
        condition(given).matches([value])


class TestClassLabels:
    NAMES = ("no", "yes", "maybe")

    @pytest.mark.parametrize(
        ("given", "numbers"),
        [("yes", [1]), (1, [1]), (["no", 2], [0, 2]), ({"not": "no"}, [-1, 1, 2]), ({"min": 1}, [1, 2]), (-1, [-1])],
    )
    def test_names_and_numbers(self, given: Any, numbers: list[int]) -> None:
        labelled = condition(given).with_labels(self.NAMES, column="x")
        values = [-1, 0, 1, 2]
        matches = labelled.matches(values)
        assert [value for value, is_match in zip(values, matches, strict=True) if is_match] == numbers

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("yess", 'where.x: no class label is named "yess".*did you mean "yes"'),
            ({"not": ["no", "none"]}, 'no class label is named "none"'),
            (3, "no class label has the number 3; the 3 labels"),
            ({"min": "no"}, "class labels, which have no order as texts"),
        ],
    )
    def test_labels_that_do_not_exist(self, given: Any, message: str) -> None:
        with pytest.raises(SourceError, match=message):
            condition(given).with_labels(self.NAMES, column="x")


NUMBERS = st.integers(-4, 4) | st.sampled_from([-1.5, 0.5, 2.0])
WORDS = st.text("ab", max_size=2)


def reference(value: Any, given: Any) -> bool:
    """What the documentation says, value by value."""
    if value is None:
        return False
    if not isinstance(given, dict):
        return value in (given if isinstance(given, list) else [given])
    excluded = given.get("not", [])
    return (
        ("min" not in given or value >= given["min"])
        and ("max" not in given or value <= given["max"])
        and value not in (excluded if isinstance(excluded, list) else [excluded])
    )


def conditions(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(values, min_size=1, max_size=3)
    bounds = st.lists(values, min_size=2, max_size=2).map(lambda pair: {"min": min(pair), "max": max(pair)})
    excluded = st.just({}) | st.fixed_dictionaries({"not": values | lists})
    some = st.tuples(bounds, excluded).map(lambda parts: {**parts[0], **parts[1]})
    return values | lists | some | values.map(lambda value: {"min": value}) | lists.map(lambda value: {"not": value})


@given(st.data())
def test_conditions_equal_a_reference(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([NUMBERS, WORDS]))
    given, values = data.draw(conditions(kind)), data.draw(st.lists(st.none() | kind, max_size=8))
    assert condition(given).matches(values) == [reference(value, given) for value in values]
