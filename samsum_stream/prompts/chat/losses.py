"""The parts of a message that are not in the target of its turn.

A template may drop a part of some messages only, such as the content beside a tool call. No part of a trained turn may
be lost, so each message is compared with its target.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from samsum_stream.values.conversations import Message, reasoning_of, texts_in

_ESCAPES = re.compile(r"\\+[nrt]|[\\\s'\"]")
"""What differs between the ways in which templates quote a text."""

_INLINE = re.compile(r"\s*<think>(.*?)</think>(.*)", re.DOTALL)


def losses(message: Message, target: str) -> tuple[str, ...]:
    """The parts of an assistant message that the target of its turn does not contain.

    White space at the edges of a part may be missing, and a part may be escaped as in JSON. Arguments may be quoted in
    any way. Numbers in arguments are not compared, because templates write numbers in many ways.

    Args:
        message: The message in the forms of the template.
        target: The text of the turn, from the end of its prompt on.

    Returns:
        Of `reasoning`, `tool_calls` and `content`, those of which a text is missing.
    """
    content, reasoning = message.get("content") or "", reasoning_of(message) or ""
    is_written = {
        "reasoning": _is_in(target, reasoning),
        "tool_calls": _has_calls(target, message.get("tool_calls") or ()),
        "content": _is_in(target, content),
    }
    inline = None if is_written["content"] else _INLINE.fullmatch(content)
    if inline:  # the prompt may write <think>, and the template may write other white space around the parts
        is_written["reasoning"] = is_written["reasoning"] and _is_in(target, inline[1])
        is_written["content"] = _is_in(target, inline[2])
    return tuple(part for part, is_kept in is_written.items() if not is_kept)


def _has_calls(target: str, calls: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a target contains the name of each call, as often as it is called, and the texts of the arguments."""
    names = [call["function"]["name"] for call in calls]
    if any(target.count(name) < names.count(name) for name in names):
        return False
    return all(_has_arguments(target, call["function"].get("arguments")) for call in calls)


def _has_arguments(target: str, arguments: Any) -> bool:
    if isinstance(arguments, str) and arguments in target:
        return True
    texts = _texts_of_json(arguments) if isinstance(arguments, str) else texts_in(arguments)
    missing = [text for text in texts if not _is_in(target, text)]
    unquoted = _ESCAPES.sub("", target) if missing else ""
    return all(_ESCAPES.sub("", text) in unquoted for text in missing)


def _texts_of_json(text: str) -> Iterator[str]:
    """The texts in a JSON value; a text that is not JSON is the only one."""
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    return texts_in(value)


def _is_in(target: str, text: str) -> bool:
    """Whether a target contains a text: unchanged, without white space at its edges, or escaped as in JSON."""
    if text in target:
        return True
    stripped = text.strip()
    return stripped in target or json.dumps(stripped, ensure_ascii=False)[1:-1] in target
