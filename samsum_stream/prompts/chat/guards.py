"""The texts on which a chat template may decide, from its syntax tree.

{% if '</think>' in message.content %}          the template decides on a text that has </think>
{% if message.content | lower == 'stop' %}      on a text that has stop, in any case
{% if message.content == messages[0].content %} on texts that are equal
{% if message.role == 'user' %}                 on a role, which is no text
{% if message.content | length > 500 %}         in a way that constants do not tell
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import jinja2.nodes as nodes

_IGNORED_CALLS = {"get", "raise_exception", "strftime_now", "namespace", "range"}
_IGNORED_FILTERS = {"attr", "default", "groupby", "indent", "join", "map", "rejectattr", "selectattr", "tojson"}
_STRIPS = {"lstrip", "rstrip", "strip", "trim"}
_IGNORED_WORDS = {
    "arguments", "assistant", "audio", "audio_url", "content", "documents", "enable_thinking", "function", "id",
    "image", "image_url", "ipython", "name", "reasoning", "reasoning_content", "role", "system", "text", "thinking",
    "tool", "tool_call_id", "tool_calls", "tools", "type", "user", "video", "video_url",
}  # fmt: skip
"""Names of fields, roles and kinds of content, with which templates compare these."""

_CASES = {"capitalize", "lower", "title", "upper"}
_LENGTHS = {"count", "length"}
_TEXT_FILTERS = _CASES | {"format", "join", "replace", "string", "tojson", "trim"}
"""Filters whose result is a text."""

_FILTERS = (
    _CASES
    | _LENGTHS
    | _IGNORED_FILTERS
    | _STRIPS
    | {"d", "dictsort", "first", "format", "from_json", "fromjson", "items", "last", "list", "max", "min", "reject"}
    | {"replace", "reverse", "safe", "select", "sort", "string", "unique"}
)
_METHODS = (
    _CASES
    | _STRIPS
    | {"append", "endswith", "extend", "find", "format", "from_keys", "get", "index", "items", "join", "keys", "pop"}
    | {"replace", "rfind", "rsplit", "split", "startswith", "update", "values"}
)
_TESTS = {
    "boolean", "defined", "eq", "equalto", "false", "in", "integer", "iterable", "mapping", "ne", "none", "number",
    "sameas", "sequence", "string", "true", "undefined",
}  # fmt: skip
"""What a template may do with a text: all of it shows in a placeholder, or decides on constants of the template."""

_LISTS = {
    "blocks", "calls", "documents", "functions", "id", "info", "items", "list", "messages", "msgs", "oneOf", "options",
    "parts", "properties", "roles", "tools", "type",
}  # fmt: skip
"""Words in the names of what has a length that is a part of the shape of a conversation."""

_MAX_SMALL = 2
"""A text that is not blank is known to have some characters."""


class Guards(NamedTuple):
    """The texts on which a template may decide.

    Attributes:
        contained: Texts that it may look for in other texts.
        equal: Texts with which it may compare other texts.
        compares: Whether it may compare the texts of two messages.
        compares_names: Whether it may compare the names of tools with each other.
        folds: Whether it ignores the case of letters; then all texts here are in lower case.
        are_all: Whether it decides on nothing else.
    """

    contained: tuple[str, ...]
    equal: frozenset[str]
    compares: bool
    compares_names: bool
    folds: bool
    are_all: bool

    def allow(self, texts: Sequence[str], others: Sequence[str], joined: str) -> bool:
        """Whether a template cannot decide on these texts.

        Args:
            texts: The contents and the reasoning of messages.
            others: Names, ids and arguments.
            joined: All of these in one text.
        """
        if self.folds:
            texts, others, joined = [*map(str.lower, texts)], [*map(str.lower, others)], joined.lower()
        if any(map(joined.__contains__, self.contained)) or (self.compares_names and others):
            return False
        if not self.equal.isdisjoint(texts) or not self.equal.isdisjoint(others):
            return False
        return not (self.compares and len({*texts}) < len(texts))


def guards_of(tree: nodes.Template) -> Guards:
    """The texts on which a template may decide, from its syntax tree."""
    constants = _Constants(tree)
    contained, searched, equal = set[str](), set[str](), set[str]()
    compares = [*tree.find_all(nodes.Compare)]
    for compare in compares:
        for operand in compare.ops:
            is_search = operand.op in ("in", "notin") and isinstance(compare.expr, nodes.Const)
            sides = (compare.expr, operand.expr)
            is_part = is_search or any(map(_is_part, sides))
            (contained if is_part else equal).update(constants.of(sides))
            if is_part and any(map(_is_text, sides[is_search:])):
                searched.update(constants.of(sides[: 1 + (not is_search)]))
    for changed, name, args in _changes(tree):
        if name not in _IGNORED_CALLS | _IGNORED_FILTERS:
            texts = constants.of(args)
            if name in _STRIPS:
                texts = [character for text in texts for character in text if character.strip()]
            contained.update(texts)
            if changed is not None and _is_text(changed):
                searched.update(texts)
    for test in tree.find_all(nodes.Test):
        equal.update(constants.of(test.args))
    names = {
        text for text in contained - (searched - _IGNORED_WORDS) if text.isidentifier()
    }  # of fields: "enum" in schema
    contained, equal, folds = contained - names, (equal | names) - _IGNORED_WORDS, _folds(tree)
    if folds:
        contained, equal = {text.lower() for text in contained}, {text.lower() for text in equal}
    return Guards(
        contained=tuple(sorted(contained)),
        equal=frozenset(equal),
        compares=any(map(_compares_texts, compares)),
        compares_names=any(map(_compares_names, compares)),
        folds=folds,
        are_all=_is_known(tree),
    )


def _is_known(tree: nodes.Template) -> bool:
    """Whether the constants of a template tell on which texts the template decides."""
    filters, calls = [*tree.find_all(nodes.Filter)], [*tree.find_all(nodes.Call)]
    methods = [call for call in calls if isinstance(call.node, nodes.Getattr)]
    has_known_names = (
        {filtered.name for filtered in filters} <= _FILTERS
        and {method.node.attr for method in methods if isinstance(method.node, nodes.Getattr)} <= _METHODS
        and {test.name for test in tree.find_all(nodes.Test)} <= _TESTS
    )
    return has_known_names and not (any(map(_splits_words, methods)) or _cuts(tree) or _measures(tree, filters))


def _splits_words(method: nodes.Call) -> bool:
    return isinstance(method.node, nodes.Getattr) and method.node.attr in ("split", "rsplit") and not method.args


def _cuts(tree: nodes.Template) -> bool:
    """Whether a template may cut a text after a number of characters."""
    items = [item for item in tree.find_all(nodes.Getitem) if isinstance(item.arg, nodes.Slice)]
    return any(_is_text(item.node) and item.arg.stop is not None for item in items if isinstance(item.arg, nodes.Slice))


def _measures(tree: nodes.Template, filters: Iterable[nodes.Filter]) -> bool:
    """Whether a template may decide on the length of a text, beyond whether there is a text."""
    small = [compare for compare in tree.find_all(nodes.Compare) if _is_with_small_number(compare)]
    known = {id(filtered) for compare in small for filtered in compare.find_all(nodes.Filter)}
    lengths = [filtered for filtered in filters if filtered.name in _LENGTHS and id(filtered) not in known]
    return any(not any(word in _last_name(filtered) for word in _LISTS) for filtered in lengths)


def _last_name(expression: nodes.Node | None) -> str:
    """The name of the variable, field or key whose value an expression is, also after a filter that keeps a list."""
    match expression:
        case nodes.Name(name=name) | nodes.Getattr(attr=name) | nodes.Const(value=str(name)):
            return name
        case nodes.Getitem(arg=nodes.Const(value=str(name))):
            return name
        case nodes.Filter(node=node, name=name) if name not in _TEXT_FILTERS:
            return _last_name(node)
    return ""


def _is_with_small_number(compare: nodes.Compare) -> bool:
    sides = [compare.expr, *(operand.expr for operand in compare.ops)]
    numbers = [side.value for side in sides if isinstance(side, nodes.Const) and isinstance(side.value, int)]
    return any(number <= _MAX_SMALL for number in numbers)


def _folds(tree: nodes.Template) -> bool:
    """Whether a template may change the case of a text."""
    return any(name in _CASES and changed is not None and _is_text(changed) for changed, name, _ in _changes(tree))


def _changes(tree: nodes.Template) -> Iterator[tuple[nodes.Node | None, str, Sequence[nodes.Node]]]:
    """What each filter, method and function is applied to, its name, and its arguments."""
    for filtered in tree.find_all(nodes.Filter):
        yield filtered.node, filtered.name, filtered.args
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Getattr):
            yield call.node.node, call.node.attr, call.args
        else:
            yield None, getattr(call.node, "name", ""), call.args


def _is_part(expression: nodes.Node) -> bool:
    """Whether an expression is a part of a text, or a changed text, and not a text as it is."""
    if isinstance(expression, nodes.Filter | nodes.Call | nodes.Concat | nodes.Add):
        return True
    return isinstance(expression, nodes.Getitem) and (
        isinstance(expression.arg, nodes.Slice)
        or (isinstance(expression.arg, nodes.Const) and isinstance(expression.arg.value, int))
    )


def _compares_texts(compare: nodes.Compare) -> bool:
    """Whether a comparison may be one of the texts of two messages: no side is a constant, and one is a text."""
    return _has_no_constant(compare) and any(map(_is_text, _sides(compare)))


def _compares_names(compare: nodes.Compare) -> bool:
    """Whether a comparison may be one of the names of two tools, and not of two parameters in a schema."""
    names = [name for side in _sides(compare) for name in _names(side) if not name.startswith(("param", "prop"))]
    return _has_no_constant(compare) and any("name" in name for name in names)


def _has_no_constant(compare: nodes.Compare) -> bool:
    return not any(isinstance(side, nodes.Const | nodes.List | nodes.Tuple) for side in _sides(compare))


def _sides(compare: nodes.Compare) -> list[nodes.Node]:
    return [compare.expr, *(operand.expr for operand in compare.ops)]


def _is_text(expression: nodes.Node) -> bool:
    """Whether an expression may be a text of a message, by the names in it, such as `message.content`."""
    return any(text in name for name in _names(expression) for text in ("content", "text", "reasoning", "thinking"))


def _names(expression: nodes.Node) -> list[str]:
    """The names of variables, fields and keys in an expression."""
    parts = [expression, *expression.find_all((nodes.Name, nodes.Getattr, nodes.Const))]
    names = [node.name for node in parts if isinstance(node, nodes.Name)]
    return [*names, *(node.attr for node in parts if isinstance(node, nodes.Getattr)), *_texts(parts)]


class _Constants:
    """The texts in expressions, apart from the empty text, with those of the variables that a template sets."""

    def __init__(self, tree: nodes.Template) -> None:
        self._of_variable: dict[str, list[str]] = {}
        for assignment in tree.find_all(nodes.Assign):
            if isinstance(assignment.target, nodes.Name) and isinstance(assignment.node, nodes.Literal):
                self._of_variable.setdefault(assignment.target.name, []).extend(_texts(_with_parts(assignment.node)))

    def of(self, expressions: Iterable[nodes.Node]) -> list[str]:
        parts = [part for expression in expressions for part in _with_parts(expression)]
        variables = [part.name for part in parts if isinstance(part, nodes.Name)]
        return [*_texts(parts), *(text for name in variables for text in self._of_variable.get(name, ()))]


def _with_parts(expression: nodes.Node) -> list[nodes.Node]:
    return [expression, *expression.find_all((nodes.Const, nodes.Name))]


def _texts(parts: Iterable[nodes.Node]) -> list[str]:
    return [
        part.value for part in parts if isinstance(part, nodes.Const) and isinstance(part.value, str) and part.value
    ]
