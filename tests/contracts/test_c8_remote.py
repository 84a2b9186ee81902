"""C8 for rows behind URLs: a transient failure changes nothing, and a permanent failure is an error with the file."""

import gzip
import io
import json
import pickle
import re
import socket
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from fsspec.implementations.memory import MemoryFileSystem

from samsum_stream import SFTStream, SourceError
from samsum_stream.sources import SequentialSource, as_source
from samsum_stream.sources.files import remote
from samsum_stream.sources.files.lookup import look_up
from samsum_stream.sources.tars.samples import webdataset
from tests.resuming import assert_resumes_exactly, equal
from tests.s3 import FLIPPED, TRANSIENT, Server
from tests.sources.test_tars import tar_of
from tests.streams import make_rows, make_stream
from tests.web import serve_folder

NUM_ROWS = 240
SUFFIXES = {"parquet": "parquet", "jsonl": "jsonl", "gzip jsonl": "jsonl.gz", "tar": "tar", "gzip tar": "tar.gz"}
ENDS = ("json", "jpg")
FORMATS = (*SUFFIXES, "saved")


def quickly(*quick: str, of: Sequence[str] = FORMATS) -> list[Any]:
    """All kinds of files; those that are not in `quick` are slow tests."""
    return [kind if kind in quick else pytest.param(kind, marks=pytest.mark.slow) for kind in of]


@pytest.fixture(autouse=True)
def short_waits() -> Iterator[None]:
    with (
        mock.patch.multiple(remote, FIRST_DELAY=0.001, MAX_DELAY=0.01),
        mock.patch("samsum_stream.sources.json_lines.sequential.RANGE_SIZE", 3000),
        mock.patch("samsum_stream.sources.files.expand.BUFFER_SIZE", 1 << 14),
        mock.patch("samsum_stream.sources.files.expand.MAX_WHOLE_SIZE", 0),
    ):
        yield


def content_of(kind: str, rows: list[dict[str, Any]]) -> bytes:
    if kind == "parquet":
        file = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=50, write_page_checksum=True)
        return file.getvalue()
    if kind.endswith("tar"):
        plain = tar_of([(f"{number:06d}.json", json.dumps(row).encode()) for number, row in enumerate(rows)])
    else:
        plain = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return gzip.compress(plain) if kind.startswith("gzip") else plain


def source_of(kind: str, server: Server, rows: list[dict[str, Any]], *, name: str = "part") -> dict[str, Any]:
    """Rows behind `s3://rows/{kind}/{name}-...`, in files of 120."""
    options = {"storage_options": server.options}
    if kind == "saved":
        with TemporaryDirectory() as folder:
            Dataset.from_list(rows).save_to_disk(folder, num_shards=2)
            for file in Path(folder).iterdir():
                server.write(f"{kind}/{name}-1/{file.name}", file.read_bytes())
        return {"method": "load_from_disk", "kwargs": {"dataset_path": f"s3://rows/{kind}/{name}-1", **options}}
    for number, start in enumerate(range(0, len(rows), 120)):
        server.write(f"{kind}/{name}-{number}.{SUFFIXES[kind]}", content_of(kind, rows[start : start + 120]))
    url = f"s3://rows/{kind}/{name}-*.{SUFFIXES[kind]}"
    if kind.endswith("tar"):
        return {"method": "webdataset", "kwargs": {"urls": url, **options}}
    return {"method": kind.split()[-1], "kwargs": {"path": url, **options}}


def open_stream(kind: str, server: Server, **changes: Any) -> SFTStream:
    return make_stream(source_config=source_of(kind, server, make_rows(NUM_ROWS)), **{"lanes": 4, **changes})


def batches(stream: SFTStream, *, num_workers: int = 0, count: int = 40) -> list[dict[str, Any]]:
    loader = stream.loader(num_workers=num_workers)
    return [{**batch, "info": str(loader.last_batch_info)} for batch in islice(loader, count)]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_row_is_read_once(kind: str, server: Server) -> None:
    stream = open_stream(kind, server)
    inputs = [example.input_ids[1] for pack in stream for example in pack.examples]
    assert sorted(inputs) == sorted(int(row["input"]) for row in make_rows(NUM_ROWS))


