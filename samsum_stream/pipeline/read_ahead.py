"""Threads that fetch blocks of remote files ahead: the next block of each reader, within a limit of memory.

reader    take block 0 │ tokenize, pack, ... │ take block 1 │ tokenize, pack, ...
thread                 │ fetch block 1       │              │ fetch block 2

The reader gets the same blocks in the same order, and an error at the same block, as without threads.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from samsum_stream.sources.base import Block, Source

T = TypeVar("T")

NUM_THREADS = 4
"""Threads of a process that fetch blocks."""

MAX_BYTES = 1 << 27
"""The maximum number of bytes of all blocks that are fetched ahead; one block may be larger."""


class ReadAhead:
    """Fetches blocks ahead for all readers of one process. It must be created in this process, and closed at the end.

    Attributes:
        seconds_waited: The seconds that readers waited for blocks of remote files.
    """

    def __init__(self) -> None:
        self.seconds_waited = 0.0
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="read-ahead")  # starts no thread yet
        self._reserved: dict[Future[Any] | None, int] = {}

    def of(self, source: Source, blocks: Iterator[tuple[T, Block]]) -> Iterator[tuple[T, Block]]:
        """The same blocks, fetched ahead if the source is remote.

        Args:
            source: The source.
            blocks: The blocks, each with a value of its reader.
        """
        return self._ahead(blocks) if source.is_remote else blocks

    def take_seconds_waited(self) -> float:
        """The value of `seconds_waited`, which is set back to 0."""
        seconds, self.seconds_waited = self.seconds_waited, 0.0
        return seconds

    def close(self) -> None:
        """Wait for the threads to end, and discard the blocks that they fetched."""
        for future in filter(None, self._reserved):
            future.cancel()
        self._threads.shutdown()

    def _ahead(self, blocks: Iterator[tuple[T, Block]]) -> Iterator[tuple[T, Block]]:
        fetch = partial(next, blocks, None)
        future: Future[tuple[T, Block] | None] | None = None
        try:
            while (pair := self._timed(fetch if future is None else future.result)) is not None:
                self._reserved.pop(future, None)
                future = self._submit(fetch, pair[1].num_bytes)
                yield pair
        finally:
            self._reserved.pop(future, None)

    def _submit(self, fetch: Callable[[], T], num_bytes: int) -> Future[T] | None:
        """Start to fetch the next block; return None if a block of `num_bytes` would exceed the limit of memory.

        The size of the next block is unknown. It is estimated by the size of the block before.
        """
        if self._reserved and sum(self._reserved.values()) + num_bytes > MAX_BYTES:
            return None
        future = self._threads.submit(fetch)
        self._reserved[future] = num_bytes
        return future

    def _timed(self, wait: Callable[[], T]) -> T:
        """The result of `wait`; its time is added to `seconds_waited`."""
        start = time.perf_counter()
        try:
            return wait()
        finally:
            self.seconds_waited += time.perf_counter() - start
