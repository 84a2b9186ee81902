"""Files as other tools write them: the rows are read, or one sentence says what the file is and what to do.

A tool that is not installed skips its files.
"""

import bz2
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from webdataset import TarWriter

from samsum_stream import SourceError
from samsum_stream.sources import SOURCES, as_source
from tests.sources.formats import EXPECTED, ROWS, array_of, lines_of, pairs_of, table_of

Write = Callable[[Path], object]
Kwargs = dict[str, Any]

TABLE = pa.Table.from_pylist(ROWS)


def frame(library: str) -> Any:
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    return module.DataFrame({"input": [x for x, _ in EXPECTED], "response": [y for _, y in EXPECTED]})


def pandas(write: str, name: str, **kwargs: Any) -> Write:
    return lambda folder: getattr(frame("pandas"), write)(folder / name, **kwargs)


def polars(write: str, name: str, **kwargs: Any) -> Write:
    return lambda folder: getattr(frame("polars"), write)(folder / name, **kwargs)


def duckdb(name: str, options: str = "", query: str = "SELECT * FROM rows") -> Write:
    def write(folder: Path) -> None:
        module = pytest.importorskip("duckdb", reason="duckdb is not installed")
        with module.connect() as connection:
            connection.register("rows", TABLE)
            connection.execute(f"COPY ({query}) TO '{folder / name}' {options}")

    return write


def content(name: str, data: bytes) -> Write:
    return lambda folder: (folder / name).write_bytes(data)


