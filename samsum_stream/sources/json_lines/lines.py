"""The byte offsets of the lines of a JSON-lines file, from one pass over its bytes.

    {"a":1}\\n \\n {"b":2}\\n      offsets = [start of row 0, start of row 1, size of the file], blanks = [1, 2]

A row extends from its offset to the next offset: blank lines between two rows are white space after the first row.
"""

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from samsum_stream.sources.files.kinds import BOM
from samsum_stream.sources.json_text import decode_json
from samsum_stream.sources.rows.gather import typed_repr
from samsum_stream.sources.rows.locator import Locator
from samsum_stream.values.arrays import Int64Array


def parse_lines(lines: Sequence[bytes], *, locate: Locator) -> list[Any]:
    """The JSON value of each line; raises `RowError` for the first line that is not UTF-8 or not JSON."""
    values: list[Any] = []
    try:
        for line in lines:
            values.append(decode_json(str(line, "utf-8")))
    except (ValueError, RecursionError) as error:
        index = len(values)
        rule, reason = ("UTF-8", "not_utf8") if isinstance(error, UnicodeDecodeError) else ("JSON", "not_json")
        problem = f"the line is not {rule} ({error}), got {typed_repr(lines[index])}; fix it or leave it out"
        raise locate.error(index, problem, reason=reason) from error
    return values


WHITE_SPACE = b" \t\r\n"
"""The white space of JSON; a line with only white space is blank."""


_BLOCK = 1 << 20
"""Bytes that are scanned at a time, so that the data stays in the CPU cache."""


class RowLines(NamedTuple):
    """The lines of a file that are rows.

    Attributes:
        offsets: The byte offset of each row, then the size of the file, `[num_rows + 1]`.
        blanks: The number of rows before each blank line, `[num_blank_lines]`; the end of the file counts as blank.
    """

    offsets: Int64Array
    blanks: Int64Array

    def number(self, row: int) -> int:
        """The line number of a row, counted from 1 as in editors."""
        return 1 + row + int(np.searchsorted(self.blanks, row, side="right"))


def row_lines(path: Path) -> RowLines:
    """The lines that are not blank."""
    if not path.stat().st_size:  # cannot be mapped
        return RowLines(np.zeros(1, np.int64), np.zeros(0, np.int64))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        ends = np.append(_newlines(data), len(data))
        starts = np.append(len(BOM) if data[: len(BOM)] == BOM else 0, ends[:-1] + 1)
        is_row = starts < ends
        for line in np.flatnonzero(is_row & _starts_blank(data, starts)).tolist():
            is_row[line] = bool(data[starts[line] : ends[line]].strip(WHITE_SPACE))
        return RowLines(np.append(starts[is_row], len(data)), np.cumsum(is_row, dtype=np.int64)[~is_row])


def _newlines(data: mmap.mmap) -> Int64Array:
    whole = np.frombuffer(data, np.uint8)
    starts = range(0, len(whole), _BLOCK)
    newlines = [start + np.flatnonzero(whole[start : start + _BLOCK] == ord("\n")) for start in starts]
    return np.concatenate(newlines).astype(np.int64)


def _starts_blank(data: mmap.mmap, starts: Int64Array) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Whether each line begins with white space, `[num_lines]`: only these few lines can be blank."""
    first = np.frombuffer(data, np.uint8)[np.minimum(starts, len(data) - 1)]
    return np.isin(first, np.frombuffer(WHITE_SPACE, np.uint8))
