"""What a conversation has beside its messages: a system message, tools, documents, and variables of the template."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from samsum_stream.errors.wording import did_you_mean
from samsum_stream.sources.rows.conversations.plain import NOT_UNICODE, as_list, as_text, is_unicode, parsed, plain
from samsum_stream.sources.rows.conversations.problem import Problem
from samsum_stream.sources.rows.gather import typed_repr
from samsum_stream.values.rows import is_blank

TEMPLATE_KWARGS = (
    "builtin_tools",
    "citation_mode",
    "clear_thinking",
    "custom_tools",
    "date_string",
    "enable_thinking",
    "preserve_thinking",
    "reasoning_effort",
    "safety_mode",
    "thinking",
    "thinking_budget",
    "truncate_history_thinking",
    "xml_tools",
)
"""The variables of a template that a row can set; others could replace the template, the messages, or its date."""


class Extras(NamedTuple):
    """What a conversation has beside its messages; `system` is empty if the row has no system message there."""

    system: str
    tools: list[dict[str, Any]] | None
    documents: list[dict[str, Any]] | None
    kwargs: dict[str, Any]


def extras_of(system: Any, tools: Any, documents: Any, kwargs: Any) -> Extras:
    """The extras in the values of a row; raises `Problem` for a value that breaks a rule."""
    text = as_text(system, what="the system message", field="system")
    extras = Extras("" if is_blank(text) else text, _tools(tools), _documents(documents), _kwargs(kwargs))
    for field, value in (("documents", extras.documents), ("template_kwargs", extras.kwargs)):
        if value and not is_unicode(value):
            raise Problem(NOT_UNICODE, reason="not_unicode", field=field)
    return extras


def _tools(value: Any) -> list[dict[str, Any]] | None:
    if value is None:
        return None
    return _tools_in_json(value) if type(value) is str else _tools_in_list(value)


def _tools_in_list(value: Any) -> list[dict[str, Any]] | None:
    tools = as_list(value, what="tools", field="tools")
    schemas = [_tool(tool) for tool in tools or ()]
    if not is_unicode(schemas):
        raise Problem(NOT_UNICODE, reason="not_unicode", field="tools")
    return schemas or None


_tools_in_json = lru_cache(maxsize=256)(_tools_in_list)
"""Rows of a data set often repeat their tools."""


def _tool(value: Any) -> dict[str, Any]:
    schema = plain(parsed(value, what="a tool", field="tools"), keeps_nulls=False, what="a tool", field="tools")
    function = schema.get("function", schema) if isinstance(schema, dict) else None
    function = parsed(function, what="the function of a tool", field="tools")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Problem(
            f"a tool must be a mapping with a name, a description and parameters, got {typed_repr(value)}; write it as "
            '{"type": "function", "function": {"name": ..., "description": ..., "parameters": {...}}}',
            reason="wrong_type",
            field="tools",
        )
    if function is schema:
        function = {key: item for key, item in schema.items() if key != "type"}
    if isinstance(function.get("parameters"), str):
        what = f"the parameters of the tool {function['name']!r}"
        parameters = parsed(function["parameters"], what=what, field="tools")
        function = {**function, "parameters": plain(parameters, keeps_nulls=False, what=what, field="tools")}
    return {"type": "function", "function": function}


def _documents(value: Any) -> list[dict[str, Any]] | None:
    if value is None:
        return None
    documents = as_list(value, what="documents", field="documents")
    return [_document(document) for document in documents] if documents else None


def _document(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"text": as_text(value, what="a document", field="documents")}
    if not isinstance(value, Mapping):
        problem = f'a document must be a text or a mapping, got {typed_repr(value)}; write it as {{"text": ...}}'
        raise Problem(problem, reason="wrong_type", field="documents")
    document: dict[str, Any] = plain(value, keeps_nulls=False, what="a document", field="documents")
    return document


def _kwargs(value: Any) -> dict[str, Any]:
    field = "template_kwargs"
    if value is None or value == "":
        return {}
    values = parsed(value, what=field, field=field)
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        problem = f"{field} must be a mapping, or the JSON text of one, got {typed_repr(value)}; fix the row"
        raise Problem(problem, reason="wrong_type", field=field)
    kwargs: dict[str, Any] = plain(values, keeps_nulls=False, what=field, field=field)
    for name in kwargs:
        if name not in TEMPLATE_KWARGS:
            problem = f"a row cannot set {name!r} for the template; {did_you_mean(str(name), TEMPLATE_KWARGS)}"
            remedy = (
                "give it a column of its own"
                if name in ("tools", "documents", "messages")
                else f"leave it out of {field}"
            )
            raise Problem(f"{problem}; {remedy}", field=field)
    return kwargs
