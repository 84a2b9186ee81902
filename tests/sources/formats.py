"""Files of every format with the same rows, as their usual writers leave them."""

import bz2
import csv
import gzip
import io
import json
import lzma
import tarfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from samsum_stream.sources import SOURCES, IndexedSource, SequentialSource, Source, as_source
from samsum_stream.values.rows import Rows

Row = dict[str, Any]
ROWS: list[Row] = [
    {"input": f"question {number}, “déjà”", "response": f'first\nsecond, "{number}" 漢'} for number in range(20)
]
EXPECTED = [(row["input"], row["response"]) for row in ROWS]


def lines_of(rows: Sequence[Row]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def array_of(rows: Sequence[Row]) -> bytes:
    return json.dumps(rows, indent=2, ensure_ascii=False).encode()


def table_of(rows: Sequence[Row], *, delimiter: str = ",", end: str = "\n") -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, ["input", "response"], delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def tar_of(rows: Sequence[Row]) -> bytes:
    return tar_of_members([(f"{n:04}.json", json.dumps(row).encode()) for n, row in enumerate(rows)])


def tar_of_members(members: Sequence[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def parquet_of(rows: Sequence[Row]) -> bytes:
    file = io.BytesIO()
    schema = pa.schema([("input", pa.string()), ("response", pa.string())])
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), file)
    return file.getvalue()


def zstd(content: bytes) -> bytes:
    compressed: bytes = pa.compress(content, codec="zstd", asbytes=True)
    return compressed


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstd,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}
FORMATS: dict[str, tuple[str, Callable[[Sequence[Row]], bytes]]] = {
    "jsonl": ("path", lines_of),
    "json": ("path", array_of),
    "csv": ("path", table_of),
    "tsv": ("path", partial(table_of, delimiter="\t", end="\r\n")),
    "webdataset": ("urls", tar_of),
    "parquet": ("path", parquet_of),
}
"""For each method, the name of its argument, and the function that gives a file."""


def open_source(method: str, path: object, **columns: str) -> Source:
    source = SOURCES[method](**{FORMATS[method][0]: str(path) if isinstance(path, Path) else path})
    return as_source(source, name="rows", columns=columns)


def rows_of(source: Source) -> list[Rows]:
    """All rows, in the order of the source."""
    if isinstance(source, IndexedSource):
        return [source.take(np.arange(source.num_rows))]
    assert isinstance(source, SequentialSource)
    blocks = [block for shard in range(len(source.shards)) for block in source.blocks(shard, num_rows=7)]
    return [block.take(np.arange(block.num_rows)) for block in blocks]


def pairs_of(source: Source) -> list[tuple[str, str]]:
    """The input and the response of all rows, in the order of the source."""
    rows = rows_of(source)
    return [pair for part in rows for pair in zip(part.content.inputs, part.content.responses, strict=True)]
