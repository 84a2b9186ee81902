"""Lines of bytes to JSON values."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from samsum_stream.errors import RowError
from samsum_stream.sources.gather import Locate, shown

_decode = json.JSONDecoder().decode


def parse_lines(lines: Sequence[bytes], *, locate: Locate, line_of: Callable[[int], int]) -> list[Any]:
    """Each line's JSON value; the first that is not UTF-8 or not JSON is an error with its position and line."""
    values: list[Any] = []
    try:
        for line in lines:
            values.append(_decode(str(line, "utf-8")))
    except (ValueError, RecursionError) as error:
        index = len(values)
        rule, reason = ("UTF-8", "not_utf8") if isinstance(error, UnicodeDecodeError) else ("JSON", "not_json")
        raise RowError(
            f"{locate(index)}: line {line_of(index)} is not {rule} ({error}), got {shown(lines[index])}; "
            f"fix the line or leave it out",
            position=locate(index),
            reason=reason,
        ) from error
    return values
