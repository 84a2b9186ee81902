"""What DataLoader workers send: one that is waited for in vain, or that died, is named with where it stood.

no message for a minute     a warning, and the worker's stack on stderr; again after two minutes, four, ...
none for `timeout` seconds  WorkerError
a worker died               WorkerError from the `for` that reads, never in the middle of what is done with a message
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar
from weakref import WeakSet

from samsum_stream.errors import WorkerError
from samsum_stream.loader.processes.stack_dump import answer_when_asked, ask

logger = logging.getLogger(__name__)

T = TypeVar("T")

POLL = 1.0
"""The `timeout` of a DataLoader whose messages are received here, in seconds: it ends one look for a message."""

PATIENCE = 60.0
"""Seconds without a message before the first warning."""

TO_ANSWER = 1.0
"""Seconds that a worker has to write its stack before it is given up and ended."""

TO_END = 5.0
"""Seconds that its end is waited for then."""


def received(
    start: Callable[[], Iterator[T]], *, whereabouts: Callable[[int], str], remedy: str, timeout: float = 0
) -> Iterator[T]:
    """What workers send.

    Args:
        start: Starts the workers: the `__iter__` of a DataLoader with `timeout=POLL`, or with no workers.
        whereabouts: What a worker, given by its number, is to do next.
        remedy: How to go on without a worker.
        timeout: Seconds that a message is waited for; 0: for ever.

    Raises:
        WorkerError: a worker died, or sent nothing for too long.
    """
    answer_when_asked()
    messages = start()
    workers = _Workers(messages, whereabouts=whereabouts, remedy=remedy, timeout=timeout)
    while True:
        try:
            for message in messages:
                with workers.out_of_sight():
                    yield message
                workers.require_alive()
            return
        except RuntimeError as error:
            workers.look_after(error)


class _Workers:
    """The processes of a DataLoader's iterator, and since when one of them is waited for."""

    def __init__(self, messages: Any, *, whereabouts: Callable[[int], str], remedy: str, timeout: float) -> None:
        self.messages, self.whereabouts, self.remedy, self.timeout = messages, whereabouts, remedy, timeout
        self.processes: list[BaseProcess] = getattr(messages, "_workers", [])
        self.since, self.patience = time.monotonic(), PATIENCE
        if self.processes:
            _let_deaths_wait()

    @contextmanager
    def out_of_sight(self) -> Iterator[None]:
        """While something is done with a message, deaths wait until the next one is asked for."""
        _OUT_OF_SIGHT.add(self)
        try:
            yield
        finally:
            _OUT_OF_SIGHT.discard(self)
            self.since, self.patience = time.monotonic(), PATIENCE

    @property
    def dead(self) -> list[int]:
        """The numbers of those that died."""
        return [number for number, process in enumerate(self.processes) if process.exitcode]

    def require_alive(self) -> None:
        """Raises `WorkerError` where one died."""
        if self.dead:
            raise self._died(self.dead[0])

    def look_after(self, error: RuntimeError) -> None:
        """What to make of an error of the DataLoader: it says that time is over, that a worker died, or is another."""
        if not self.processes or not str(error).startswith("DataLoader "):
            raise error
        awaited = self._awaited
        if self.dead or self.processes[awaited].exitcode is not None:
            raise self._died(next(iter(self.dead), awaited)) from error
        if not str(error).startswith("DataLoader timed out"):
            raise error
        self._lose_patience(time.monotonic() - self.since)

    def _lose_patience(self, waited: float) -> None:
        is_over = 0 < self.timeout <= waited
        if not is_over and waited < self.patience:
            return
        told = self._told(self._awaited, f"has sent nothing for {waited:.0f} s")
        if ask(self.processes[self._awaited].pid or 0):
            told += "; its stack is on stderr"
            time.sleep(TO_ANSWER if is_over else 0)
        if is_over:
            self._end(self.processes[self._awaited])
            raise WorkerError(f"{told}; {self.remedy}. Where it may take that long, raise `timeout`")
        logger.warning("%s; it is waited for, to no end where the loader has no `timeout`", told)
        self.patience *= 2

    def _end(self, process: BaseProcess) -> None:
        """Torch would ask the worker to end, and wait for it: for ever where it is stopped and heeds no signal."""
        with self.out_of_sight():
            process.kill()
            process.join(TO_END)

    @property
    def _awaited(self) -> int:
        """The number of the worker whose message comes next."""
        number: int = self.messages._task_info[self.messages._rcvd_idx][0]
        return number

    def _died(self, number: int) -> WorkerError:
        code = self.processes[number].exitcode or 0
        how = f"was killed by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exited with status {code}"
        return WorkerError(
            f"{self._told(number, how)}; {self.remedy}. A worker that was killed often ran out of memory"
        )

    def _told(self, number: int, what: str) -> str:
        process = self.processes[number]
        return f"worker {number} of {len(self.processes)} (pid {process.pid}) {what}: {self.whereabouts(number)}"


_OUT_OF_SIGHT: WeakSet[_Workers] = WeakSet()
"""Workers whose last message something is being done with."""


class _Patient:
    """A handler of SIGCHLD before that of torch, which raises wherever the training process is, also in a step."""

    def __init__(self, before: Callable[..., Any]) -> None:
        self.before = before

    def __call__(self, number: int, frame: Any) -> None:
        if not any(workers.dead for workers in _OUT_OF_SIGHT):
            self.before(number, frame)


def _let_deaths_wait() -> None:
    """Only a main thread may; elsewhere, and where the user's own handler comes later, all is as torch has it."""
    before = signal.getsignal(signal.SIGCHLD)
    if threading.current_thread() is threading.main_thread() and callable(before) and not isinstance(before, _Patient):
        signal.signal(signal.SIGCHLD, _Patient(before))


def as_it_is(sent: Any) -> Any:
    """The `collate_fn` of what is no tensor: by default torch rebuilds mappings and turns arrays to tensors."""
    return sent
