"""The remedies of messages about files and paths."""

import gzip
import io
import json
import tarfile
import zipfile
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from tests.remedies.following import GOOD, Remedy, follow, parametrized, source

ROWS: list[Any] = [GOOD, {"input": "three", "response": "four"}, {"input": "five", "response": "six"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
ARRAY = json.dumps(ROWS)
CSV = "input,response\none,two\nthree,four\n"


def parquet(rows: list[dict[str, Any]] = ROWS) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for number, row in enumerate(ROWS):
            content = json.dumps(row).encode()
            member = tarfile.TarInfo(f"{number}.json")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def arrow() -> bytes:
    file = io.BytesIO()
    table = pa.Table.from_pylist(ROWS)
    with pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    return file.getvalue()


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.jsonl", LINES)
    return file.getvalue()


def loaded(builder: str, **kwargs: Any) -> dict[str, Any]:
    """`load_dataset` with local files."""
    return source("load_dataset", builder, data_files="a", split="train", **kwargs)


def of_file(content: Any, method: str, **kwargs: Any) -> dict[str, Any]:
    """A config that reads a file named `a`."""
    return {"files": {"a": content}, **source(method, "a", **kwargs)}


def disk(folder: str, **kwargs: Any) -> dict[str, Any]:
    return {"source_config": {"method": "load_from_disk", "kwargs": {"dataset_path": folder, **kwargs}}}


INDENTED = json.dumps(ROWS[0], indent=2) + "\n" + json.dumps(ROWS[1], indent=2)
WRAPPED = json.dumps({"data": ROWS})

KINDS = {
    "parquet": Remedy("read it by `method: parquet`", of_file(parquet(), "jsonl"), source("parquet", "a")),
    "tar": Remedy(
        "read it by `method: webdataset` with `urls`", of_file(tar(), "json"), source("webdataset", urls="a")
    ),
    "tar unpacked": Remedy("or unpack it", of_file(tar(), "jsonl"), {"files": {"a": LINES}}),
    "array": Remedy("read it by `method: json`", of_file(ARRAY, "jsonl"), source("json", "a")),
    "array loaded": Remedy("load_dataset with `path: json` and `data_files`", of_file(ARRAY, "jsonl"), loaded("json")),
    "indented": Remedy("read it by `method: json`", of_file(INDENTED, "jsonl"), source("json", "a")),
    "lines": Remedy("read it by `method: jsonl`", of_file(LINES, "csv"), source("jsonl", "a")),
    "csv": Remedy("read it by `method: csv`", of_file(CSV, "jsonl"), source("csv", "a")),
    "csv loaded": Remedy("load_dataset with `path: csv` and `data_files`", of_file(CSV, "jsonl"), loaded("csv")),
    "tsv": Remedy("read it by `method: tsv`", of_file(CSV.replace(",", "\t"), "jsonl"), source("tsv", "a")),
    "arrow": Remedy("load_dataset with `path: arrow` and `data_files`", of_file(arrow(), "jsonl"), loaded("arrow")),
    "utf-16": Remedy("convert it to UTF-8", of_file(LINES.encode("utf-16"), "jsonl"), {"files": {"a": LINES}}),
    "compressed": Remedy("decompress it", of_file(gzip.compress(parquet()), "parquet"), {"files": {"a": parquet()}}),
    "zip": Remedy("unpack it", of_file(zipped(), "jsonl"), {"files": {"a": LINES}}),
    "field": Remedy("known: data", of_file(WRAPPED, "json", field="rows"), source("json", "a", field="data")),
    "wrapped": Remedy(
        "read the file by `method: json` with `field: data`",
        of_file(WRAPPED, "jsonl"),
        source("json", "a", field="data"),
    ),
    "wrapped, loaded": Remedy(
        "or by load_dataset with `path: json` and `field: data`",
        of_file(WRAPPED, "jsonl"),
        loaded("json", field="data"),
    ),
}

QUOTES = 'input,response\n"a" is a letter,two\nthree,"four\n'

TABLES = {
    "delimiter": Remedy('`delimiter: ";"`', of_file(CSV.replace(",", ";"), "csv"), source("csv", "a", delimiter=";")),
    "tab": Remedy("write `method: tsv`", of_file(CSV.replace(",", "\t"), "csv"), source("tsv", "a")),
    "comma": Remedy("write a comma as `,`", of_file(CSV, "csv", delimiter="comma"), source("csv", "a", delimiter=",")),
    "quotes": Remedy("or write `quotes: false`", of_file(QUOTES, "csv"), source("csv", "a", quotes=False)),
    "doubled": Remedy(
        "then double them", of_file(QUOTES, "csv"), {"files": {"a": CSV + '"""a"" is a letter","""four"\n'}}
    ),
    "cells": Remedy(
        "fix the row or leave it out", of_file(CSV + "five\n", "csv"), {"files": {"a": CSV + "five,six\n"}}
    ),
    "columns of files": Remedy(
        "write both alike",
        {
            "files": {"a.csv": "input,contexts,response\none,x,two\n", "b.csv": CSV},
            **source("csv", ["a.csv", "b.csv"]),
        },
        {"files": {"b.csv": "input,contexts,response\none,,two\n"}},
    ),
    "columns of parquet": Remedy(
        "write both alike",
        {
            "files": {"a.parquet": parquet(), "b.parquet": parquet([{**GOOD, "contexts": ["x"]}])},
            **source("parquet", ["a.parquet", "b.parquet"]),
        },
        {"files": {"b.parquet": parquet([GOOD])}},
    ),
    "repeated column": Remedy(
        "give each another name", of_file("input,input,response\na,b,c\n", "csv"), {"files": {"a": CSV}}
    ),
    "type of a column": Remedy(
        "name another column under `columns:`",
        of_file(parquet([{"input": 1, "question": "one", "response": "two"}]), "parquet"),
        source("parquet", "a", {"input": "question"}),
    ),
}

TWO = {"files": {"a-1.jsonl": LINES, "a-2.jsonl": LINES}}

PATHS = {
    "near": Remedy("did you mean a-1.jsonl?", {**TWO, **source("jsonl", "a1.jsonl")}, source("jsonl", "a-1.jsonl")),
    "empty list": Remedy("name at least one file", {**TWO, **source("jsonl", [])}, source("jsonl", ["a-1.jsonl"])),
    "twice": Remedy(
        "name it once", {**TWO, **source("jsonl", ["a-1.jsonl", "a-*.jsonl"])}, source("jsonl", "a-*.jsonl")
    ),
    "braces": Remedy(
        "write a glob, as in `path: a-*.jsonl`",
        {**TWO, **source("jsonl", "a-{1..2}.jsonl")},
        source("jsonl", "a-*.jsonl"),
    ),
    "braces, list": Remedy(
        "or a list of files",
        {**TWO, **source("jsonl", "a-{1..2}.jsonl")},
        source("jsonl", ["a-1.jsonl", "a-2.jsonl"]),
    ),
    "glob": Remedy("check its folder and suffix", {**TWO, **source("jsonl", "*.json")}, source("jsonl", "*.jsonl")),
    "mapping": Remedy("name files", {**TWO, **source("jsonl", {"a": "a-1.jsonl"})}, source("jsonl", "a-1.jsonl")),
    "scheme": Remedy("known: abfs", {**TWO, **source("jsonl", "ssh://host/a.jsonl")}, source("jsonl", "a-1.jsonl")),
    "cut": Remedy(
        "fetch or write it again",
        of_file(gzip.compress(LINES.encode())[:-9], "jsonl"),
        {"files": {"a": gzip.compress(LINES.encode())}},
    ),
    "cut parquet": Remedy("fetch or write it again", of_file(parquet()[:-9], "parquet"), {"files": {"a": parquet()}}),
    "no bytes": Remedy("fetch or write it again", of_file(b"", "parquet"), {"files": {"a": parquet()}}),
    "no rows": Remedy("check `path`", {"files": {"a": "", "b": LINES}, **source("jsonl", "a")}, source("jsonl", "b")),
    "json line": Remedy("fix it or leave it out", of_file(LINES + '{"input": "a\n', "jsonl"), {"files": {"a": LINES}}),
}

DATASETS = {
    "split": Remedy(
        "pick one, as in `kwargs: {split: train}`",
        {"files": {"a": LINES}, **source("load_dataset", "json", data_files="a")},
        loaded("json"),
    ),
    "joined splits": Remedy(
        "join splits as `a+b`",
        {"files": {"a": LINES}, **source("load_dataset", "json", data_files="a", split=["train[:1]", "train[1:]"])},
        source("load_dataset", "json", data_files="a", split="train[:1]+train[1:]"),
    ),
    "remote code": Remedy(
        "leave it out and name data files",
        {"files": {"a": LINES}, **source("load_dataset", "my/set", trust_remote_code=True)},
        loaded("json"),
    ),
    "pickle": Remedy(
        "use parquet instead",
        {"files": {"a": parquet()}, **source("load_dataset", "pandas", data_files="a")},
        loaded("parquet"),
    ),
    "no files": Remedy(
        "check the folder and the suffix",
        {"files": {"a": LINES}, **source("load_dataset", "json", data_files="b*", split="train")},
        loaded("json"),
    ),
    "argument": Remedy(
        "check the names under `kwargs:`",
        {"files": {"a": LINES}, **source("load_dataset", "json", data_files="a", splitt="train")},
        loaded("json"),
    ),
}


@parametrized(KINDS)
def test_a_file_of_another_kind_is_read_as_its_message_says(remedy: Remedy) -> None:
    follow(remedy)


@parametrized(TABLES)
def test_a_table_is_read_as_its_message_says(remedy: Remedy) -> None:
    follow(remedy)


@parametrized(PATHS)
def test_a_path_is_written_as_its_message_says(remedy: Remedy) -> None:
    follow(remedy)


SAVED = {
    "split missing": Remedy("`kwargs: {split: train}`", disk("splits"), disk("splits", split="train")),
    "other split": Remedy('did you mean "train"?', disk("splits", split="trian"), disk("splits", split="train")),
    "no splits": Remedy("leave `split` out", disk("one", split="train"), disk("one")),
    "folder": Remedy("check the path", disk("onee"), disk("one")),
}


@parametrized(SAVED)
def test_a_saved_dataset_is_loaded_as_its_message_says(remedy: Remedy) -> None:
    dataset = datasets.Dataset.from_list(ROWS)
    dataset.save_to_disk("one")
    datasets.DatasetDict(train=dataset).save_to_disk("splits")
    follow(remedy)


@parametrized(DATASETS)
def test_a_dataset_is_loaded_as_its_message_says(remedy: Remedy) -> None:
    follow(remedy)
