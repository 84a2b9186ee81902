"""The syntax tree of a template in which each operation on a value is a filter of the environment.

{{ a == b }}              {{ a | traced_compare("eq", b) }}
{{ a ~ b }}               {{ (a | traced_text) ~ (b | traced_text) }}
{{ a[1:] }}               {{ a | traced_slice(1, none, none) }}
{% for b in a %}          {% for b in a | traced_iter %}
{{ f(*a, **b) }}          {{ f(*(a | traced_iter), **(b | traced_mapping)) }}
{{ {a: b} }}              {{ {a: b} | traced_mapping }}

Jinja calls a filter at once; a function takes the way through the sandbox.
"""

from typing import Any

import jinja2.nodes as nodes
from jinja2.visitor import NodeTransformer

OPERATIONS = ("traced_compare", "traced_iter", "traced_mapping", "traced_slice", "traced_text")
"""The filters that the environment has to have."""


class TracedSyntax(NodeTransformer):
    """Replaces what the environment does not see by calls of its functions."""

    def visit_Compare(self, node: nodes.Compare) -> nodes.Expr:
        self.generic_visit(node)
        lefts = [node.expr, *(operand.expr for operand in node.ops)]
        compared = [
            _filtered(left, "traced_compare", nodes.Const(operand.op), operand.expr)
            for left, operand in zip(lefts, node.ops, strict=False)
        ]
        result: nodes.Expr = compared[0]
        for other in compared[1:]:
            result = nodes.And(result, other)
        return result

    def visit_Dict(self, node: nodes.Dict) -> nodes.Expr:
        self.generic_visit(node)
        return _filtered(node, "traced_mapping")

    def _visit_call(self, node: Any) -> Any:
        self.generic_visit(node)
        if node.dyn_args is not None:
            node.dyn_args = _filtered(node.dyn_args, "traced_iter")
        if node.dyn_kwargs is not None:
            node.dyn_kwargs = _filtered(node.dyn_kwargs, "traced_mapping")
        return node

    visit_Call = visit_Filter = visit_Test = _visit_call

    def visit_Concat(self, node: nodes.Concat) -> nodes.Concat:
        self.generic_visit(node)
        node.nodes = [_filtered(part, "traced_text") for part in node.nodes]
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        parts = [part or nodes.Const(None) for part in (node.arg.start, node.arg.stop, node.arg.step)]
        return _filtered(node.node, "traced_slice", *parts)

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "traced_iter")
        return node


def _filtered(value: nodes.Node, name: str, *args: nodes.Node) -> nodes.Expr:
    return nodes.Filter(value, name, [*args], [], None, None, lineno=value.lineno)
