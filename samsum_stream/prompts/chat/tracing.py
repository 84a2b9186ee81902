r"""Runs a chat template on placeholders, and finds on which values the text of the template depends.

    {{ message.content | trim }}                     a known change of a value, which its placeholder shows
    {% if '</think>' in message.content %}           a decision: the text holds for values without </think>
    {% if message.content == messages[0].content %}  a decision: the text holds if the two values differ
    {% if message.content | length > 100 %}          `Undecided`: a placeholder cannot tell

A value is recognized by the characters around its placeholder, which survive when texts are joined. Whatever else a
template does with a value is `Undecided`. So the rule is an allow-list: an operation that is not named here is refused.
"""

import operator
import re
from collections.abc import Callable, Collection, ItemsView, Iterator, KeysView, Mapping, ValuesView
from dataclasses import dataclass, field
from functools import wraps
from types import FunctionType, MethodType, NoneType
from typing import Any

import jinja2
import jinja2.nodes as nodes
from jinja2.runtime import LoopContext, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer
from markupsafe import Markup

from samsum_stream.prompts.chat.template import CompiledTemplate, Undecided
from samsum_stream.values.conversations import common_prefix_length, texts_in

OPEN, CLOSE = "\ue0f0", "\ue0f1"
"""The characters around the number of a placeholder."""

ID_LENGTH = 9
"""The length of the ids of tool calls that Mistral's templates require."""

_VALUE = re.compile(rf"\s*{OPEN}[^{CLOSE}]*{CLOSE}\s*")
"""A placeholder, and the white space at its edges, which may belong to it."""

_TYPE_TESTS = {
    "boolean", "callable", "defined", "false", "float", "integer", "iterable", "mapping", "none", "number", "sequence",
    "string", "true", "undefined",
}  # fmt: skip
_TEXT_FILTERS = {"d", "default", "replace", "safe", "string", "tojson", "trim"}
_LIST_FILTERS = _TEXT_FILTERS | {
    "count", "first", "items", "join", "last", "length", "list", "map", "reject", "rejectattr", "reverse",
    "select", "selectattr",
}  # fmt: skip
"""The filters that look at no value inside a list or a mapping. Those that call other filters or tests are traced."""

_LIST_METHODS = {
    "append", "copy", "extend", "get", "insert", "items", "keys", "pop", "setdefault", "update", "values",
}  # fmt: skip
_SEARCHES = {"endswith", "find", "partition", "rfind", "rpartition", "rsplit", "split", "startswith"}
_STRIPS = {"lstrip", "rstrip", "strip"}
_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lteq": operator.le,
    "gt": operator.gt,
    "gteq": operator.ge,
}
_FORMATS = ("format", "format_map")
_ARGUMENTS = f'{{"{OPEN}'
"""The start of the placeholder of arguments that are given as text."""

_OF_IDS = {("eq", ID_LENGTH), ("ne", ID_LENGTH)}
_OF_TEXTS = {("eq", 0), ("ne", 0), ("gt", 0), ("lteq", 0), ("gteq", 1), ("lt", 1)}
"""The comparisons of a length whose result is known."""

_EQUALS = {"==": "eq", "eq": "eq", "equalto": "eq", "!=": "ne", "ne": "ne"}


class _Length(int):
    """The length of a value. A text is not blank, so it is more than 0; of an id, a shape has whether it is 9."""

    is_of_id = False


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


