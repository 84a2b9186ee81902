"""Where the lines of a JSON-lines file start, found in one pass over its bytes.

    {"a":1}\\n \\n {"b":2}\\n      offsets = [start of row 0, start of row 1, size of the file], blanks = [1, 2]

A row runs from its offset to the next one: blank lines between two rows end up behind the first, as white space.
"""

import json
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from samsum_stream.sources.rows.gather import shown
from samsum_stream.sources.rows.locator import Locator
from samsum_stream.values.arrays import Int64Array

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


WHITE_SPACE = b" \t\r\n"
"""What JSON calls white space; a line of nothing else is blank."""


BOM = b"\xef\xbb\xbf"


_BLOCK = 1 << 20
"""Bytes looked at together, so that the scan of a large file stays in the cache."""


class RowLines(NamedTuple):
    """The lines of a file that are rows.

    Attributes:
        offsets: The byte at which each of them starts, then the file's size, `[num_rows + 1]`.
        blanks: How many of them stand before each blank line, `[num_blank_lines]`; the end counts as one.
    """

    offsets: Int64Array
    blanks: Int64Array

    def number(self, row: int) -> int:
        """The number of a row's line, counted from 1 as editors do."""
        return 1 + row + int(np.searchsorted(self.blanks, row, side="right"))


def row_lines(path: Path) -> RowLines:
    """The lines that are not blank, of a file that is not empty."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        ends = np.append(_newlines(data), len(data))
        starts = np.append(len(BOM) if data[: len(BOM)] == BOM else 0, ends[:-1] + 1)
        is_row = starts < ends
        for line in np.flatnonzero(is_row & _starts_blank(data, starts)).tolist():
            is_row[line] = bool(data[starts[line] : ends[line]].strip(WHITE_SPACE))
        return RowLines(np.append(starts[is_row], len(data)), np.cumsum(is_row, dtype=np.int64)[~is_row])


def _newlines(data: mmap.mmap) -> Int64Array:
    whole = np.frombuffer(data, np.uint8)
    blocks = range(0, len(whole), _BLOCK)
    found = [start + np.flatnonzero(whole[start : start + _BLOCK] == ord("\n")) for start in blocks]
    return np.concatenate(found).astype(np.int64)


def _starts_blank(data: mmap.mmap, starts: Int64Array) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Which lines begin with white space, `[num_lines]`: only those can be blank, and they are few."""
    first = np.frombuffer(data, np.uint8)[np.minimum(starts, len(data) - 1)]
    return np.isin(first, np.frombuffer(WHITE_SPACE, np.uint8))
