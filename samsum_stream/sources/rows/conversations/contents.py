"""The content of a message: its text, its reasoning, and its tool calls.

"<think>A</think>B"                                                  reasoning A, text B
[{"type": "reasoning", "value": "A"}, {"type": "text", "value": "B"}]
"<reasoning>A</reasoning>B"
"<|begin_of_thought|>A<|end_of_thought|><|begin_of_solution|>B<|end_of_solution|>"
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from samsum_stream.sources.rows.conversations.calls import Call, calls_in
from samsum_stream.sources.rows.conversations.plain import as_text
from samsum_stream.sources.rows.conversations.problem import Problem
from samsum_stream.sources.rows.gather import typed_repr
from samsum_stream.values.rows import is_blank

REASONING_ENDS = ("</think>", "</reasoning>", "<|end_of_thought|>")
"""A text without one of these has no reasoning inside."""

_BLOCK = re.compile(
    r"\s*(?:<think>(?P<think>.*?)</think>|<reasoning>(?P<reasoning>.*?)</reasoning>"
    r"|<\|begin_of_thought\|>(?P<thought>.*?)<\|end_of_thought\|>"
    r"(?:\s*<\|begin_of_solution\|>(?P<solution>.*?)<\|end_of_solution\|>\s*\Z)?)",
    re.DOTALL,
)
_NEWLINES = "\r\n"


class Content(NamedTuple):
    """The parts of a content."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[Call, ...] = ()


def content_of(value: Any) -> Content:
    """The content in a text, a list of parts, or null."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return _of_parts(list(value))
    if value is None or isinstance(value, str):
        return Content(as_text(value, what="content"))
    problem = f"content must be a text, a list of parts or null, got {typed_repr(value)}; write it as text"
    raise Problem(problem, reason="wrong_type")


def _of_parts(parts: list[Any]) -> Content:
    texts, reasoning, calls = list[str](), list[str](), list[Call]()
    for part in parts:
        if isinstance(part, str):
            texts.append(as_text(part, what="a part of a content"))
            continue
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text":
            texts.append(as_text(_value(part), what="a part of type text"))
        elif kind in ("reasoning", "thinking"):
            reasoning.append(as_text(_value(part), what=f"a part of type {kind}"))
        elif kind == "tool_call":
            calls += calls_in(_value(part))
        else:
            raise _unknown_part(part, kind)
    return Content("".join(texts), "".join(reasoning), tuple(calls))


def _value(part: Mapping[str, Any]) -> Any:
    for name in ("text", "value", "content", "thinking", "reasoning", "tool_call"):
        if part.get(name) is not None:
            return part[name]
    problem = f"a part of a content must have its text in 'text' or 'value', got {typed_repr(part)}; fix the row"
    raise Problem(problem, reason="missing_field")


def _unknown_part(part: Any, kind: Any) -> Problem:
    if kind is None:
        problem = f'a part of a content must be like {{"type": "text", "text": ...}}, got {typed_repr(part)}'
        return Problem(f"{problem}; fix the row", reason="wrong_type")
    return Problem(
        f"a part of a content must have the type text, reasoning, thinking or tool_call, got {typed_repr(kind)}; only "
        "text is trained, so leave out the rows with images, audio and other parts",
        reason="wrong_type",
    )


def split_reasoning(text: str) -> tuple[str, str]:
    """The reasoning at the start of a text, and the rest; the reasoning is empty if the text has none.

    The opening `<think>` may be missing, because some templates write it as the end of the prompt.
    """
    while any(end in text for end in REASONING_ENDS):
        if match := _BLOCK.match(text):
            reasoning = match["think"] or match["reasoning"] or match["thought"] or ""
            solution = match["solution"]
            rest = text[match.end() :] if solution is None else solution.rstrip(_NEWLINES)
        else:
            reasoning, end, rest = text.partition("</think>")
            if not end or "<think>" in reasoning:
                break
        text = rest.lstrip(_NEWLINES)
        reasoning = reasoning.strip(_NEWLINES)
        if not is_blank(reasoning):
            return reasoning, text
    return "", text
