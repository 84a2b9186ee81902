"""Blocks of rows that come over a network are fetched ahead in threads: one of each lane, all of them in so many bytes.

reader    take block 0 │ tokenize, pack, ... │ take block 1 │ tokenize, pack, ...
thread                 │ fetch block 1       │              │ fetch block 2

Whoever reads gets the same blocks in the same order, and the same error in the same place, sooner.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from samsum_stream.sources.base import Block, Source

T = TypeVar("T")

NUM_THREADS = 4
MAX_BYTES = 1 << 27
"""Bytes of blocks that a process may hold or be fetching before they are asked for; or one block that is larger."""


class ReadAhead:
    """Fetches ahead for the lanes of one process, in which it is made, until it is closed.

    Attributes:
        seconds_waited: How long the blocks of remote files were waited for.
    """

    def __init__(self) -> None:
        self.seconds_waited = 0.0
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="read-ahead")  # none starts before a block
        self._reserved: dict[Future[Any] | None, int] = {}

    def of(self, source: Source, found: Iterator[tuple[T, Block]]) -> Iterator[tuple[T, Block]]:
        """The blocks of a source, each with what its reader knows of it; those of local files as they are asked for."""
        return self._ahead(found) if source.is_remote else found

    def take_seconds_waited(self) -> float:
        """How long it was since this was asked last."""
        seconds, self.seconds_waited = self.seconds_waited, 0.0
        return seconds

    def close(self) -> None:
        """Wait for the threads to end; what they fetched is forgotten."""
        for fetched in filter(None, self._reserved):
            fetched.cancel()
        self._threads.shutdown()

    def _ahead(self, found: Iterator[tuple[T, Block]]) -> Iterator[tuple[T, Block]]:
        fetch = partial(next, found, None)
        fetched: Future[tuple[T, Block] | None] | None = None
        try:
            while (pair := self._timed(fetch if fetched is None else fetched.result)) is not None:
                self._reserved.pop(fetched, None)
                fetched = self._started(fetch, pair[1].num_bytes)
                yield pair
        finally:
            self._reserved.pop(fetched, None)

    def _started(self, fetch: Callable[[], T], num_bytes: int) -> Future[T] | None:
        """What is fetched from now on, where it has room if it is as large as the block before it."""
        if self._reserved and sum(self._reserved.values()) + num_bytes > MAX_BYTES:
            return None
        fetched = self._threads.submit(fetch)
        self._reserved[fetched] = num_bytes
        return fetched

    def _timed(self, wait: Callable[[], T]) -> T:
        start = time.perf_counter()
        try:
            return wait()
        finally:
            self.seconds_waited += time.perf_counter() - start
