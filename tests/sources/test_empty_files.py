"""A file without rows is legal in every format beside files with rows; a warning names it."""

import gzip
import io
import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from samsum_stream import SourceError
from samsum_stream.errors import once
from tests.sources.formats import EXPECTED, FORMATS, ROWS, open_source, pairs_of
from tests.streams import make_rows, make_stream, rows_of_batches


def nothing_in_parquet() -> bytes:
    """What pandas writes for a frame of nothing."""
    file = io.BytesIO()
    pq.write_table(pa.table({}), file)
    return file.getvalue()


EMPTY = {
    "no bytes": ("jsonl", b""),
    "blank lines": ("jsonl", b" \r\n\n"),
    "byte order mark": ("jsonl", b"\xef\xbb\xbf"),
    "gzip of nothing": ("jsonl", gzip.compress(b"")),
    "gzip of blank lines": ("jsonl", gzip.compress(b"\n\n")),
    "empty array": ("json", b"[]\n"),
    "gzip of an empty array": ("json", gzip.compress(b"[]")),
    "table without a header": ("csv", b""),
    "table with a header only": ("csv", b"input,response\r\n"),
    "tabs with a header only": ("tsv", b"\xef\xbb\xbfinput\tresponse\n"),
    "tar": ("webdataset", FORMATS["webdataset"][1]([])),
    "gzip of a tar": ("webdataset", gzip.compress(FORMATS["webdataset"][1]([]))),
    "parquet": ("parquet", FORMATS["parquet"][1]([])),
    "parquet without columns": ("parquet", nothing_in_parquet()),
    "table with another header": ("csv", b"x,y,z\n"),
}
each_kind = pytest.mark.parametrize("kind", EMPTY)


@pytest.fixture(autouse=True)
def _warnings_are_new() -> None:
    once.warn_once.cache_clear()


@each_kind
@pytest.mark.parametrize("place", [0, 1, 2])
def test_it_is_passed_over_with_a_warning(
    tmp_path: Path, kind: str, place: int, caplog: pytest.LogCaptureFixture
) -> None:
    method, content = EMPTY[kind]
    for number in range(3):
        (tmp_path / f"{number}").write_bytes(content if number == place else FORMATS[method][1](ROWS))
    assert pairs_of(open_source(method, [str(tmp_path / name) for name in "012"])) == EXPECTED * 2
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        f"rows: {tmp_path}/{place} holds no rows"
    ]


@each_kind
def test_nothing_but_such_files_is_an_error(tmp_path: Path, kind: str) -> None:
    method, content = EMPTY[kind]
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(SourceError, match="rows: the(re are no| files hold no) rows"):
        open_source(method, tmp_path / "a").first_block(10)


@each_kind
@pytest.mark.parametrize(("num_workers", "num_files"), [(0, 3), (2, 3), (2, 40)])
def test_every_lane_reads_the_other_rows_once(tmp_path: Path, kind: str, num_workers: int, num_files: int) -> None:
    method, content = EMPTY[kind]
    rows = make_rows(80)
    for number in range(num_files):
        part = [] if number % 3 == 1 else rows[number * 2 :: 2 * num_files] + rows[number * 2 + 1 :: 2 * num_files]
        (tmp_path / f"{number:02}").write_bytes(FORMATS[method][1](part) if part else content)
    stream = make_stream(
        source_config={"method": method, "kwargs": {FORMATS[method][0]: [str(p) for p in sorted(tmp_path.iterdir())]}},
        lanes=4, epochs=1,
    )  # fmt: skip
    expected = [row for row in range(80) if (row // 2) % num_files % 3 != 1]
    assert sorted(rows_of_batches(stream.loader(num_workers=num_workers))) == expected


@pytest.mark.parametrize("method", ["json", "webdataset", "parquet"])
def test_no_bytes_are_a_cut_file_if_the_format_has_an_end(tmp_path: Path, method: str) -> None:
    (tmp_path / "0").touch()
    (tmp_path / "1").write_bytes(FORMATS[method][1](ROWS))
    with pytest.raises(SourceError, match=r"0 (is empty|cannot be read).*fetch or write it again"):
        open_source(method, [str(tmp_path / "0"), str(tmp_path / "1")])
