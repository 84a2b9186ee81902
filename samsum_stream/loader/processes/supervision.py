"""Receives what DataLoader workers send, and reports a worker that sends nothing or that died.

no message for a minute       a warning that names the worker, what it produces and how to see its stack;
                              again after two minutes, four, ...
none for `timeout` seconds    WorkerError, and the end of all workers
a worker died                 WorkerError from the `for` that reads, never while the caller uses a message
"""

import logging
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar
from weakref import WeakSet

from samsum_stream.errors import WorkerError
from samsum_stream.loader.processes.starting import NO_MAIN_GUARD, no_main_guard

logger = logging.getLogger(__name__)

T = TypeVar("T")

POLL = 1.0
"""The `timeout` of a DataLoader whose messages `received` reads, in seconds: the longest wait between two checks."""

PATIENCE = 60.0
"""Seconds without a message before the first warning."""

JOIN_TIMEOUT = 5.0
"""Seconds to wait for the end of each worker that was killed."""


def received(
    start: Callable[[], Iterator[T]], *, location: Callable[[int], str], remedy: str, timeout: float = 0
) -> Iterator[T]:
    """Yield the messages of DataLoader workers.

    Args:
        start: Starts the workers: the `__iter__` of a DataLoader with `timeout=POLL`, or of one without workers.
        location: Gives a text that says what a worker produces next, from the number of the worker.
        remedy: How to continue without the worker, for error messages.
        timeout: Seconds to wait for a message; 0 is no limit.

    Raises:
        ConfigError: the workers run the script of the user again, and it has no main guard.
        WorkerError: a worker died, or sent no message for `timeout` seconds.
    """
    messages = start()
    workers = _Workers(messages, location=location, remedy=remedy, timeout=timeout)
    while True:
        try:
            for message in messages:
                with workers.deaths_deferred():
                    yield message
                workers.require_alive()
            return
        except RuntimeError as error:
            workers.handle(error)


class _Workers:
    """The worker processes of a DataLoader's iterator, and since when the loader waits for a message."""

    def __init__(self, messages: Any, *, location: Callable[[int], str], remedy: str, timeout: float) -> None:
        self.messages, self.location, self.remedy, self.timeout = messages, location, remedy, timeout
        self.processes: list[BaseProcess] = getattr(messages, "_workers", [])
        self.since, self.patience = time.monotonic(), PATIENCE
        if self.processes:
            _install_handler()

    @contextmanager
    def deaths_deferred(self) -> Iterator[None]:
        """Inside the `with` block, the caller uses a message; the next request reports a death."""
        _DEFERRING.add(self)
        try:
            yield
        finally:
            _DEFERRING.discard(self)
            self.since, self.patience = time.monotonic(), PATIENCE

    @property
    def dead(self) -> list[int]:
        """The numbers of the workers that died."""
        return [number for number, process in enumerate(self.processes) if process.exitcode]

    def require_alive(self) -> None:
        """Raise a `WorkerError` if a worker died."""
        if self.dead:
            raise self._death_error(self.dead[0])

    def handle(self, error: RuntimeError) -> None:
        """Handle an error of the DataLoader: its `timeout` is over, or a worker died; raise any other error again."""
        if not self.processes or not str(error).startswith("DataLoader "):
            raise error
        if any(process.exitcode == NO_MAIN_GUARD for process in self.processes):
            raise no_main_guard() from None
        awaited = [number for number in (self._awaited,) if self.processes[number].exitcode is not None]
        if dead := [*self.dead, *self._named_in(error), *awaited]:
            raise self._death_error(dead[0]) from error
        if not str(error).startswith("DataLoader timed out"):
            raise error
        self._warn_or_give_up(time.monotonic() - self.since)

    def _named_in(self, error: RuntimeError) -> list[int]:
        """The workers whose pids an error names. Such a worker may have exited with 0, as one does that is done."""
        pids = {int(pid) for pid in re.findall(r"\d+", str(error))}
        return [number for number, process in enumerate(self.processes) if process.pid in pids]

    def _warn_or_give_up(self, waited: float) -> None:
        is_over = 0 < self.timeout <= waited
        if not is_over and waited < self.patience:
            return
        process = self.processes[self._awaited]
        message = self._message(self._awaited, f"has sent nothing for {waited:.0f} s")
        command = f"`py-spy dump --pid {process.pid}`"
        if is_over:
            self._end_all()
            raise WorkerError(
                f"{message}; {self.remedy}. If a worker needs more time, raise `timeout`. To see where it waits, run "
                f"{command} before the time is over"
            )
        logger.warning(
            "%s. The loader waits on, without a limit if its `timeout` is 0; to see where the worker waits, run %s",
            message,
            command,
        )
        self.patience *= 2

    def _end_all(self) -> None:
        """Kill the workers. Torch would send SIGTERM, and a stopped worker does not react."""
        with self.deaths_deferred():
            for process in self.processes:
                process.kill()
            for process in self.processes:
                process.join(JOIN_TIMEOUT)

    @property
    def _awaited(self) -> int:
        """The number of the worker whose message comes next."""
        number: int = self.messages._task_info[self.messages._rcvd_idx][0]
        return number

    def _death_error(self, number: int) -> WorkerError:
        code = self.processes[number].exitcode or 0
        how = f"was killed by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exited with status {code}"
        return WorkerError(
            f"{self._message(number, how)}; {self.remedy}. A worker that was killed often ran out of memory, and one "
            "that exited often printed the reason"
        )

    def _message(self, number: int, what: str) -> str:
        process = self.processes[number]
        return f"worker {number} of {len(self.processes)} (pid {process.pid}) {what}: {self.location(number)}"


_DEFERRING: WeakSet[_Workers] = WeakSet()
"""Workers for which the caller uses a message now."""


class _DeferringHandler:
    """A handler of SIGCHLD in front of torch's handler, which raises at once, also in the middle of a training step."""

    def __init__(self, handler: Callable[..., Any]) -> None:
        self.handler = handler

    def __call__(self, number: int, frame: Any) -> None:
        if not any(workers.dead for workers in _DEFERRING):
            self.handler(number, frame)


def _install_handler() -> None:
    """Defer deaths in the main thread; Python allows no other thread to set a signal handler.

    Torch reports deaths at once in other threads, and where the user installs a handler later. Windows has no SIGCHLD.
    There, torch reports no death at once.
    """
    if not hasattr(signal, "SIGCHLD"):
        return
    handler = signal.getsignal(signal.SIGCHLD)
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and callable(handler) and not isinstance(handler, _DeferringHandler):
        signal.signal(signal.SIGCHLD, _DeferringHandler(handler))


def identity(message: Any) -> Any:
    """A `collate_fn` that returns its argument; torch's default rebuilds mappings and turns arrays into tensors."""
    return message