@pytest.mark.parametrize("epochs", [None, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", quickly("parquet", "jsonl", "gzip jsonl"))
def test_it_resumes_exactly(kind: str, server: Server, epochs: int | None) -> None:
    with mock.patch("samsum_stream.lanes.order.SHUFFLED_BLOCK", 16):
        assert_resumes_exactly(open_stream(kind, server, epochs=epochs).loader, num_steps=12)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", quickly("parquet", "jsonl", "saved"))
def test_transient_faults_change_no_batch(kind: str, server: Server, num_workers: int) -> None:
    expected = batches(open_stream(kind, server, epochs=None))
    with server.broken(0.05, seed=num_workers) as faults:
        while faults.injected.total() < 2:
            read = batches(open_stream(kind, server, epochs=None), num_workers=num_workers)
            assert all(map(equal, read, expected))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", quickly("parquet", "jsonl", "saved"))
def test_bytes_that_change_in_transit_change_no_batch(kind: str, server: Server, num_workers: int) -> None:
    """Files that are fetched in one read are verified, and so are parquet pages with checksums."""
    with mock.patch("samsum_stream.sources.files.expand.MAX_WHOLE_SIZE", 1 << 23):
        stream = open_stream(kind, server, epochs=None)
        expected = batches(stream)
        with server.broken(0.2, kinds=[FLIPPED], seed=num_workers) as faults:
            while faults.injected.total() < 3:
                stream = open_stream(kind, server, epochs=None) if kind == "saved" else stream
                assert all(map(equal, batches(stream, num_workers=num_workers), expected))


@pytest.mark.parametrize("fault", TRANSIENT)
def test_each_kind_of_fault_is_retried(fault: str, server: Server) -> None:
    stream = open_stream("jsonl", server, epochs=None)
    expected = batches(stream, count=4)
    with server.broken(0.2, kinds=[fault]) as faults:
        while faults.injected[fault] < 2:
            assert all(map(equal, batches(stream, count=4), expected))


@pytest.mark.parametrize("fault", ["503", "half a body that looks whole", FLIPPED])
@pytest.mark.parametrize("kind", quickly("parquet", "saved"))
def test_a_permanent_fault_is_an_error_without_a_secret(kind: str, fault: str, server: Server) -> None:
    source = source_of(kind, server, make_rows(NUM_ROWS))
    stream = None if kind == "saved" else make_stream(source_config=source, lanes=4)
    with (
        mock.patch.object(remote, "MAX_ATTEMPTS", 2),  # s3fs makes five requests per attempt, with waits
        mock.patch("samsum_stream.sources.files.expand.MAX_WHOLE_SIZE", 1 << 23),
        server.broken(1.0, kinds=[fault], where=f"{kind}/part-"),
        pytest.raises(SourceError) as caught,
    ):
        list(stream or make_stream(source_config=source, lanes=4))
    assert re.search(rf"s3://rows/{kind}/part-|/part-\d\.{SUFFIXES.get(kind)}", str(caught.value))
    assert kind == "parquet" or "(tried 2 times)" in str(caught.value)
    assert_no_secret(f"{caught.value!r}{caught.value.__cause__!r}{caught.value.__context__!r}")


@pytest.mark.parametrize("kind", quickly("jsonl"))
def test_no_secret_is_in_a_log_line_a_state_or_a_list_of_bad_rows(
    kind: str, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{**row, "response": ""} if number % 9 == 0 else row for number, row in enumerate(make_rows(NUM_ROWS))]
    bad = tmp_path / "bad.jsonl"
    faults = {"on_bad_row": "skip", "max_bad_rows": NUM_ROWS, "quarantine_path": str(bad)}
    source = source_of(kind, server, rows, name="secret")
    with server.broken(0.3) as injected, caplog.at_level("DEBUG", logger="samsum_stream"):
        stream = make_stream(source_config=source, lanes=4, epochs=None, fault_config=faults)
        loader = stream.loader()
        while injected.injected.total() < 2 or not stream.stats.skipped:
            assert len(list(islice(loader, 4))) == 4
    assert "trying again" in caplog.text
    assert_no_secret(caplog.text, json.dumps(loader.state_dict()), bad.read_text(), str(stream.stats))


def assert_no_secret(*texts: str) -> None:
    for text in texts:
        for secret in ("s3cr3t", "AKIAEXAMPLEKEY"):
            assert secret not in text


@pytest.mark.parametrize("checksum", [True, False])
def test_a_whole_object_is_compared_with_its_checksum_or_its_md5(checksum: bool, server: Server) -> None:
    content = content_of("jsonl", make_rows(10))
    file = look_up(server.write("whole.jsonl", content, checksum=checksum), server.options)
    assert file is not None
    with server.broken(0.5, kinds=[FLIPPED]) as faults:
        while faults.injected.total() < 2:
            assert file.read(0, file.size) == content


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "tar"])
def test_a_file_that_changes_while_it_is_read_is_an_error(kind: str, server: Server) -> None:
    """Bytes of two versions would give rows that neither version has."""
    source = source_of(kind, server, make_rows(NUM_ROWS), name="changing")
    packs = iter(make_stream(source_config=source, lanes=4, epochs=None))
    next(packs)
    source_of(kind, server, make_rows(NUM_ROWS)[::-1], name="changing")
    with pytest.raises(SourceError, match="the file has changed since it was looked up; start again"):
        for _ in islice(packs, NUM_ROWS):
            pass


def test_a_tar_is_read_from_any_row_without_the_bytes_before_it(server: Server) -> None:
    """The first pass reads only headers; a later pass starts at the offset of the block."""
    row, photo = json.dumps({"input": "10", "response": "11"}).encode(), bytes(30_000)
    content = tar_of([(f"{number}.{end}", row if end == "json" else photo) for number in range(40) for end in ENDS])
    url = server.write("wide.tar", content)
    source = as_source(webdataset(url, server.options), name="rows", columns={})
    assert isinstance(source, SequentialSource)
    with mock.patch.object(remote, "READ_AFTER_A_JUMP", 2048):
        for _ in source.blocks(0, num_rows=10):
            pass
        for fresh, most_requests, share in ((True, 45, 0.2), (False, 15, 0.05)):
            reader = pickle.loads(pickle.dumps(as_source(webdataset(url, server.options), name="rows", columns={})))
            with server.counted() as traffic:
                block = next((reader if fresh else source).blocks(0, num_rows=10, start=30))
            assert block.num_rows == 10
            assert traffic["requests"] <= most_requests
            assert traffic["bytes"] < share * len(content)


