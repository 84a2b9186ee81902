"""Reading ahead: the same blocks in the same order, earlier, in threads that end with their reader."""

import gc
import gzip
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count, islice
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from samsum_stream import SFTStream, SourceError
from samsum_stream.lanes.order import Order
from samsum_stream.lanes.position import Cursor
from samsum_stream.pipeline.read_ahead import NUM_THREADS, ReadAhead
from samsum_stream.pipeline.readers import Reader, make_reader
from samsum_stream.sources import Block, SequentialSource, Shard
from samsum_stream.values.rows import Instructions, Rows
from tests.resuming import equal
from tests.streams import make_rows, make_stream, write_lines
from tests.web import serve_folder

MAX_BYTES = 1000


@pytest.fixture(autouse=True)
def few_bytes() -> Iterator[None]:
    with mock.patch("samsum_stream.pipeline.read_ahead.MAX_BYTES", MAX_BYTES):
        yield
    assert_no_threads()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def assert_no_threads() -> None:
    """A thread ends after the block that it is fetching, and keeps its reader until then."""
    deadline = time.monotonic() + 10
    while running := threads():
        assert time.monotonic() < deadline, running
        time.sleep(0.01)
        gc.collect()


class Blocks(SequentialSource):
    """A remote source of endless shards with blocks of one row; it counts the bytes that are fetched and taken."""

    is_remote = True

    def __init__(self, *, num_shards: int, num_bytes: int, breaks_at: int | None = None) -> None:
        super().__init__(name="rows", shards=tuple(Shard(str(number), None) for number in range(num_shards)))
        self.num_bytes, self.error = num_bytes, SourceError("broken")
        self.breaks_at = breaks_at
        self.fetched = self.taken = self.most_ahead = 0
        self.fetched_by: set[threading.Thread] = set()
        self._lock = threading.Lock()

    def blocks(self, shard: int, *, num_rows: int, start: int = 0) -> Iterator[Block]:
        for row in count(start):
            if row == self.breaks_at:
                raise self.error
            with self._lock:
                self.fetched_by.add(threading.current_thread())
                self.fetched += self.num_bytes
                self.most_ahead = max(self.most_ahead, self.fetched - self.taken)
            yield Block(1, lambda indices, row=row: self._take(shard, row), self.num_bytes)

    def _take(self, shard: int, row: int) -> Rows:
        with self._lock:
            self.taken += self.num_bytes
        return Rows(Instructions([""], [""]), np.array([shard], np.int32), np.array([row]))

    def reader(self, read_ahead: ReadAhead, num_lanes: int = 1) -> Reader:
        starts = dict.fromkeys(range(num_lanes), Cursor(0, 0, 0))
        return make_reader(self, order=Order(num_lanes, 0, shuffle=False), starts=starts, read_ahead=read_ahead)


@pytest.mark.parametrize("num_lanes", [1, 6])
@pytest.mark.parametrize(("num_bytes", "num_ahead"), [(200, 5), (400, 2), (5000, 1)])
def test_bytes_that_are_fetched_ahead_are_limited(num_lanes: int, num_bytes: int, num_ahead: int) -> None:
    source = Blocks(num_shards=4 * num_lanes, num_bytes=num_bytes)
    with closing(ReadAhead()) as read_ahead:
        reader = source.reader(read_ahead, num_lanes)
        lanes = [reader.epoch(lane, Cursor(0, 0, 0)) for lane in range(num_lanes)]
        for number in range(30):
            chunks = [next(lane) for lane in lanes]
            assert [rows.rows.tolist() for _, rows in chunks] == [[number]] * num_lanes
            time.sleep(0.005)
    # The last block may be fetched, but not taken yet, while the next one is being fetched.
    assert min(num_ahead, num_lanes) <= source.most_ahead // num_bytes <= num_ahead + 1
    assert 1 < len(source.fetched_by) <= 1 + NUM_THREADS


@pytest.mark.parametrize("num_shards", [3, 8])
def test_an_error_comes_unchanged_after_the_rows_before_it(num_shards: int) -> None:
    """With few shards, which lanes share, and with many shards, which each lane reads on its own."""
    source = Blocks(num_shards=num_shards, num_bytes=1, breaks_at=3)
    numbers = []

    def read() -> None:
        with closing(ReadAhead()) as read_ahead:
            reader = source.reader(read_ahead, 2 if num_shards == 8 else 1)
            for _, rows in reader.epoch(0, Cursor(0, 0, 0)):
                numbers.extend(rows.rows.tolist())
                time.sleep(0.05)

    with pytest.raises(SourceError) as caught:
        read()
    assert caught.value is source.error
    assert numbers == [0, 1, 2]


@pytest.mark.parametrize("num_shards", [3, 8])
def test_threads_end_if_a_reader_is_deleted(num_shards: int) -> None:
    chunks = Blocks(num_shards=num_shards, num_bytes=1).reader(ReadAhead()).epoch(0, Cursor(0, 0, 0))
    assert len(list(islice(chunks, 3))) == 3
    assert threads()
    del chunks
    assert_no_threads()


SLOW = """
from itertools import islice
from tests.pipeline.test_read_ahead import slow_stream

batches = iter(slow_stream("{url}").loader())
print(len(list(islice(batches, 3))))
"""


def slow_stream(url: str) -> SFTStream:
    """Four files of one block each."""
    paths = [f"{url}/{number}.jsonl" for number in range(4)]
    source = {"method": "jsonl", "kwargs": {"path": paths}}
    prompt = {"kwargs": {"response_template": "say {text}"}}
    return make_stream(source_config=source, prompt_config=prompt, lanes=1, epochs=None)


@pytest.fixture
def slow_server(tmp_path: Path) -> Iterator[str]:
    for number in range(4):
        write_lines(tmp_path / f"{number}.jsonl", make_rows(200))
    with serve_folder(tmp_path, delay=0.2) as url:
        yield url


def train(stream: SFTStream) -> list[dict[str, Any]]:
    """120 batches, each with a step of 0.01 seconds; a file has about 30 batches."""
    batches = []
    for batch in islice(stream.loader(), 120):
        batches.append(batch)
        time.sleep(0.01)
    return batches


def test_training_waits_less_for_a_slow_server_and_gets_the_same_batches(slow_server: str) -> None:
    ahead, on_demand = slow_stream(slow_server), slow_stream(slow_server)
    on_demand.pipeline.source.is_remote = False
    batches, expected = train(ahead), train(on_demand)
    assert all(map(equal, batches, expected))
    assert on_demand.stats.seconds_waited > 4 * 0.2
    assert ahead.stats.seconds_waited < 0.8 * on_demand.stats.seconds_waited
    assert 0 < ahead.stats.seconds_waited_for_files <= ahead.stats.seconds_waited
    print(
        f"waited {ahead.stats.seconds_waited:.2f} s, and {on_demand.stats.seconds_waited:.2f} s without reading ahead"
    )


@pytest.mark.slow
def test_a_process_with_an_open_iterator_ends(slow_server: str) -> None:
    script = SLOW.format(url=slow_server)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "")


def test_no_other_thread_reads_local_files(tmp_path: Path) -> None:
    content = write_lines(tmp_path / "rows.jsonl", make_rows(200)).read_bytes()
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(content))
    stream = make_stream(source_config={"method": "jsonl", "kwargs": {"path": str(tmp_path / "*.gz")}}, lanes=1)
    for _ in stream.loader():
        assert not threads()
    assert stream.stats.seconds_waited_for_files == 0 < stream.stats.seconds_waited
