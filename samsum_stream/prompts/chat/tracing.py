r"""Runs a chat template on placeholders, and finds on which values the text of the template depends.

    {{ message.content | trim }}                     a known change of a value, which its placeholder shows
    {% if '</think>' in message.content %}           a decision: the text holds for values without </think>
    {% if message.content == messages[0].content %}  a decision: the text holds if the two values differ
    {% if message.content | length > 100 %}          `Undecided`: a placeholder cannot tell

A value is recognized by the characters around its placeholder, which survive when texts are joined. Whatever else a
template does with a value is `Undecided`. So the rule is an allow-list: an operation that is not named here is refused.
"""

import re
from collections.abc import Callable
from functools import wraps
from typing import Any

import jinja2
import jinja2.nodes as nodes
from jinja2.runtime import LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from samsum_stream.prompts.chat.decisions import Trace, require
from samsum_stream.prompts.chat.placeholder_texts import (
    Length,
    expanded,
    has_value,
    is_json,
    is_mapping_value,
    is_value,
    literals,
)
from samsum_stream.prompts.chat.template import CompiledTemplate
from samsum_stream.prompts.chat.traced_syntax import OPERATIONS, TracedSyntax

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
_FORMATS = ("format", "format_map")
_DICT_NAMES = frozenset(dir(dict))
_EQUALS = {"==": "eq", "eq": "eq", "equalto": "eq", "!=": "ne", "ne": "ne"}


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
        self.filters |= {name: getattr(self, name) for name in OPERATIONS}
        self.tests = {name: self._traced_test(name, function) for name, function in environment.tests.items()}
        self.finalize = self.traced_text
        self.trace = Trace()

    def compiled(self, source: str) -> jinja2.Template:
        """The template, with comparisons, slices and loops that this environment sees."""
        tree = TracedSyntax().visit(self.parse(source))
        self.is_traced = tree.find(nodes.EvalContextModifier) is None  # autoescape changes texts everywhere
        return self.template_class.from_code(self, self.compile(tree), self.make_globals(None))

    # ------------------------------------------------------------------------------------------- what Jinja calls

    def call(self, context: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function or a method of a value."""
        owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        of_jinja = {key: kwargs.pop(key) for key in ("_loop_vars", "_block_vars") if key in kwargs}
        values = [*args, *kwargs.values()]
        if isinstance(owner, str) and (is_value(owner) or any(map(has_value, values))):
            return self._method(owner, name, args, kwargs)
        if isinstance(function, LoopContext):
            self.traced_iter(*args[:1])
        if type(function).__name__ == "TemplateDict":
            [*map(self.traced_mapping, args[:1])]
        if isinstance(owner, list | tuple | dict) and (has_value(owner) or any(map(has_value, values))):
            require(name in _LIST_METHODS and not (isinstance(owner, dict) and any(map(has_value, args[:1]))))
        elif not isinstance(function, Macro | LoopContext | type) and not isinstance(owner, list | tuple | dict | type):
            require(type(function).__name__ == "TemplateDict" or not any(map(has_value, values)))
        return super().call(context, function, *args, **kwargs, **of_jinja)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """An attribute, or an item of a mapping."""
        if type(obj) is dict and attribute in obj and attribute not in _DICT_NAMES:
            return obj[attribute]  # the usual case, on a short way
        require(not is_mapping_value(obj) and not (is_value(obj) and attribute in _FORMATS))
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An item of a list or a mapping; a text has none that its placeholder could show."""
        require(not is_mapping_value(obj) and not has_value(argument))
        require(not (is_value(obj) and (isinstance(argument, int) or argument in _FORMATS)))
        return super().getitem(obj, argument)

    def call_unop(self, context: Any, operator: str, arg: Any) -> Any:
        """The sign of a number."""
        require(not has_value(arg))
        return super().call_unop(context, operator, arg)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Add or format."""
        if operator == "+" and type(left) is str and type(right) is str:
            return left + right  # the usual case, on a short way
        result = super().call_binop(context, operator, left, right)
        if any(map(has_value, (left, right))):
            require(not isinstance(left, Markup | Length) and not isinstance(right, Markup | Length))
            require(operator == "+" or (operator == "%" and _is_plain_format(left) and _are_texts(right)))
        return result

    # -------------------------------------------------------------------------------- what a traced template calls

    def traced_iter(self, iterable: Any) -> Any:
        """What a loop runs over."""
        require(not is_value(iterable) and not is_mapping_value(iterable))
        return iterable

    def traced_text(self, value: Any) -> Any:
        """What is printed, or joined by `~`: the text of a list or a mapping does not show its placeholders."""
        require(isinstance(value, str) or not has_value(value))
        return value

    def traced_mapping(self, mapping: Any) -> Any:
        """A mapping whose keys are no values, which could be equal; what else becomes a mapping has no values."""
        require(not (any(map(is_value, mapping)) if isinstance(mapping, dict) else has_value(mapping)))
        return mapping

    def traced_slice(self, obj: Any, start: Any, stop: Any, step: Any) -> Any:
        """A part of a list, or a text without characters of the template at its edges."""
        require(not any(map(has_value, (start, stop, step))))
        part = obj[start:stop:step]
        if is_value(obj):
            first, *_, last = literals(obj)
            require(step is None and 0 <= (start or 0) <= len(first) and -len(last) <= (stop or 0) <= 0)
            require(not is_json(obj) or obj == part + "}")
        return part

    def traced_compare(self, left: Any, name: str, right: Any) -> Any:
        """The result of a comparison."""
        return self.trace.compare(name, left, right)

    # ----------------------------------------------------------------------------------- methods, filters and tests

    def _method(self, owner: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a method of a text."""
        function = getattr(owner, name)
        if not is_value(owner):
            require(name == "join" and not isinstance(owner, Markup) and not isinstance(args[0], str))
            return owner.join([*args[0]])
        if name in _STRIPS:
            require(args in ((), (None,), ("\n",)) and not kwargs)
        elif name == "replace":
            return self._replaced(owner, *args)
        else:
            require(name in _SEARCHES and bool(args) and (len(args) == 1 or "with" not in name))
            for constant in args[0] if isinstance(args[0], tuple) else args[:1]:
                require(isinstance(constant, str) and not is_value(constant))
                is_found = self.trace.search(owner, constant)
                require(not is_found or name not in ("find", "rfind"))
        return function(*args, **kwargs)

    def _replaced(self, text: Any, old: Any = None, new: Any = None, *others: Any) -> str:
        require(is_value(text) and isinstance(old, str) and not is_value(old) and not self.trace.search(text, old))
        return str(text)

    def _traced_filter(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        num_before = int(hasattr(function, "jinja_pass_arg"))

        @wraps(function)
        def traced(*args: Any, **kwargs: Any) -> Any:
            before, values = args[:num_before], [*map(expanded, args[num_before:])]
            if not any(map(has_value, (*values, *kwargs.values()))):
                return function(*before, *values, **kwargs)
            first, *others = values
            if name in ("count", "length") and is_value(first):
                return Length(first)
            is_one = is_value(first) or is_mapping_value(first)
            require(name in (_TEXT_FILTERS if is_one else _LIST_FILTERS))
            if name == "replace":
                return self._replaced(first, *others)
            if name in ("safe", "string", "trim"):
                require(isinstance(first, str))
            if name == "trim":
                require(not others and not kwargs)
            if name == "join":
                require(all(isinstance(item, str) for item in first) and not kwargs and len(others) < 2)
            if name == "tojson":
                require(not others and not kwargs.get("sort_keys") and not kwargs.get("ensure_ascii"))
                require(kwargs.get("separators") in (None, (",", ":")))  # a mapping of one value shows no comma
            return function(*before, *values, **kwargs)

        return traced

    def _traced_test(self, name: str, function: Any) -> Callable[..., Any]:
        num_before = int(hasattr(function, "jinja_pass_arg"))

        @wraps(function)
        def traced(*args: Any, **kwargs: Any) -> Any:
            values = args[num_before:]
            if name in _EQUALS:
                return self.trace.compare(_EQUALS[name], *values)
            if name == "in":
                return self.trace.is_in(*values)
            require(name in _TYPE_TESTS or not any(map(has_value, values)))
            require(not any(isinstance(value, Length) for value in values))
            return function(*args, **kwargs)

        return traced


def _is_plain_format(text: Any) -> bool:
    """Whether a text formats other texts without changing them."""
    return isinstance(text, str) and not is_value(text) and "%" not in re.sub("%[%s]", "", text)


def _are_texts(value: Any) -> bool:
    return all(isinstance(text, str) for text in (value if isinstance(value, tuple) else (value,)))


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
        self.environment.trace = Trace()
        return run(), self.environment.trace
