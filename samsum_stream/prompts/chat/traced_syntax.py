"""The syntax tree of a template in which each operation on a value is a call of the environment.

{{ a == b }}              {{ environment.traced_compare("eq", a, b) }}
{{ a ~ b }}               {{ environment.traced_text(a) ~ environment.traced_text(b) }}
{{ a[1:] }}               {{ environment.traced_slice(a, 1, none, none) }}
{% for b in a %}          {% for b in environment.traced_iter(a) %}
{{ f(*a, **b) }}          {{ f(*environment.traced_iter(a), **environment.traced_mapping(b)) }}
{{ {a: b} }}              {{ environment.traced_mapping({a: b}) }}
"""

from typing import Any

import jinja2.nodes as nodes
from jinja2.visitor import NodeTransformer


class TracedSyntax(NodeTransformer):
    """Replaces what the environment does not see by calls of its functions."""

    def visit_Compare(self, node: nodes.Compare) -> nodes.Expr:
        self.generic_visit(node)
        lefts = [node.expr, *(operand.expr for operand in node.ops)]
        compared = [
            _call("traced_compare", nodes.Const(operand.op), left, operand.expr, line=node.lineno)
            for left, operand in zip(lefts, node.ops, strict=False)
        ]
        result: nodes.Expr = compared[0]
        for other in compared[1:]:
            result = nodes.And(result, other)
        return result

    def visit_Dict(self, node: nodes.Dict) -> nodes.Expr:
        self.generic_visit(node)
        return _call("traced_mapping", node, line=node.lineno)

    def _visit_call(self, node: Any) -> Any:
        self.generic_visit(node)
        if node.dyn_args is not None:
            node.dyn_args = _call("traced_iter", node.dyn_args, line=node.lineno)
        if node.dyn_kwargs is not None:
            node.dyn_kwargs = _call("traced_mapping", node.dyn_kwargs, line=node.lineno)
        return node

    visit_Call = visit_Filter = visit_Test = _visit_call

    def visit_Concat(self, node: nodes.Concat) -> nodes.Concat:
        self.generic_visit(node)
        node.nodes = [_call("traced_text", part, line=node.lineno) for part in node.nodes]
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        parts = [part or nodes.Const(None) for part in (node.arg.start, node.arg.stop, node.arg.step)]
        return _call("traced_slice", node.node, *parts, line=node.lineno)

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        node.iter = _call("traced_iter", node.iter, line=node.lineno)
        return node


def _call(name: str, *args: Any, line: int) -> nodes.Expr:
    call = nodes.Call(nodes.EnvironmentAttribute(name), list(args), [], None, None)
    call.set_lineno(line)
    return call
