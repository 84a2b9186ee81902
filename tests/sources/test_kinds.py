"""A file of another kind than its method reads is named when it is opened, with the method that reads it."""

import gzip
import io
import json
import pickle
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from samsum_stream import SourceError
from samsum_stream.sources.files.kinds import kind_of, refuse_other_kinds
from tests.sources.formats import FORMATS, ROWS, array_of, lines_of, open_source, pairs_of, parquet_of, table_of, tar_of


def zip_of(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("rows.jsonl", content)
    return file.getvalue()


def arrow_of(*, is_stream: bool) -> bytes:
    file, table = io.BytesIO(), pa.Table.from_pylist(ROWS)
    with (pa.ipc.new_stream if is_stream else pa.ipc.new_file)(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12345\n"
CONTENTS = {
    "array": (json.dumps(ROWS).encode(), "a JSON array", "`method: json`"),
    "indented array": (array_of(ROWS), "a JSON array", "`method: json`"),
    "array after a byte order mark": (b"\xef\xbb\xbf" + array_of(ROWS), "a JSON array", "`method: json`"),
    "empty array": (b"[]", "a JSON array", "`method: json`"),
    "indented object": (json.dumps(ROWS[0], indent=2).encode(), "several lines per row", "`method: json`"),
    "indented wrapper": (json.dumps({"data": ROWS}, indent=2).encode(), "several lines per row", "`method: json`"),
    "JSON lines": (lines_of(ROWS), "JSON lines", "`method: jsonl`"),
    "CSV": (table_of(ROWS), "CSV", "`method: csv`"),
    "CSV with semicolons": (table_of(ROWS, delimiter=";"), "CSV", "`method: csv`"),
    "tabs": (table_of(ROWS, delimiter="\t"), "tabs between its columns", "`method: tsv`"),
    "UTF-16": (lines_of(ROWS).decode().encode("utf-16"), "UTF-16 text", "convert it to UTF-8"),
    "UTF-16 without a mark": (lines_of(ROWS).decode().encode("utf-16-le"), "UTF-16 text", "convert it to UTF-8"),
    "HTML": (b"\n<!DOCTYPE html>\n<html><body>Log in</body></html>", "an HTML page", "check the address, and log in"),
    "XML": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an XML document", "check the address"),
    "pointer": (LFS, "a git-lfs pointer", "git lfs pull"),
    "parquet": (parquet_of(ROWS), "a Parquet file", "`method: parquet`"),
    "tar": (tar_of(ROWS), "a tar archive", "`method: webdataset`"),
    "zip": (zip_of(lines_of(ROWS)), "a zip archive", "unpack it"),
    "Arrow stream": (arrow_of(is_stream=True), "an Arrow file", "`path: arrow`"),
    "Arrow file": (arrow_of(is_stream=False), "an Arrow file", "`path: arrow`"),
    "pickle": (pickle.dumps(ROWS), "a pickle, which can run code", "save it as Parquet"),
}
READ_BY = {
    "jsonl": ("JSON lines",),
    "json": (
        "array",
        "indented array",
        "array after a byte order mark",
        "empty array",
        "indented object",
        "indented wrapper",
        "JSON lines",
        "UTF-16",
        "UTF-16 without a mark",
    ),
    "csv": ("CSV", "CSV with semicolons", "tabs", "UTF-16", "UTF-16 without a mark"),
    "tsv": ("CSV", "CSV with semicolons", "tabs", "UTF-16", "UTF-16 without a mark"),
    "parquet": ("parquet",),
    "webdataset": ("tar",),
}


@pytest.mark.parametrize("method", FORMATS)
@pytest.mark.parametrize("content", CONTENTS)
def test_a_file_of_another_kind_is_named_with_its_method(tmp_path: Path, method: str, content: str) -> None:
    data, kind, remedy = CONTENTS[content]
    (tmp_path / "rows").write_bytes(data)
    if content in READ_BY[method]:
        refuse_other_kinds(data, method=method, file="rows", name="rows")
        return
    with pytest.raises(SourceError) as caught:
        open_source(method, tmp_path / "rows")
    assert kind in str(caught.value)
    assert remedy in str(caught.value)
    assert "rows: " in str(caught.value)


def test_a_compressed_file_of_another_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.gz").write_bytes(gzip.compress(array_of(ROWS)))
    with pytest.raises(SourceError, match="is a JSON array"):
        open_source("jsonl", tmp_path / "rows.gz")
    (tmp_path / "rows.gz").write_bytes(gzip.compress(gzip.compress(lines_of(ROWS))))
    with pytest.raises(SourceError, match="is a compressed file"):
        open_source("jsonl", tmp_path / "rows.gz")


def test_a_page_with_the_name_of_a_compressed_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl.gz").write_bytes(b"<!doctype html>")
    with pytest.raises(SourceError, match="is an HTML page"):
        open_source("jsonl", tmp_path / "rows.jsonl.gz")


def test_one_pointer_among_many_files_is_found_when_the_source_is_opened(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number}.jsonl").write_bytes(LFS if number == 33 else lines_of(ROWS))
    with pytest.raises(SourceError, match=r"33\.jsonl is a git-lfs pointer"):
        open_source("jsonl", tmp_path / "*.jsonl")


@pytest.mark.parametrize(
    "content",
    [
        b"not json, at all\n" + lines_of(ROWS),
        b'["a", "b"]\n' + lines_of(ROWS),
        b'[{"role": "user"}]\n[{"role": "user"}]\n',
        b'{"a": 1,\n' + lines_of(ROWS),
        b"input: ORC, PAR1\n",
        b"\n\n",
        b"",
        b"\x00\x01, \x02\n\x03",
    ],
)
def test_content_in_doubt_is_left_to_the_reader(content: bytes) -> None:
    """A bad row can be skipped; a file that is refused cannot."""
    kind = kind_of(content)
    assert kind is None or kind.name == "JSON lines"


def test_an_object_around_the_rows_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_bytes(json.dumps({"data": ROWS}).encode())
    with pytest.raises(SourceError, match=r"has only 'data', which is a list of rows; .* `field: data`"):
        pairs_of(open_source("jsonl", tmp_path / "rows.json"))