def saved(folder: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(folder / "rows")


def hub(write: str, name: str, **kwargs: Any) -> Write:
    return lambda folder: getattr(datasets.Dataset.from_list(ROWS), write)(str(folder / name), **kwargs)


def tar(name: str, *, as_text: bool = False, **kwargs: Any) -> Write:
    def write(folder: Path) -> None:
        with TarWriter(str(folder / name), **kwargs) as writer:
            for number, row in enumerate(ROWS):
                texts = {"input.txt": row["input"], "response.txt": row["response"]}
                writer.write({"__key__": f"{number:05}", **(texts if as_text else {"json": row})})

    return write


def tar_of_files(name: str, mode: str, **files: bytes) -> Write:
    """A tar of a folder of files, as the command `tar` writes it."""

    def write(folder: Path) -> None:
        with tarfile.open(folder / name, mode) as archive:  # type: ignore[call-overload]
            root = tarfile.TarInfo("./")
            root.type = tarfile.DIRTYPE
            archive.addfile(root)
            for member, data in files.items():
                info = tarfile.TarInfo(f"./{member.replace('_', '.')}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))

    return write


def database(folder: Path) -> None:
    connection = sqlite3.connect(folder / "rows.db")
    connection.execute("CREATE TABLE rows (input TEXT, response TEXT)")
    connection.commit()
    connection.close()


def spark(folder: Path) -> None:
    """A folder as Spark writes it, with an empty part and checksums."""
    for number, part in enumerate((ROWS[:9], [], ROWS[9:])):
        (folder / f"part-0000{number}-1f8b.c000.json").write_bytes(lines_of(part))
        (folder / f".part-0000{number}-1f8b.c000.json.crc").write_bytes(b"crc\0")
    (folder / "_SUCCESS").touch()


def spark_parquet(folder: Path) -> None:
    """Strings without the mark of UTF-8, compressed by snappy."""
    texts = {name: pa.array([text.encode() for text in TABLE.column(name).to_pylist()]) for name in TABLE.column_names}
    pq.write_table(pa.table(texts), folder / "part-00000.snappy.parquet", compression="snappy", store_schema=False)
    (folder / "_SUCCESS").touch()
    (folder / "_metadata").write_bytes(b"PAR1")


READ: dict[str, tuple[Write, str, str, Kwargs]] = {
    "pandas: JSON lines": (pandas("to_json", "a", orient="records", lines=True), "jsonl", "a", {}),
    "pandas: JSON records": (pandas("to_json", "a.json", orient="records", indent=2), "json", "a.json", {}),
    "pandas: JSON lines, gzip": (
        pandas("to_json", "a.json.gz", orient="records", lines=True), "jsonl", "a.json.gz", {},
    ),
    "pandas: CSV with an index": (pandas("to_csv", "a.csv"), "csv", "a.csv", {}),
    "pandas: CSV, xz": (pandas("to_csv", "a.csv.xz", index=False), "csv", "a.csv.xz", {}),
    "pandas: tabs": (pandas("to_csv", "a.tsv", sep="\t"), "tsv", "a.tsv", {}),
    "pandas: Parquet": (pandas("to_parquet", "a.parquet"), "parquet", "a.parquet", {}),
    "polars: JSON lines": (polars("write_ndjson", "a.ndjson"), "jsonl", "a.ndjson", {}),
    "polars: JSON": (polars("write_json", "a.json"), "json", "a.json", {}),
    "polars: CSV": (polars("write_csv", "a.csv", include_bom=True, quote_style="always"), "csv", "a.csv", {}),
    "polars: Parquet": (polars("write_parquet", "a.parquet", row_group_size=6), "parquet", "a.parquet", {}),
    "duckdb: JSON lines, zstd": (
        duckdb("a.json.zst", "(FORMAT json, COMPRESSION zstd)"), "jsonl", "a.json.zst", {},
    ),
    "duckdb: JSON array": (duckdb("a.json", "(FORMAT json, ARRAY true)"), "json", "a.json", {}),
    "duckdb: CSV": (duckdb("a.csv", "(DELIMITER '|')"), "csv", "a.csv", {"delimiter": "|"}),
    "duckdb: Parquet": (duckdb("a.parquet"), "parquet", "a.parquet", {}),
    "duckdb: partitions": (
        duckdb("out", "(FORMAT parquet, PARTITION_BY (part))", "SELECT *, 1 AS part FROM rows"), "parquet", "out", {},
    ),
    "pyarrow: CSV": (lambda folder: pyarrow.csv.write_csv(TABLE, folder / "a.csv"), "csv", "a.csv", {}),
    "pyarrow: Parquet, zstd": (
        lambda folder: pq.write_table(TABLE, folder / "a.pq", compression="zstd"), "parquet", "a.pq", {},
    ),
    "datasets: JSON lines": (hub("to_json", "a.jsonl"), "jsonl", "a.jsonl", {}),
    "datasets: JSON array": (hub("to_json", "a.json", lines=False), "json", "a.json", {}),
    "datasets: CSV": (hub("to_csv", "a.csv"), "csv", "a.csv", {}),
    "datasets: Parquet": (hub("to_parquet", "a.parquet"), "parquet", "a.parquet", {}),
    "datasets: save_to_disk": (saved, "load_from_disk", "rows", {}),
    "Excel: CSV UTF-8": (
        content("a.csv", b"\xef\xbb\xbf" + table_of(ROWS, delimiter=";", end="\r\n")),
        "csv", "a.csv", {"delimiter": ";"},
    ),
    "Excel: Unicode text": (
        content("a.txt", table_of(ROWS, delimiter="\t", end="\r\n").decode().encode("utf-16")), "tsv", "a.txt", {},
    ),
    "webdataset: json": (tar("a.tar"), "webdataset", "a.tar", {}),
    "webdataset: txt, gzip": (tar("a.tar.gz", as_text=True), "webdataset", "a.tar.gz", {}),
    "tar czf": (
        tar_of_files("a.tgz", "w:gz", **{f"{n:03}_json": json.dumps(r).encode() for n, r in enumerate(ROWS)}),
        "webdataset", "a.tgz", {},
    ),
    "tar cJf": (
        tar_of_files("a.tar.xz", "w:xz", **{f"{n:03}_json": json.dumps(r).encode() for n, r in enumerate(ROWS)}),
        "webdataset", "a.tar.xz", {},
    ),
    "JSON lines in a tar": (
        tar_of_files("a.tar", "w", train_jsonl=lines_of(ROWS)), "jsonl", "tar://**/*.jsonl::{folder}/a.tar", {},
    ),
    "JSON lines in a zip": (
        lambda folder: zipfile.ZipFile(folder / "a.zip", "w").writestr("a.jsonl", lines_of(ROWS)) or None,
        "jsonl", "zip://*::{folder}/a.zip", {},
    ),
    "bzip2": (content("a.jsonl.bz2", bz2.compress(lines_of(ROWS))), "jsonl", "a.jsonl.bz2", {}),
    "pigz, several members": (
        content("a", gzip.compress(lines_of(ROWS[:3])) + gzip.compress(lines_of(ROWS[3:]))), "jsonl", "a", {},
    ),
    "xz": (content("a.jsonl.xz", lzma.compress(lines_of(ROWS))), "jsonl", "a.jsonl.xz", {}),
    "jq": (content("a.json", b"\n".join(json.dumps(r, indent=2).encode() for r in ROWS)), "json", "a.json", {}),
    "an API": (content("a.json", json.dumps({"rows": ROWS, "n": 20}).encode()), "json", "a.json", {"field": "rows"}),
    "Windows: JSON lines": (
        content("a.jsonl", b"\xef\xbb\xbf" + lines_of(ROWS).replace(b"\n", b"\r\n")), "jsonl", "a.jsonl", {},
    ),
    "Spark: JSON": (spark, "jsonl", "", {}),
    "Spark: Parquet": (spark_parquet, "parquet", "", {}),
}  # fmt: skip
"""For each file its writer, its method, its path in the folder, and other arguments."""

REFUSED: dict[str, tuple[Write, str, str, str]] = {
    "pandas: pickle": (
        content("a.pkl", pickle.dumps(ROWS)), "jsonl", "a.pkl", "a pickle, which can run code.*; save it as Parquet",
    ),
    "pandas: JSON by columns": (
        pandas("to_json", "a.json", orient="split"), "jsonl", "a.json", "field 'input' has no column 'input'",
    ),
    "pyarrow: Feather": (
        lambda folder: pyarrow.feather.write_feather(TABLE, folder / "a.feather"),
        "parquet", "a.feather", "is an Arrow file, .*; read it by load_dataset with `path: arrow`",
    ),
    "polars: IPC": (polars("write_ipc", "a.arrow"), "jsonl", "a.arrow", "is an Arrow file"),
    "datasets: cache": (
        saved, "jsonl", "rows/data-00000-of-00001.arrow", "is an Arrow file, .*`path: arrow`",
    ),
    "Excel: workbook": (
        lambda folder: zipfile.ZipFile(folder / "a.xlsx", "w").writestr("xl/workbook.xml", "<workbook/>") or None,
        "csv", "a.xlsx", "a zip archive or an Excel workbook, .*; unpack it, or save it as CSV",
    ),
    "Excel: CSV with semicolons": (
        content("a.csv", table_of(ROWS, delimiter=";")), "csv", "a.csv", 'header is one cell, .*`?delimiter: ";"',
    ),
    "PowerShell: UTF-16": (
        content("a.jsonl", lines_of(ROWS).decode().encode("utf-16")), "jsonl", "a.jsonl", "is UTF-16 text, .*iconv",
    ),
    "git clone without git-lfs": (
        content("a.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        "parquet", "a.parquet", "is a git-lfs pointer, .*`git lfs pull`",
    ),
    "a page instead of a file": (
        content("a.jsonl", b"<html><head><title>Sign in</title>"), "jsonl", "a.jsonl", "is an HTML page, .*log in",
    ),
    "sqlite": (database, "jsonl", "rows.db", "is a SQLite database, .*; export its table"),
    "numpy": (
        lambda folder: np.save(folder / "a.npy", np.array(["a", "b"])), "jsonl", "a.npy", "is an array file, .*; save",
    ),
    "JSON array": (content("a.json", array_of(ROWS)), "jsonl", "a.json", "is a JSON array, .*`method: json`"),
    "CSV": (content("a.csv", table_of(ROWS)), "jsonl", "a.csv", "is CSV, .*`method: csv`"),
    "JSON lines": (content("a.jsonl", lines_of(ROWS)), "csv", "a.jsonl", "is JSON lines, .*`method: jsonl`"),
    "Parquet": (
        lambda folder: pq.write_table(TABLE, folder / "a.parquet"), "jsonl", "a.parquet", "is a Parquet file, ",
    ),
    "JSON lines in a tar": (
        tar_of_files("a.tar", "w", train_jsonl=lines_of(ROWS)), "webdataset", "a.tar", r"contains JSON lines, .*`path: tar://",
    ),
    "a tar by jsonl": (tar("a.tar"), "jsonl", "a.tar", "is a tar archive, .*`method: webdataset`"),
    "half a download": (
        content("a.jsonl.gz", gzip.compress(lines_of(ROWS))[:-30]), "jsonl", "a.jsonl.gz", "is cut short after",
    ),
    "a download that did not start": (content("a.parquet", b""), "parquet", "a.parquet", "cannot be read as parquet"),
}  # fmt: skip
"""For each file its writer, its method, its path in the folder, and a part of the message."""

KEYS = {"webdataset": "urls", "load_from_disk": "dataset_path"}


def read(folder: Path, method: str, path: str, kwargs: Kwargs) -> list[tuple[str, str]]:
    full = path.format(folder=folder) if "://" in path else str(folder / path)
    opened = partial(SOURCES[method], **{KEYS.get(method, "path"): full}, **kwargs)
    return pairs_of(as_source(opened, name="rows", columns={}))


@pytest.mark.parametrize("file", READ)
def test_a_file_of_another_tool_is_read(tmp_path: Path, file: str) -> None:
    write, method, path, kwargs = READ[file]
    write(tmp_path)
    assert read(tmp_path, method, path, kwargs) == EXPECTED


@pytest.mark.parametrize("file", REFUSED)
def test_a_file_that_its_method_does_not_read_is_named(tmp_path: Path, file: str) -> None:
    write, method, path, message = REFUSED[file]
    write(tmp_path)
    with pytest.raises(SourceError, match=message) as caught:
        read(tmp_path, method, path, {})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value).replace(str(tmp_path), "")) < 500
