"""Lines of bytes to JSON values."""

import json
from collections.abc import Sequence
from typing import Any

from samsum_stream.sources.gather import shown
from samsum_stream.sources.locator import Locator

_decode = json.JSONDecoder().decode


def parse_lines(lines: Sequence[bytes], *, locate: Locator) -> list[Any]:
    """Each line's JSON value; the first that is not UTF-8 or not JSON is an error with its place."""
    values: list[Any] = []
    try:
        for line in lines:
            values.append(_decode(str(line, "utf-8")))
    except (ValueError, RecursionError) as error:
        index = len(values)
        rule, reason = ("UTF-8", "not_utf8") if isinstance(error, UnicodeDecodeError) else ("JSON", "not_json")
        problem = f"the line is not {rule} ({error}), got {shown(lines[index])}; fix it or leave it out"
        raise locate.error(index, problem, reason=reason) from error
    return values
