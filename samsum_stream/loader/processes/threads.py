"""Items that a thread produces in advance, for a worker or for a loader without workers.

training process   take batch 0    │ model step ...           │ take batch 1    │ ...
thread             produce batch 1 │ produce batch 2 │ (full) │ produce batch 3 │ ...

Tokenizers release the GIL while they encode. A worker benefits mainly from the memory of the thread. The heap that the
worker inherits by fork is fragmented and shared with the training process, so allocations in it are slow and copy
pages. A thread has an arena of its own.
"""

import gc
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from torch.utils.data import get_worker_info

from samsum_stream.loader.processes.lifetime import end_with_training_process
from samsum_stream.loader.processes.ranks import this_worker

T = TypeVar("T")

_PRODUCING = threading.RLock()
"""Held while a thread produces an item. A fork waits for it, because a lock that is held stays locked in the child."""

if hasattr(os, "register_at_fork"):  # Windows has no forks
    _release = _PRODUCING.release
    os.register_at_fork(before=_PRODUCING.acquire, after_in_parent=_release, after_in_child=_release)


def prefetched(items: Generator[T], *, num_ahead: int) -> Iterator[T]:
    """The same items. A thread produces up to `num_ahead` of them in advance. Errors are raised at the same item."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="samsum-stream")
    try:
        futures = deque(thread.submit(_next, items) for _ in range(num_ahead))
        while item := futures.popleft().result():
            futures.append(thread.submit(_next, items))
            yield from item
    finally:
        thread.shutdown(cancel_futures=True)
        items.close()


def produced_in_worker(produce: Callable[[int, int], Generator[T]]) -> Iterator[T]:
    """The items of `produce(worker, num_workers)`; a thread of a worker produces one item in advance."""
    items = produce(*this_worker())
    if get_worker_info() is None:
        return items
    prepare_worker()
    gc.freeze()  # a garbage collection would visit, and so copy, all pages that the worker inherits
    return prefetched(items, num_ahead=1)


def prepare_worker() -> None:
    """In a worker process: end with the training process, and encode with one thread, as the workers share the cores.

    The `tokenizers` library also warns in each forked worker for which the number of threads is not set.
    """
    if get_worker_info() is not None:
        end_with_training_process()
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _next(items: Iterator[T]) -> list[T]:
    """A list of the next item; an empty list at the end."""
    with _PRODUCING:
        return list(islice(items, 1))
