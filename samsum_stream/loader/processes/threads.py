"""Batches made ahead in a thread, of a loader without workers or of a worker.

training process   take batch 0 │ model step ...        │ take batch 1 │ ...
thread             make batch 1 │ make batch 2 │ (full) │ make batch 3 │ ...

Tokenizers let go of the GIL while they encode. A worker gains more by the memory: the heap that it was forked with is
in pieces and shared with the training process: to allocate there is slow and copies pages. A thread has its own.
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

from samsum_stream.loader.processes.ranks import this_worker
from samsum_stream.loader.processes.stack_dump import answer_when_asked

T = TypeVar("T")

_MAKING = threading.RLock()
"""Held while something is made. A fork waits for it: what is locked in the middle stays locked in the child."""

os.register_at_fork(before=_MAKING.acquire, after_in_parent=_MAKING.release, after_in_child=_MAKING.release)


def made_ahead(items: Generator[T], *, num_ahead: int) -> Iterator[T]:
    """The items, of which a thread makes so many before they are asked for; errors come where they would have come."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="samsum-stream")
    try:
        made = deque(thread.submit(_next, items) for _ in range(num_ahead))
        while found := made.popleft().result():
            made.append(thread.submit(_next, items))
            yield from found
    finally:
        thread.shutdown(cancel_futures=True)
        items.close()


def made_here(make: Callable[[int, int], Generator[T]]) -> Iterator[T]:
    """What `make(worker, num_workers)` gives in this worker, one ahead; in the training process, in no thread."""
    made = make(*this_worker())
    if get_worker_info() is None:
        return made
    answer_when_asked()  # a worker that was forked does so already
    gc.freeze()  # what was inherited stays: looking through it for garbage would copy it, page by page
    return made_ahead(made, num_ahead=1)


def _next(items: Iterator[T]) -> list[T]:
    """The next item, or none at the end."""
    with _MAKING:
        return list(islice(items, 1))
