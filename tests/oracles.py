"""Independent readers for the fuzz tests: as simple as possible, and without code of the package.

jsonl     line by line                  tar     block by block
.gz       decompressed as a whole       YAML    PyYAML's safe loader, which here refuses ambiguous words and keys
"""

import gzip
import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml
from webdataset.tariterators import base_plus_ext

Row = tuple[str, str, list[str]]
"""Input, response, contexts."""


class Reading(NamedTuple):
    """The rows of a file, None for a bad row; if the file is broken, the rows before the break."""

    rows: list[Row | None]
    is_whole: bool = True


def jsonl(content: bytes) -> Reading:
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return Reading([row_of(_json(line)) for line in lines if line.strip(b" \t\r\n")])


def tar(content: bytes) -> Reading:
    """Adjacent members that share a name up to its first dot are one sample."""
    samples: list[tuple[str, dict[str, Any]]] = []
    is_whole = True
    try:
        for name, data in _members(io.BytesIO(content)):
            base, kind = base_plus_ext(name)
            if base is None or re.fullmatch("__[^/]*__", name):
                continue
            if not samples or samples[-1][0] != base:
                samples.append((base, {}))
            if not re.fullmatch(r"json|.+\.(json|txt)", kind):
                continue
            if kind in samples[-1][1]:
                raise tarfile.TarError("two members of one name")
            samples[-1][1][kind] = data
    except (tarfile.TarError, ValueError, OverflowError):
        is_whole = False
        samples = samples[:-1]
    return Reading([row_of(_columns(members)) for _, members in samples], is_whole)


def unpacked(content: bytes) -> bytes | None:
    """The decompressed bytes; None if the file is broken."""
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error):
        return None


def row_of(value: Any) -> Row | None:
    """A row by the rules of the README; None if it breaks a rule."""
    if not isinstance(value, dict):
        return None
    contexts = value["contexts"] if value.get("contexts") is not None else value.get("context")
    if contexts is None or isinstance(contexts, str):
        contexts = [contexts] if contexts else []
    texts = [value.get("input"), value.get("response"), *(contexts if isinstance(contexts, list) else [None])]
    if not all(isinstance(text, str) and _is_unicode(text) for text in texts) or not value["response"].strip():
        return None
    return value["input"], value["response"], contexts


def config(content: bytes) -> dict[str, Any] | None:
    """The mapping of a YAML file; None if a strict reader refuses it."""
    try:
        text = content.decode("utf-8-sig")
        words = {
            token.value.lower() for token in yaml.scan(text) if isinstance(token, yaml.ScalarToken) and token.plain
        }
        data = yaml.load(text, Loader=_StrictLoader)
    except Exception:  # PyYAML does not catch the errors of Python for numbers and characters
        return None
    return data if isinstance(data, dict) and not words & {"yes", "no", "on", "off"} else None


class _StrictLoader(yaml.SafeLoader):
    """Keys must be texts, without repeats."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if not all(isinstance(key, str) for key in keys) or len(set(keys)) < len(keys) or "<<" in keys:
            raise yaml.YAMLError("keys that are not texts, or repeated keys")
        return super().construct_mapping(node, deep=deep)


def _members(file: io.BytesIO) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files of an archive, to its end.

    Raises:
        TarError, ValueError: the archive is broken, or has an entry that is neither a file nor a folder.
    """
    global_records: dict[str, str] = {}
    headers: dict[str, str] | None = None
    while header := _block(file):
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        known = global_records | (headers or {})
        is_file = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
        size = 0 if member.isdir() else int(known["size"]) if is_file and "size" in known else member.size
        data = file.read(size) if size >= 0 else b""
        if len(data) != size:
            raise tarfile.TarError("a member that is cut")
        file.read(-size % tarfile.BLOCKSIZE)
        if member.type in (tarfile.XGLTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
            if headers is not None:
                raise tarfile.TarError("two headers for one member")
            is_name = member.type == tarfile.GNUTYPE_LONGNAME
            records = {"path": _name(data.split(b"\0")[0])} if is_name else _records(data)
            if member.type == tarfile.XGLTYPE:
                global_records |= records
            else:
                headers = records
            continue
        if is_file and not any(key.startswith("GNU.sparse.") for key in known):
            yield known.get("path", member.name), data
        elif not member.isdir():
            raise tarfile.TarError("neither a file nor a folder")
        headers = None
    if headers is not None:
        raise tarfile.TarError("a header for a member that is missing")


def _block(file: io.BytesIO) -> bytes | None:
    """The next header; None at the end of the archive."""
    block = file.read(tarfile.BLOCKSIZE)
    if any(block):
        return block
    if len(block) < tarfile.BLOCKSIZE or len(rest := file.read()) < tarfile.BLOCKSIZE or any(rest):
        raise tarfile.TarError("no end, or data after it")
    return None


def _records(data: bytes) -> dict[str, str]:
    """`30 path=...` and a line end: each record starts with its length; zeros may follow the last one."""
    records = {}
    while data and data[0]:
        length = int(data.split(b" ", 1)[0])
        record, data = data[:length], data[length:]
        key, equals, value = record.partition(b" ")[2].partition(b"=")
        if not equals or not value.endswith(b"\n") or len(record) != length:
            raise tarfile.TarError("a record of another length")
        records[_name(key)] = _name(value[:-1])
    return records


def _name(content: bytes) -> str:
    return content.decode(errors="surrogateescape")


def _columns(members: dict[str, bytes]) -> dict[str, Any] | None:
    row: dict[str, Any] = {}
    for kind, content in members.items():
        column, _, ending = kind.rpartition(".")
        value = _text(content) if ending == "txt" else _json(content)
        if not column and not isinstance(value, dict):
            return None
        row |= {column: value} if column else value
    return None if _BAD in row.values() else row


_BAD = object()
"""The value of bytes that are not UTF-8, or of text that is not JSON."""


def _text(content: bytes) -> Any:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return _BAD


def _json(content: bytes) -> Any:
    try:
        return json.loads(content.decode())
    except (ValueError, RecursionError):
        return _BAD


def _is_unicode(text: str) -> bool:
    return not re.search("[\ud800-\udfff]", text)