class TracingEnvironment(ImmutableSandboxedEnvironment):
    """The environment of a template, in which each operation on a value is known, decided, or `Undecided`.

    Args:
        environment: The environment of transformers, whose filters and functions are used.
    """

    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)
    intercepted_unops = frozenset(ImmutableSandboxedEnvironment.default_unop_table)

    def __init__(self, environment: jinja2.Environment) -> None:
        self.__dict__.update(environment.__dict__)
        self.filters = {name: self._traced_filter(name, function) for name, function in environment.filters.items()}
        self.tests = {name: self._traced_test(name, function) for name, function in environment.tests.items()}
        self.finalize = self.traced_text
        self.begin()

    def begin(self) -> None:
        """Begin a new trace."""
        self.trace = Trace()
        self._json: set[str] = set()
        self._has_lengths = False

    def compiled(self, source: str) -> jinja2.Template:
        """The template, with comparisons, slices and loops that this environment sees."""
        tree = _Traced().visit(self.parse(source))
        self.is_traced = tree.find(nodes.EvalContextModifier) is None  # autoescape changes texts everywhere
        return self.template_class.from_code(self, self.compile(tree), self.make_globals(None))

    # ------------------------------------------------------------------------------------------- what Jinja calls

    def call(self, context: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function or a method of a value."""
        owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        of_jinja = {key: kwargs.pop(key) for key in ("_loop_vars", "_block_vars") if key in kwargs}
        if owner is self:  # the functions below
            return function(*args, **kwargs)
        values = [*args, *kwargs.values()]
        if isinstance(owner, str) and (_is_value(owner) or any(map(_has_value, values))):
            return self._method(owner, name, args, kwargs)
        if isinstance(function, LoopContext):
            self.traced_iter(*args[:1])
        if type(function).__name__ == "TemplateDict":
            [*map(self.traced_mapping, args[:1])]
        if isinstance(owner, list | tuple | dict) and (_has_value(owner) or any(map(_has_value, values))):
            _require(name in _LIST_METHODS and not (isinstance(owner, dict) and any(map(_has_value, args[:1]))))
        elif not isinstance(function, Macro | LoopContext | type) and not isinstance(owner, list | tuple | dict | type):
            _require(type(function).__name__ == "TemplateDict" or not any(map(_has_value, values)))
        return super().call(context, function, *args, **kwargs, **of_jinja)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """An attribute, or an item of a mapping."""
        _require(not _is_mapping_value(obj) and not (_is_value(obj) and attribute in _FORMATS))
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An item of a list or a mapping; a text has none that its placeholder could show."""
        _require(not _is_mapping_value(obj) and not _has_value(argument))
        _require(not (_is_value(obj) and (isinstance(argument, int) or argument in _FORMATS)))
        return super().getitem(obj, argument)

    def call_unop(self, context: Any, operator: str, arg: Any) -> Any:
        """The sign of a number."""
        _require(not _has_value(arg))
        return super().call_unop(context, operator, arg)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Add or format."""
        result = super().call_binop(context, operator, left, right)
        if any(map(_has_value, (left, right))):
            _require(not isinstance(left, Markup | _Length) and not isinstance(right, Markup | _Length))
            _require(operator == "+" or (operator == "%" and _is_plain_format(left) and _are_texts(right)))
        return result

    # -------------------------------------------------------------------------------- what a traced template calls

    def traced_iter(self, iterable: Any) -> Any:
        """What a loop runs over."""
        _require(not _is_value(iterable) and not _is_mapping_value(iterable))
        return iterable

    def traced_text(self, value: Any) -> Any:
        """What is printed, or joined by `~`: the text of a list or a mapping does not show its placeholders."""
        _require(isinstance(value, str) or not _has_value(value))
        return value

    def traced_mapping(self, mapping: Any) -> Any:
        """A mapping whose keys are no values, which could be equal."""
        _require(not _is_mapping_value(mapping))
        return mapping

    def traced_slice(self, obj: Any, start: Any, stop: Any, step: Any) -> Any:
        """A part of a list, or a text without characters of the template at its edges."""
        _require(not any(map(_has_value, (start, stop, step))))
        part = obj[start:stop:step]
        if _is_value(obj):
            first, *_, last = _literals(obj)
            _require(step is None and 0 <= (start or 0) <= len(first) and -len(last) <= (stop or 0) <= 0)
            if self._is_json(obj):
                _require(not start and obj.removesuffix(part) == obj and obj == part + "}")
                self._json.add(part)
        return part

    def traced_compare(self, name: str, left: Any, right: Any) -> Any:
        """The result of a comparison."""
        if name in ("in", "notin"):
            is_in = self._is_in(left, right)
            return is_in if name == "in" else not is_in
        if isinstance(left, _Length) or isinstance(right, _Length):
            _require(isinstance(left, _Length) and (name, right) in (_OF_IDS if left.is_of_id else _OF_TEXTS))
        elif _has_value(left) or _has_value(right):
            _require(name in ("eq", "ne"))
            return self._equal(left, right) is (name == "eq")
        return _OPERATORS[name](left, right)

    # ------------------------------------------------------------------------------------------------ the decisions

    def _equal(self, left: Any, right: Any) -> bool:
        """Whether two values are equal: texts with placeholders are if they are the same, and must differ if not."""
        if isinstance(left, str) and isinstance(right, str):
            return left == right or self._differ(left, right)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            if _is_mapping_value(left) or _is_mapping_value(right):
                _require(left == right)
                return True
            return left.keys() == right.keys() and self._all_equal([(left[key], right[key]) for key in left])
        if isinstance(left, list | tuple) and type(left) is type(right):
            return len(left) == len(right) and self._all_equal([*zip(left, right, strict=True)])
        _require(not isinstance(left, _Length) and not isinstance(right, _Length))
        return False if _has_value(left) or _has_value(right) else bool(left == right)

    def _all_equal(self, pairs: Collection[tuple[Any, Any]]) -> bool:
        if any(left != right for left, right in pairs if not _has_value(left) and not _has_value(right)):
            return False
        return all(self._equal(left, right) for left, right in pairs)  # one pair that differs is enough

    def _differ(self, left: str, right: str) -> bool:
        """False, with the decision under which two different texts differ."""
        if not _is_value(left) and not _is_value(right):
            return False
        if _is_value(left) and _is_value(right):
            if not (_is_id(left) and _is_id(right)):  # a shape has the pattern of equal ids
                self.trace.different.add((left, right))
            return False
        value, constant = (left, right) if _is_value(left) else (right, left)
        _require(not self._is_json(value))
        if constant.strip():  # no value is blank
            _require(_is_one_value(value))
            self.trace.equal.add(constant.strip())
        return False

    def _is_in(self, item: Any, container: Any) -> bool:
        if isinstance(container, str):
            if not _has_value(item) and not _is_value(container):
                return item in container
            _require(isinstance(item, str) and not _is_value(item))
            return self._contains(container, item)
        container = _expanded(container)
        if not _has_value(item) and not _has_value(container):
            return item in container
        _require(not _is_mapping_value(container))
        return any(self._equal(item, other) for other in container)

    def _contains(self, text: str, constant: str) -> bool:
        """Whether a text contains a constant; its values must not."""
        is_written = not self._is_json(text) and any(constant in literal for literal in _literals(text))
        return is_written or self._search(text, constant)

    def _search(self, text: str, constant: str) -> bool:
        """Whether the parts of a text that the template wrote contain a constant; its values must not."""
        _require(not self._is_json(text))
        literals, core = _literals(text), constant.strip()
        _require(constant == core or _is_one_value(text))  # white space can be of the template or of a value
        _require(bool(core) and not any(core in value for value in _VALUE.findall(text)))
        # The constant could also begin in a value and end in what the template wrote, or the other way round.
        _require(not any(literal in core[1:-1] for literal in literals[1:-1]))
        _require(not any(_overlap(literal, core[:-1]) for literal in literals[:-1]))
        _require(not any(_overlap(core[1:], literal) for literal in literals[1:]))
        self.trace.contained.add(core)
        return any(constant in literal for literal in literals)

    def _is_json(self, text: str) -> bool:
        """Whether a part of a text is JSON, which can have signs that its values do not have."""
        return _ARGUMENTS in text or self._json_in(text)

    def _json_in(self, text: str) -> bool:
        return any(json in text for json in self._json)

    # ----------------------------------------------------------------------------------- methods, filters and tests

    def _method(self, owner: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a method of a text."""
        function = getattr(owner, name)
        if not _is_value(owner):
            _require(name == "join" and not isinstance(owner, Markup) and not isinstance(args[0], str))
            return owner.join([*args[0]])
        if name in _STRIPS:
            _require(args in ((), (None,), ("\n",)) and not kwargs)
        elif name == "replace":
            return self._replaced(owner, *args)
        else:
            _require(name in _SEARCHES and bool(args))
            for constant in args[0] if isinstance(args[0], tuple) else args[:1]:
                _require(isinstance(constant, str) and not _is_value(constant))
                is_found = self._search(owner, constant)
                _require(not is_found or name not in ("find", "rfind"))
        return function(*args, **kwargs)

    def _replaced(self, text: Any, old: Any = None, new: Any = None, *others: Any) -> str:
        _require(_is_value(text) and isinstance(old, str) and not _is_value(old) and not self._search(text, old))
        return str(text)

    def _traced_filter(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        num_before = int(hasattr(function, "jinja_pass_arg"))

        @wraps(function)
        def traced(*args: Any, **kwargs: Any) -> Any:
            before, values = args[:num_before], [*map(_expanded, args[num_before:])]
            if not any(map(_has_value, (*values, *kwargs.values()))):
                return function(*before, *values, **kwargs)
            first, *others = values
            if name in ("count", "length") and _is_value(first):
                self._has_lengths = True
                return _length_of(first)
            _require(not self._has_lengths or name in ("d", "default") or not any(map(_has_length, values)))
            is_one = _is_value(first) or _is_mapping_value(first)
            _require(name in (_TEXT_FILTERS if is_one else _LIST_FILTERS))
            if name == "replace":
                return self._replaced(first, *others)
            if name in ("safe", "string", "trim"):
                _require(isinstance(first, str))
            if name == "trim":
                _require(not others and not kwargs)
            if name == "join":
                _require(all(isinstance(item, str) for item in first) and not kwargs and len(others) < 2)
            if name == "tojson":
                _require(not others and not kwargs.get("sort_keys") and not kwargs.get("ensure_ascii"))
                _require(not self._json or not any(map(self._json_in, texts_in(first))))  # it is escaped twice
            result = function(*before, *values, **kwargs)
            self._json |= {result} if name == "tojson" else set()
            return result

        return traced

    def _traced_test(self, name: str, function: Any) -> Callable[..., Any]:
        num_before = int(hasattr(function, "jinja_pass_arg"))

        @wraps(function)
        def traced(*args: Any, **kwargs: Any) -> Any:
            values = args[num_before:]
            if name in _EQUALS:
                return self.traced_compare(_EQUALS[name], *values)
            if name == "in":
                return self._is_in(*values)
            _require(name in _TYPE_TESTS or not any(map(_has_value, values)))
            return function(*args, **kwargs)

        return traced


class _Traced(NodeTransformer):
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


def _require(is_known: bool) -> None:
    if not is_known:
        raise Undecided


def _is_value(value: Any) -> bool:
    """Whether a value is a text with a placeholder."""
    return isinstance(value, str) and OPEN in value


def _is_one_value(text: str) -> bool:
    """Whether a text is one placeholder."""
    return _literals(text) == ["", ""]


def _is_plain_format(text: Any) -> bool:
    """Whether a text formats other texts without changing them."""
    return isinstance(text, str) and not _is_value(text) and "%" not in re.sub("%[%s]", "", text)


def _are_texts(value: Any) -> bool:
    return all(isinstance(text, str) for text in (value if isinstance(value, tuple) else (value,)))


def _is_mapping_value(value: Any) -> bool:
    """Whether a value is the placeholder of a mapping."""
    return isinstance(value, dict) and len(value) == 1 and _is_value(next(iter(value)))


def _is_id(value: Any) -> bool:
    """Whether a value is the placeholder of an id, which alone has leading zeros."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


_ID = re.compile(rf"{OPEN}[a-zA-Z]*0[0-9]{{4,}}{CLOSE}")


def _expanded(value: Any) -> Any:
    """An iterator or a view of a mapping as a list, which shows its values."""
    return [*value] if isinstance(value, Iterator | KeysView | ValuesView | ItemsView) else value


def _length_of(text: str) -> _Length:
    length = _Length(len(text))
    length.is_of_id = _is_id(text)
    return length


def _has_value(value: Any) -> bool:
    """Whether a value is a placeholder, or has one inside."""
    if isinstance(value, str):
        return OPEN in value
    if isinstance(value, Mapping):
        return any(map(_has_value, value)) or any(map(_has_value, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_has_value, value))
    return isinstance(value, _Length) or not isinstance(value, _WITHOUT_VALUES)


_WITHOUT_VALUES = (NoneType, int, float, Undefined, Macro, FunctionType, MethodType)


def _literals(text: str) -> list[str]:
    """The parts of a text before, between and after its placeholders."""
    return _VALUE.split(text)


def _overlap(left: str, right: str) -> bool:
    """Whether the end of one text is the start of another one."""
    return any(left.endswith(right[:length]) for length in range(1, min(len(left), len(right)) + 1))


def _has_length(value: Any) -> bool:
    """Whether a value is a length, or has one inside."""
    if isinstance(value, Mapping):
        return any(map(_has_length, value.values()))
    return isinstance(value, _Length) or (isinstance(value, list | tuple) and any(map(_has_length, value)))


def require_difference(one: str, other: str, trace: Trace) -> None:
    """Decide that two different texts differ for all values; raises `Undecided` if that depends on values.

    The template wrote both texts where they start to differ, or one has a value there. Then this value must not
    contain what the other text has.
    """
    start = common_prefix_length(one, other)
    values = [next((m for m in _VALUE.finditer(text) if m.start() <= start < m.end()), None) for text in (one, other)]
    if start == min(len(one), len(other)) or values == [None, None]:
        return
    with_value, literal = (one, other) if values[0] else (other, one)
    value = values[0] or values[1]
    _require(None in values and value is not None)
    assert value is not None
    core = literal[start:].partition(OPEN)[0].strip()
    after = with_value[value.end() :].partition(OPEN)[0]
    _require(bool(core) and bool(after) and after not in core and not _overlap(core, after))
    trace.contained.add(core)


class TracedTemplate(CompiledTemplate):
    """A template that runs on placeholders; raises `Undecided`.

    Attributes:
        environment: Has the trace of the runs.
    """

    def __init__(self, template: CompiledTemplate) -> None:
        self.__dict__.update(template.__dict__)
        self._original = template
        self.environment = TracingEnvironment(template.compiled.environment)
        self.compiled = self.environment.compiled(template.source)

    def __reduce__(self) -> tuple[Any, ...]:
        return TracedTemplate, (self._original,)

    def trace_of(self, run: Callable[[], Any]) -> tuple[Any, Trace]:
        """The result of some runs of the template, and what it decided in them."""
        self.environment.begin()
        return run(), self.environment.trace
