"""What a template decides on values while it runs on placeholders.

"</think>" in content                 false, for values that do not contain </think>
content == messages[0].content        false, for two values that differ
length of content > 0                 true, because no value is blank
length of content > 100               `Undecided`
"""

import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

from jinja2.runtime import Undefined

from samsum_stream.prompts.chat.placeholder_texts import (
    ID_LENGTH,
    OPEN,
    VALUE,
    Length,
    expanded,
    has_value,
    is_id,
    is_json,
    is_mapping_value,
    is_one_value,
    is_value,
    literals,
    overlap,
)
from samsum_stream.prompts.chat.template import Undecided
from samsum_stream.values.conversations import common_prefix_length

_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lteq": operator.le,
    "gt": operator.gt,
    "gteq": operator.ge,
}
_OF_LENGTHS = {
    ("eq", 0): False,
    ("ne", 0): True,
    ("gt", 0): True,
    ("lteq", 0): False,
    ("gteq", 1): True,
    ("lt", 1): False,
}
"""The comparisons of a length whose result is known, because no value is blank."""


_COMPARED = (str, Mapping, list, tuple, NoneType, int, float, Undefined)
"""The types of values that can be compared: a value is equal to none of another type, numbers aside."""


def require(is_known: bool) -> None:
    """Raise `Undecided` if what a template does is not known."""
    if not is_known:
        raise Undecided


def _compare_length(name: str, length: Any, number: Any) -> bool:
    require(isinstance(length, Length) and isinstance(number, int))
    if length.is_of_id and number == ID_LENGTH and name in ("eq", "ne"):
        return (length.size == ID_LENGTH) is (name == "eq")
    require((name, number) in _OF_LENGTHS)
    return _OF_LENGTHS[name, number]


@dataclass
class Trace:
    """What a template decided while it ran on placeholders.

    Attributes:
        contained: Texts that no value may contain.
        equal: Texts that no value may be equal to, apart from white space at its edges.
        different: Pairs of texts with placeholders that must differ.
    """

    contained: set[str] = field(default_factory=set)
    equal: set[str] = field(default_factory=set)
    different: set[tuple[str, str]] = field(default_factory=set)

    def add(self, other: "Trace") -> None:
        """Add the decisions of another run."""
        self.contained |= other.contained
        self.equal |= other.equal
        self.different |= other.different

    def compare(self, name: str, left: Any, right: Any) -> Any:
        """The result of a comparison."""
        if name in ("in", "notin"):
            is_in = self.is_in(left, right)
            return is_in if name == "in" else not is_in
        if isinstance(left, Length) or isinstance(right, Length):
            return _compare_length(name, left, right)
        if has_value(left) or has_value(right):
            require(name in ("eq", "ne"))
            return self.equal_values(left, right) is (name == "eq")
        return _OPERATORS[name](left, right)

    def equal_values(self, left: Any, right: Any) -> bool:
        """Whether two values are equal: texts with placeholders are if they are the same, and must differ if not."""
        if isinstance(left, str) and isinstance(right, str):
            return left == right or self._differ(left, right)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            if is_mapping_value(left) or is_mapping_value(right):
                require(left == right)
                return True
            return left.keys() == right.keys() and self._all_equal([(left[key], right[key]) for key in left])
        if isinstance(left, list | tuple) and type(left) is type(right):
            return len(left) == len(right) and self._all_equal([*zip(left, right, strict=True)])
        require(isinstance(left, _COMPARED) and isinstance(right, _COMPARED))
        return False if has_value(left) or has_value(right) else bool(left == right)

    def _all_equal(self, pairs: Collection[tuple[Any, Any]]) -> bool:
        if any(left != right for left, right in pairs if not has_value(left) and not has_value(right)):
            return False
        return all(self.equal_values(left, right) for left, right in pairs)  # one pair that differs is enough

    def _differ(self, left: str, right: str) -> bool:
        """False, with the decision under which two different texts differ."""
        if not is_value(left) and not is_value(right):
            return False
        if is_value(left) and is_value(right):
            if not (is_id(left) and is_id(right)):  # a shape has the pattern of equal ids
                self.different.add((left, right))
            return False
        value, constant = (left, right) if is_value(left) else (right, left)
        require(not is_json(value))
        if constant.strip():  # no value is blank
            require(is_one_value(value))
            self.equal.add(constant.strip())
        return False

    def is_in(self, item: Any, container: Any) -> bool:
        """Whether a text, a list or the keys of a mapping contain a value."""
        if isinstance(container, str):
            if not has_value(item) and not is_value(container):
                return item in container
            require(isinstance(item, str) and not is_value(item))
            return self.contains(container, item)
        container = expanded(container)
        if not has_value(item) and not has_value(container):
            return item in container
        require(not is_mapping_value(container))
        return any(self.equal_values(item, other) for other in container)

    def contains(self, text: str, constant: str) -> bool:
        """Whether a text contains a constant; its values must not."""
        is_written = not is_json(text) and any(constant in literal for literal in literals(text))
        return is_written or self.search(text, constant)

    def search(self, text: str, constant: str) -> bool:
        """Whether the parts of a text that the template wrote contain a constant; its values must not."""
        require(not is_json(text))
        parts, core = literals(text), constant.strip()
        require(constant == core or is_one_value(text))  # white space can be of the template or of a value
        require(bool(core) and not any(core in value for value in VALUE.findall(text)))
        # The constant could also begin in a value and end in what the template wrote, or the other way round.
        require(not any(literal in core[1:-1] for literal in parts[1:-1]))
        require(not any(overlap(literal, core[:-1]) for literal in parts[:-1]))
        require(not any(overlap(core[1:], literal) for literal in parts[1:]))
        self.contained.add(core)
        return any(constant in literal for literal in parts)

    def require_difference(self, one: str, other: str) -> None:
        """Decide that two different texts differ for all values; raises `Undecided` if that depends on values.

        The template wrote both texts where they start to differ, or one has a value there. Then this value must not
        contain what the other text has.
        """
        start = common_prefix_length(one, other)
        values = [
            next((m for m in VALUE.finditer(text) if m.start() <= start < m.end()), None) for text in (one, other)
        ]
        if start == min(len(one), len(other)) or values == [None, None]:
            return
        with_value, literal = (one, other) if values[0] else (other, one)
        value = values[0] or values[1]
        require(None in values and value is not None)
        assert value is not None
        core = literal[start:].partition(OPEN)[0].strip()
        after = with_value[value.end() :].partition(OPEN)[0]
        require(bool(core) and bool(after) and after not in core and not overlap(core, after))
        self.contained.add(core)
