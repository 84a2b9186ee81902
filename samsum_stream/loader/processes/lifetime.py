"""Ends a worker soon after its training process, also while the worker is blocked.

Torch asks between two tasks of a worker whether the training process still runs. That is not enough: a worker that
reads, or that waits for a full queue, never comes to the question. The queue stays full and open, because each worker
also inherits the end from which the training process received.
"""

import functools
import multiprocessing
import os
import threading
import time
from contextlib import suppress

import psutil

PERIOD = 1.0
"""Seconds between two looks at the training process."""


@functools.cache
def end_with_training_process() -> None:
    """Start a thread in a worker process that ends the worker when the training process has ended; once is enough."""
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_after, args=(parent.pid,), name="samsum-stream-lifetime", daemon=True).start()


def _end_after(pid: int) -> None:
    # `parent_process().sentinel` and `os.getppid()` do not suffice. Workers that were forked later hold the other end
    # of the sentinel open, and the parent of a worker of a fork server is the server.
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(PERIOD)
    os._exit(1)
