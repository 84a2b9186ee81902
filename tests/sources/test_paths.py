"""Folders, files that other tools leave in them, and names with signs that mean something in a URL."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from samsum_stream import SourceError
from samsum_stream.errors import once
from samsum_stream.sources import SOURCES, as_source
from tests.s3 import Server, serve
from tests.sources.formats import EXPECTED, FORMATS, ROWS, lines_of, pairs_of
from tests.streams import make_rows, make_stream, rows_of_batches

SPARK = {
    "_SUCCESS": b"",
    "._SUCCESS.crc": b"\0",
    "_metadata": b"PAR1",
    ".part-0.crc": b"\0",
    "_temporary/0/part-9": b"half a file",
    "_delta_log/0.json": b"{}",
    ".git/config": b"[core]",
    "part-0": None,
    "lang=de/part-1": None,
    "lang=en/_kind=chat/part-2": None,
}
"""The files that Spark leaves in a folder; None for a file of rows."""


def files_of(method: str) -> dict[str, bytes]:
    rows = FORMATS[method][1](ROWS)
    return {name: rows if content is None else content for name, content in SPARK.items()}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def open_files(path: object, method: str = "jsonl", **kwargs: Any) -> Any:
    return as_source(SOURCES[method](**{FORMATS[method][0]: path}, **kwargs), name="rows", columns={})


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve() as server:
        yield server


@pytest.fixture(autouse=True)
def _warnings_are_new() -> None:
    once.warn_once.cache_clear()


@pytest.mark.parametrize("method", FORMATS)
@pytest.mark.parametrize("path", ["", "/", "/*", "/**"])
def test_a_folder_is_read_without_its_hidden_files(tmp_path: Path, method: str, path: str) -> None:
    write(tmp_path / "_out.parquet", files_of(method))
    source = open_files(f"{tmp_path}/_out.parquet{path}", method)
    number = 1 if path == "/*" else 3
    assert pairs_of(source) == EXPECTED * number
    names = {shard.name.rpartition("/")[2] for shard in source.shards}
    assert names == ({"part-0"} if number == 1 else {"part-0", "part-1", "part-2"})


@pytest.mark.parametrize("path", ["folder", "folder/", "folder/*", "folder/**"])
def test_a_folder_behind_a_url_is_read_without_its_hidden_files(server: Server, path: str) -> None:
    for name, content in files_of("jsonl").items():
        server.write(f"folder/{name}", content)
    source = open_files(f"s3://rows/{path}", storage_options=server.options)
    assert pairs_of(source) == EXPECTED * (1 if path.endswith("/*") else 3)


def test_hidden_files_are_read_if_they_are_named(tmp_path: Path) -> None:
    write(tmp_path, {"_a.jsonl": lines_of(ROWS), "_sub/_b.jsonl": lines_of(ROWS)})
    for path in ("_a.jsonl", "_*.jsonl", "_sub/_*.jsonl"):
        assert pairs_of(open_files(f"{tmp_path}/{path}")) == EXPECTED


def test_a_hidden_file_with_the_suffix_of_the_others_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, {"a.jsonl": lines_of(ROWS), "_b.jsonl": lines_of(ROWS), "_SUCCESS": b""})
    assert pairs_of(open_files(f"{tmp_path}/*")) == EXPECTED
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}/_b.jsonl is hidden, and not read: name it to read it"
    ]


@pytest.mark.parametrize("files", [{}, {"_SUCCESS": b"", ".part.crc": b""}])
def test_a_folder_without_visible_files_is_an_error(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(SourceError, match="has no files, or only hidden ones; check the path"):
        open_files(str(write(tmp_path, files)))


def test_another_file_in_a_folder_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"a.jsonl": lines_of(ROWS), "page.html": b"<!doctype html>"})
    with pytest.raises(SourceError, match=r"page\.html is an HTML page"):
        open_files(str(tmp_path))


def test_a_stream_reads_each_row_of_a_partitioned_folder_once(tmp_path: Path) -> None:
    rows = make_rows(90)
    parts = {f"part={number}/rows.parquet": FORMATS["parquet"][1](rows[number::3]) for number in range(3)}
    write(tmp_path, {**parts, "_SUCCESS": b""})
    stream = make_stream(source_config={"method": "parquet", "kwargs": {"path": str(tmp_path)}}, epochs=1)
    assert sorted(rows_of_batches(stream.loader())) == list(range(90))


NAMES = ["a#1", "a?1", "a?2", "a#2?x=1", "a b%20", "a+1&2", "a[1]", "a*", "{a}", "ä ü"]


@pytest.mark.parametrize("name", NAMES)
def test_a_key_with_a_sign_is_read_by_its_url(server: Server, name: str) -> None:
    for other in (*NAMES, "a1", "axx"):
        server.write(f"signs/{other}.jsonl", lines_of(ROWS[:3]))
    server.write(f"signs/{name}.jsonl", lines_of(ROWS))
    source = open_files(f"s3://rows/signs/{name}.jsonl", storage_options=server.options)
    if name == "a*":  # a star is always a glob
        assert len(source.shards) > 3
        return
    assert pairs_of(source) == EXPECTED
    assert source.shards[0].name == f"{name}.jsonl@0"


def test_keys_with_signs_are_found_by_a_glob_and_a_folder(server: Server) -> None:
    for name in NAMES:
        server.write(f"more/{name}.jsonl", lines_of(ROWS))
    for path in ("more/*.jsonl", "more", "more/?*.jsonl"):
        source = open_files(f"s3://rows/{path}", storage_options=server.options)
        assert sorted(shard.name for shard in source.shards) == sorted(f"{name}.jsonl@0" for name in NAMES)
        assert pairs_of(source) == EXPECTED * len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_local_file_with_a_sign_is_read(tmp_path: Path, name: str) -> None:
    write(tmp_path, {f"{name}.jsonl": lines_of(ROWS), "a1.jsonl": lines_of(ROWS[:1])})
    assert pairs_of(open_files(f"{tmp_path}/{name}.jsonl")) == EXPECTED
    if name != "a*":  # in a URL, a star is always a glob
        assert pairs_of(open_files(f"file://{tmp_path}/{name}.jsonl")) == EXPECTED


def test_a_glob_in_an_archive_keeps_the_archive(tmp_path: Path) -> None:
    for archive in ("x.zip", "y.zip"):
        with zipfile.ZipFile(tmp_path / archive, "w") as file:
            for name in ("a.jsonl", "sub/b.jsonl", "_c.jsonl"):
                file.writestr(name, lines_of(ROWS))
    source = open_files([f"zip://**/*.jsonl::{tmp_path}/x.zip", f"zip://*.jsonl::file://{tmp_path}/y.zip"])
    assert pairs_of(source) == EXPECTED * 3
    assert len({shard.name for shard in source.shards}) == 3
