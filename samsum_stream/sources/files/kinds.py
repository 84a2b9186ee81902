"""What a file holds, from its first bytes; and the message for a file that its method does not read."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from samsum_stream.errors import SourceError


class Kind(NamedTuple):
    """A kind of content: its name for a message, and what to do with it instead."""

    name: str
    remedy: str


_LOADED = "or by load_dataset with `path: {0}` and `data_files`"
PARQUET = Kind("a Parquet file", "read it by `method: parquet`")
TAR = Kind("a tar archive", "read it by `method: webdataset` with `urls`, or unpack it")
ARRAY = Kind("a JSON array", f"read it by `method: json`, {_LOADED.format('json')}")
INDENTED = Kind("JSON with several lines per row", f"read it by `method: json`, {_LOADED.format('json')}")
LINES = Kind("JSON lines", "read it by `method: jsonl`")
CSV = Kind("CSV", f"read it by `method: csv`, {_LOADED.format('csv')}")
TSV = Kind("a table with tabs between its columns", "read it by `method: tsv`")
UTF_16 = Kind("UTF-16 text", "convert it to UTF-8, as `iconv -f UTF-16 -t UTF-8` does")
COMPRESSED = Kind("a compressed file", "decompress it")
OTHERS: Sequence[tuple[re.Pattern[bytes], Kind]] = (
    (re.compile(rb"PAR[1E][^ -~\s]"), PARQUET),
    (re.compile(rb".{257}ustar", re.DOTALL), TAR),
    (
        re.compile(rb"ARROW1\0\0|\xff\xff\xff\xff"),
        Kind("an Arrow file", "read it by load_dataset with `path: arrow` and `data_files`"),
    ),
    (re.compile(rb"\xff\xfe|\xfe\xff|[ -~]\0[ -~]\0|\0[ -~]\0[ -~]"), UTF_16),
    (re.compile(rb"\x1f\x8b|\x28\xb5\x2f\xfd|BZh[1-9]1AY|\xfd7zXZ"), COMPRESSED),
    (re.compile(rb"PK\x03\x04"), Kind("a zip archive or an Excel workbook", "unpack it, or save it as CSV")),
    (re.compile(rb"\xd0\xcf\x11\xe0"), Kind("an Excel workbook", "save it as CSV, and read it by `method: csv`")),
    (re.compile(rb"SQLite format 3\0"), Kind("a SQLite database", "export its table as Parquet or CSV")),
    (re.compile(rb"Obj\x01"), Kind("an Avro file", "write it as Parquet")),
    (re.compile(rb"ORC[^ -~\s]"), Kind("an ORC file", "write it as Parquet")),
    (re.compile(rb"\x80[\x02-\x05]"), Kind("a pickle, which can run code", "save it as Parquet or JSON lines")),
    (re.compile(rb"\x89HDF|\x93NUMPY"), Kind("an array file", "save its rows as Parquet or JSON lines")),
    (re.compile(rb"%PDF-"), Kind("a PDF document", "name a file of rows")),
    (
        re.compile(rb"version https://git-lfs\.github\.com/spec/"),
        Kind("a git-lfs pointer, and not the file itself", "fetch the file, as `git lfs pull` does"),
    ),
    (
        re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE),
        Kind("an HTML page", "the server sent a page instead of the file: check the address, and log in"),
    ),
    (
        re.compile(rb"\s*<(\?xml|Error>)"),
        Kind("an XML document", "the server may have sent an error instead of the file: check the address"),
    ),
)
"""The kinds that a few bytes tell."""

BOM = b"\xef\xbb\xbf"
_ARRAY = re.compile(rb'\[\s*([{\]\["]|$)')
_BEFORE_A_LIST = re.compile(rb'\{(\s*"[^"]*"\s*:\s*[\[{])?')
_OF_TEXT: Mapping[str, tuple[Kind, ...]] = {
    "jsonl": (LINES,),
    "json": (ARRAY, INDENTED, LINES, UTF_16),
    "csv": (CSV, TSV, UTF_16),
    "tsv": (CSV, TSV, UTF_16),
}
_READ = {
    "jsonl": "one JSON object per line",
    "json": "a JSON array of objects, or objects that follow each other",
    "csv": "a table of text with a header",
    "tsv": "a table of text with a header",
    "parquet": "Parquet files",
    "webdataset": "tar archives",
}
"""What each method reads."""


def refuse_other_kinds(head: bytes, *, method: str, file: object, name: str) -> None:
    """Raise `SourceError` if the first bytes of a file show a kind of content that the method does not read."""
    kind = kind_of(head)
    accepted = {"parquet": (PARQUET,), "webdataset": (TAR,)}.get(method) or _OF_TEXT[method]
    if kind is not None and kind not in accepted:
        raise SourceError(f"{name}: {file} is {kind.name}, and {method} reads {_READ[method]}; {kind.remedy}")


def kind_of(head: bytes) -> Kind | None:
    """The kind of a file from its first bytes; None if they do not show it."""
    if kind := next((kind for magic, kind in OTHERS if magic.match(head)), None):
        return kind
    lines = [line.strip() for line in head.removeprefix(BOM).splitlines() if line.strip()]
    return _kind_of_lines(lines) if lines and b"\0" not in head else None


def _kind_of_lines(lines: Sequence[bytes]) -> Kind | None:
    """The kind of a text; None in case of doubt."""
    first, others = lines[0], lines[1:]
    if _ARRAY.match(first) and not (others and _is_json(first)):
        return ARRAY
    if _BEFORE_A_LIST.fullmatch(first) and others:
        return INDENTED
    if first.startswith(b"{"):
        return LINES
    if any(line.startswith(b"{") for line in others):  # JSON lines with a bad first row, or CSV with a long first cell
        return None
    if b"\t" in first and others:
        return TSV
    return CSV if others and (b"," in first or b";" in first) else None


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
