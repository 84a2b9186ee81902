"""Tool calls in one form: `{"type": "function", "function": {"name": ..., "arguments": {...}}}`, possibly with an id.

OpenAI    {"id": ..., "type": "function", "function": {"name": ..., "arguments": "{...}"}}
flat      {"name": ..., "arguments": {...}}
legacy    "function_call": {"name": ..., "arguments": "{...}"}
"""

from collections.abc import Mapping
from typing import Any

from samsum_stream.sources.rows.conversations.plain import as_list, as_text, parsed, plain
from samsum_stream.sources.rows.conversations.problem import Problem
from samsum_stream.sources.rows.gather import typed_repr

Call = dict[str, Any]


def calls_of(value: Any, *, legacy: Any = None) -> list[Call]:
    """The calls in `tool_calls`, or the call in the legacy field `function_call`."""
    calls = as_list(value, what="tool_calls") or []
    return [_call(call) for call in calls] or ([] if legacy is None or legacy == "" else calls_in(legacy))


def calls_in(value: Any) -> list[Call]:
    """The calls in a JSON text of one call or of a list of calls; a value that is no text is used as it is."""
    calls = parsed(value, what="a tool call")
    return [_call(call) for call in (calls if isinstance(calls, list) else [calls])]


def _call(value: Any) -> Call:
    value = parsed(value, what="a tool call")
    function = value.get("function") if isinstance(value, Mapping) else None
    function = value if function is None else parsed(function, what="the function of a tool call")
    if not isinstance(value, Mapping) or not isinstance(function, Mapping) or not function.get("name"):
        raise Problem(
            f"a tool call must be a mapping with a name and arguments, got {typed_repr(value)}; write it as "
            '{"name": ..., "arguments": {...}}',
            reason="wrong_type",
        )
    name = as_text(function["name"], what="the name of a tool call")
    call = {"type": "function", "function": {"name": name, "arguments": _arguments(function.get("arguments"), name)}}
    identifier = as_text(value.get("id"), what="the id of a tool call")
    return {"id": identifier, **call} if identifier else call


def _arguments(value: Any, name: str) -> dict[str, Any]:
    what = f"the arguments of the call of {name!r}"
    if value is None or value == "":
        return {}
    arguments = parsed(value, what=what)
    if arguments is None:
        return {}
    if not isinstance(arguments, Mapping):
        problem = f"{what} must be a JSON object, got {typed_repr(value)}; write them as a mapping of names to values"
        raise Problem(problem, reason="wrong_type")
    converted: dict[str, Any] = plain(arguments, keeps_nulls=True, what=what)
    return converted
