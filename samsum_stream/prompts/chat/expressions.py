"""Expressions of a template's syntax tree: what they may be, and the constants in them."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import jinja2.nodes as nodes

_TEXTS = ("content", "text", "reasoning", "thinking")
"""Words in the names of the texts of messages."""

CASES = {"capitalize", "lower", "title", "upper"}
"""Filters and methods that change the case of a text."""

_TO_TEXT = CASES | {"format", "join", "replace", "string", "tojson", "trim"}
"""Filters whose result is a text."""


class Use(NamedTuple):
    """A filter, a method or a function in a template.

    Attributes:
        kind: `filter`, `method` or `function`.
        name: Its name.
        of: The expression to which it is applied; None for a function.
        args: Its arguments.
    """

    kind: str
    name: str
    of: nodes.Node | None
    args: list[nodes.Expr]


def uses_in(tree: nodes.Template) -> Iterator[Use]:
    """The filters, methods and functions that a template uses."""
    for filtered in tree.find_all(nodes.Filter):
        yield Use("filter", filtered.name, filtered.node, filtered.args)
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Getattr):
            yield Use("method", call.node.attr, call.node.node, call.args)
        else:
            yield Use("function", getattr(call.node, "name", ""), None, call.args)


def sides_of(compare: nodes.Compare) -> list[nodes.Expr]:
    """The expressions that a comparison compares."""
    return [compare.expr, *(operand.expr for operand in compare.ops)]


def is_text(expression: nodes.Node | None) -> bool:
    """Whether an expression may be a text of a message, by the names in it, such as `message.content`."""
    return expression is not None and any(text in name for name in names_in(expression) for text in _TEXTS)


def is_part(expression: nodes.Node) -> bool:
    """Whether an expression may be a part of a text, or a changed text, and not a text as it is."""
    match expression:
        case nodes.Filter() | nodes.Call() | nodes.Concat() | nodes.Add():
            return True
        case nodes.Getitem(arg=nodes.Slice() | nodes.Const(value=int())):
            return True
    return False


def names_in(expression: nodes.Node) -> list[str]:
    """The names of variables, fields and keys in an expression."""
    parts = [expression, *expression.find_all((nodes.Name, nodes.Getattr, nodes.Const))]
    names = [node.name for node in parts if isinstance(node, nodes.Name)]
    return [*names, *(node.attr for node in parts if isinstance(node, nodes.Getattr)), *_texts(parts)]


def last_name(expression: nodes.Node | None) -> str:
    """The name of the variable or field whose value an expression is, also after a filter that keeps a list."""
    match expression:
        case nodes.Name(name=name) | nodes.Getattr(attr=name) | nodes.Getitem(arg=nodes.Const(value=str(name))):
            return str(name)
        case nodes.Filter(node=node, name=name) if name not in _TO_TEXT:
            return last_name(node)
    return ""


class Constants:
    """The texts in expressions, apart from the empty text, with those of the variables that a template sets.

    Args:
        tree: The template.
    """

    def __init__(self, tree: nodes.Template) -> None:
        self._of_variable: dict[str, list[str]] = {}
        for assignment in tree.find_all(nodes.Assign):
            self._remember(assignment.target, assignment.node)
        for loop in tree.find_all(nodes.For):
            self._remember(loop.target, loop.iter)
        for keyword in tree.find_all(nodes.Keyword):  # namespace(end="</think>")
            self._remember(nodes.Name(keyword.key, "store"), keyword.value)

    def of(self, expressions: Iterable[nodes.Node]) -> list[str]:
        """The texts in expressions."""
        parts = [part for expression in expressions for part in _with_parts(expression)]
        variables = [name for name in map(_variable, parts) if name]
        return [*_texts(parts), *(text for name in variables for text in self._of_variable.get(name, ()))]

    def are_all(self, expression: nodes.Node) -> bool:
        """Whether an expression is a constant, or a variable that a template sets to constants."""
        return _variable(expression) in self._of_variable or isinstance(expression, nodes.Literal)

    def _remember(self, target: nodes.Node, value: nodes.Node) -> None:
        if self.are_all(value):
            for part in target.items if isinstance(target, nodes.Tuple) else [target]:
                self._of_variable.setdefault(_variable(part), []).extend(self.of([value]))


def _with_parts(expression: nodes.Node) -> list[nodes.Node]:
    return [expression, *expression.find_all((nodes.Const, nodes.Name, nodes.Getattr))]


def _variable(expression: nodes.Node) -> str:
    """The name of a variable, or of an attribute of a namespace; empty for other expressions."""
    match expression:
        case nodes.Name(name=name) | nodes.Getattr(attr=name) | nodes.NSRef(attr=name):
            return str(name)
    return ""


def _texts(parts: Iterable[nodes.Node]) -> list[str]:
    return [
        part.value for part in parts if isinstance(part, nodes.Const) and isinstance(part.value, str) and part.value
    ]