def test_a_folder_that_cannot_be_listed_is_not_an_empty_folder(server: Server) -> None:
    for folder in range(3):
        server.write(f"folders/{folder}/rows.jsonl", content_of("jsonl", make_rows(10)))
    kwargs = {"path": "s3://rows/folders/*/rows.jsonl", "storage_options": server.options}
    source = {"method": "jsonl", "kwargs": kwargs}
    with (
        mock.patch.object(remote, "MAX_ATTEMPTS", 1),
        server.broken(1.0, kinds=["503"], where="prefix=folders/1/"),
        pytest.raises(SourceError, match=r"looking up s3://rows/folders/\*/rows\.jsonl failed: .*reduce your request"),
    ):
        make_stream(source_config=source)
    assert sum(len(pack.examples) for pack in make_stream(source_config=source)) == 30


def test_a_file_that_is_named_twice_is_an_error(server: Server) -> None:
    url = server.write("twice.jsonl", content_of("jsonl", make_rows(10)))
    kwargs = {"path": [url, url], "storage_options": server.options}
    with pytest.raises(SourceError, match=r"s3://rows/twice\.jsonl is named 2 times, so its rows would repeat"):
        make_stream(source_config={"method": "jsonl", "kwargs": kwargs})


def test_a_missing_file_is_an_error_at_once(server: Server) -> None:
    kwargs = {"path": "s3://rows/nowhere-*.parquet", "storage_options": server.options}
    with pytest.raises(SourceError, match=r"there is no file s3://rows/nowhere-\*\.parquet; check the path"):
        make_stream(source_config={"method": "parquet", "kwargs": kwargs})


@pytest.mark.parametrize("path", ["memory://transient/*.jsonl", "memory://transient/1.jsonl"])
def test_looking_up_files_is_retried_too(path: str) -> None:
    """A transient failure of the look-up does not mean that the file is missing."""
    files = fsspec.filesystem("memory")
    for number in range(3):
        files.pipe_file(f"/transient/{number}.jsonl", content_of("jsonl", make_rows(20)))

    def whole() -> int:
        return sum(1 for pack in make_stream(source_config=source) for _ in pack.examples)

    source = {"method": "jsonl", "kwargs": {"path": path}}
    expected = whole()
    for name in ("info", "ls"):
        failing = [TimeoutError("for a moment")]
        working = getattr(MemoryFileSystem, name)

        def broken(self: Any, *args: Any, working: Any = working, failing: Any = failing, **kwargs: Any) -> Any:
            if failing:
                raise failing.pop()
            return working(self, *args, **kwargs)

        with mock.patch.object(MemoryFileSystem, name, broken):
            assert whole() == expected


@pytest.mark.parametrize("kind", SUFFIXES)
def test_files_are_read_by_http(tmp_path: Path, kind: str) -> None:
    """The query of a URL is not a glob; a version that was not looked up is an error."""
    file = tmp_path / f"rows.{SUFFIXES[kind]}"
    file.write_bytes(content_of(kind, make_rows(60)))
    method, key = ("webdataset", "urls") if "tar" in kind else (kind.split()[-1], "path")
    with serve_folder(tmp_path) as url:
        source = {"method": method, "kwargs": {key: f"{url}/{file.name}?signature=s3cr3t"}}
        stream = make_stream(source_config=source)
        inputs = [int(example.input_ids[1]) for pack in stream for example in pack.examples]
        assert sorted(inputs) == sorted(int(row["input"]) for row in make_rows(60))
        file.write_bytes(content_of(kind, make_rows(60)[::-1]))
        with pytest.raises(SourceError, match="the file has changed since it was looked up") as caught:
            list(stream)
        assert "s3cr3t" not in str(caught.value)


def test_an_unreachable_web_server_is_not_a_missing_file() -> None:
    """A server that does not accept connections yet is retried; fsspec reports any HTTP failure as a missing file."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for url, message in (
        (f"http://127.0.0.1:{port}/rows.jsonl", r"failed \(tried 6 times\): .*Connect"),
        ("http://nowhere.invalid/rows.jsonl", r"failed: .*Cannot connect to host nowhere\.invalid"),
    ):
        with pytest.raises(SourceError, match=f"looking up {url} {message}"):
            make_stream(source_config={"method": "jsonl", "kwargs": {"path": url}})


def test_a_file_that_the_web_server_does_not_have_is_a_missing_file(tmp_path: Path) -> None:
    with serve_folder(tmp_path) as url, pytest.raises(SourceError, match="there is no file http://.*/rows.jsonl; "):
        make_stream(source_config={"method": "jsonl", "kwargs": {"path": f"{url}/rows.jsonl"}})
