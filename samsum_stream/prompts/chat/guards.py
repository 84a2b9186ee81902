"""The texts on which a chat template may decide, from its syntax tree.

{% if '</think>' in message.content %}          the template decides on a text that has </think>
{% if message.role == 'user' %}                 the template decides on a role, which is no text
"""

from collections.abc import Sequence
from typing import NamedTuple

import jinja2.nodes as nodes

_IGNORED_CALLS = {"get", "raise_exception", "strftime_now", "namespace", "range", "strip", "lstrip", "rstrip"}
_IGNORED_FILTERS = {"attr", "default", "groupby", "indent", "join", "map", "rejectattr", "selectattr", "tojson", "trim"}
_IGNORED_WORDS = {
    "arguments", "assistant", "audio", "audio_url", "content", "documents", "enable_thinking", "function", "id",
    "image", "image_url", "ipython", "name", "reasoning", "reasoning_content", "role", "system", "text", "thinking",
    "tool", "tool_call_id", "tool_calls", "tools", "type", "user", "video", "video_url",
}  # fmt: skip
"""Names of fields, roles and kinds of content, with which templates compare these."""


class Guards(NamedTuple):
    """The texts on which a template may decide.

    Attributes:
        contained: Texts that it may look for in other texts.
        equal: Texts with which it may compare other texts.
        compares: Whether it may compare the texts of two messages.
    """

    contained: tuple[str, ...]
    equal: frozenset[str]
    compares: bool

    def allow(self, texts: Sequence[str], joined: str) -> bool:
        """Whether a template cannot decide on these texts; `joined` has all of them."""
        if any(map(joined.__contains__, self.contained)):
            return False
        return self.equal.isdisjoint(texts) and not (self.compares and len({*texts}) < len(texts))


def guards_of(tree: nodes.Template) -> Guards:
    """The texts on which a template may decide, from its syntax tree."""
    contained, searched, equal, compares = set[str](), set[str](), set[str](), False
    for compare in tree.find_all(nodes.Compare):
        compares |= _compares_texts(compare)
        for operand in compare.ops:
            is_search = operand.op in ("in", "notin") and isinstance(compare.expr, nodes.Const)
            (contained if is_search else equal).update(_constants([compare.expr, operand.expr]))
            if is_search and _is_text(operand.expr):
                searched.update(_constants([compare.expr]))
    for call in tree.find_all(nodes.Call):
        name = call.node.attr if isinstance(call.node, nodes.Getattr) else getattr(call.node, "name", "")
        if name not in _IGNORED_CALLS:
            contained.update(_constants(call.args))
    for filtered in tree.find_all(nodes.Filter):
        if filtered.name not in _IGNORED_FILTERS:
            contained.update(_constants(filtered.args))
    for test in tree.find_all(nodes.Test):
        equal.update(_constants(test.args))
    names = {
        text for text in contained - (searched - _IGNORED_WORDS) if text.isidentifier()
    }  # of fields: "enum" in schema
    return Guards(tuple(sorted(contained - names)), frozenset((equal | names) - _IGNORED_WORDS), compares)


def _compares_texts(compare: nodes.Compare) -> bool:
    """Whether a comparison may be one of the texts of two messages: no side is a constant, and one is a text."""
    sides = [compare.expr, *(operand.expr for operand in compare.ops)]
    has_constant = any(isinstance(side, nodes.Const | nodes.List | nodes.Tuple) for side in sides)
    return not has_constant and any(map(_is_text, sides))


def _is_text(expression: nodes.Node) -> bool:
    """Whether an expression may be a text of a message, by the names in it, such as `message.content`."""
    names = [node.name for node in (expression, *expression.find_all(nodes.Name)) if isinstance(node, nodes.Name)]
    found = [node for node in (expression, *expression.find_all(nodes.Getattr)) if isinstance(node, nodes.Getattr)]
    words = [*names, *(node.attr for node in found), *_constants([expression])]
    return any(text in word for word in words for text in ("content", "text", "reasoning"))


def _constants(expressions: Sequence[nodes.Node]) -> list[str]:
    """The texts in expressions, apart from the empty text."""
    found = [node for expression in expressions for node in (expression, *expression.find_all(nodes.Const))]
    return [
        node.value for node in found if isinstance(node, nodes.Const) and isinstance(node.value, str) and node.value
    ]
