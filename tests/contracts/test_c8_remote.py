"""C8 for rows behind URLs: what fails for a while changes nothing, what fails for good is an error with the file."""

import gzip
import io
import json
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import Any
from unittest import mock

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from samsum_stream import SFTStream, SourceError
from samsum_stream.sources import remote
from tests.resuming import assert_resumes_exactly, equal
from tests.s3 import TRANSIENT, Server, serve
from tests.streams import make_rows, make_stream

NUM_ROWS = 240
FORMATS = ("parquet", "jsonl", "gzip jsonl")
ONE_QUICKLY = ["parquet", *(pytest.param(kind, marks=pytest.mark.slow) for kind in FORMATS[1:])]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve() as server:
        yield server


@pytest.fixture(autouse=True)
def short_waits() -> Iterator[None]:
    with (
        mock.patch.multiple(remote, FIRST_DELAY=0.001, MAX_DELAY=0.01),
        mock.patch("samsum_stream.sources.json_stretches.STRETCH", 3000),
        mock.patch("samsum_stream.sources.files.READ_AT_ONCE", 2048),
    ):
        yield


def content_of(kind: str, rows: list[dict[str, Any]]) -> bytes:
    if kind == "parquet":
        file = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=50)
        return file.getvalue()
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return gzip.compress(lines) if kind == "gzip jsonl" else lines


def source_of(kind: str, server: Server, rows: list[dict[str, Any]], *, name: str = "part") -> dict[str, Any]:
    suffix = {"parquet": "parquet", "jsonl": "jsonl", "gzip jsonl": "jsonl.gz"}[kind]
    for number, start in enumerate(range(0, len(rows), 120)):
        server.write(f"{kind}/{name}-{number}.{suffix}", content_of(kind, rows[start : start + 120]))
    kwargs = {"path": f"s3://rows/{kind}/{name}-*.{suffix}", "storage_options": server.options}
    return {"method": kind.split()[-1], "kwargs": kwargs}


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
@pytest.mark.parametrize("kind", FORMATS)
def test_goes_on_exactly_where_it_was(kind: str, server: Server, epochs: int | None) -> None:
    assert_resumes_exactly(open_stream(kind, server, epochs=epochs).loader, num_steps=12)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", FORMATS)
def test_faults_that_pass_change_no_batch(kind: str, server: Server, num_workers: int) -> None:
    expected = batches(open_stream(kind, server, epochs=None))
    with server.broken(0.05, seed=num_workers) as faults:
        while faults.injected.total() < 2:
            found = batches(open_stream(kind, server, epochs=None), num_workers=num_workers)
            assert all(map(equal, found, expected))


@pytest.mark.parametrize("fault", TRANSIENT)
def test_each_kind_of_fault_is_tried_again(fault: str, server: Server) -> None:
    stream = open_stream("jsonl", server, epochs=None)
    expected = batches(stream, count=4)
    with server.broken(0.2, kinds=[fault]) as faults:
        while faults.injected[fault] < 2:
            assert all(map(equal, batches(stream, count=4), expected))


@pytest.mark.parametrize("fault", ["503", "half a body that looks whole"])
@pytest.mark.parametrize("kind", ONE_QUICKLY)
def test_a_fault_that_stays_is_an_error_without_a_secret(kind: str, fault: str, server: Server) -> None:
    stream = open_stream(kind, server)
    with (
        mock.patch.object(remote, "MAX_ATTEMPTS", 2),  # each of which s3fs makes five of, with waits of its own
        server.broken(1.0, kinds=[fault]),
        pytest.raises(SourceError) as caught,
    ):
        list(stream)
    assert f"s3://rows/{kind}/part-" in str(caught.value)
    assert "(tried 2 times)" in str(caught.value)
    for secret in ("s3cr3t", "AKIAEXAMPLEKEY"):
        assert secret not in f"{caught.value!r}{caught.value.__cause__!r}{caught.value.__context__!r}"


def test_a_file_that_is_not_there_is_an_error_at_once(server: Server) -> None:
    kwargs = {"path": "s3://rows/nowhere-*.parquet", "storage_options": server.options}
    with pytest.raises(SourceError, match=r"there is no file s3://rows/nowhere-\*\.parquet; check the path"):
        make_stream(source_config={"method": "parquet", "kwargs": kwargs})


@pytest.mark.parametrize("path", ["memory://transient/*.jsonl", "memory://transient/1.jsonl"])
def test_looking_up_files_is_tried_again_too(path: str) -> None:
    """A file that could not be looked up for a moment is not one that is not there."""
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


class Ranges(SimpleHTTPRequestHandler):
    """A web server that sends the bytes that it is asked for."""

    def do_GET(self) -> None:
        content = Path(self.translate_path(self.path)).read_bytes()
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        part = content[int(first) : int(last) + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)


def test_files_are_read_by_http(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(content_of("jsonl", make_rows(60)))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Ranges, directory=str(tmp_path))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        path = f"http://127.0.0.1:{server.server_port}/rows.jsonl"
        stream = make_stream(source_config={"method": "jsonl", "kwargs": {"path": path}})
        inputs = [int(example.input_ids[1]) for pack in stream for example in pack.examples]
        server.shutdown()
    assert sorted(inputs) == sorted(int(row["input"]) for row in make_rows(60))
