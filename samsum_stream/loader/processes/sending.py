"""Sends a dataset to workers that do not fork: through a pipe of its own, not with the start of the process.

training process   start ──▶ pickle ──▶ a thread writes ──▶ pipe ─┐
worker             import the script of the user, start ──────────┴──▶ read ──▶ produce

`multiprocessing` writes what a new process needs before the process has started. If the process ends early, for example
because the script cannot be imported, `multiprocessing` writes for ever. It writes only a few bytes if the dataset goes
through another pipe.
"""

import pickle
import threading
from abc import abstractmethod
from collections.abc import Generator, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import ForkingPickler
from typing import Any, TypeVar

from torch.utils.data import IterableDataset

from samsum_stream.errors import ConfigError, SamsumStreamError
from samsum_stream.loader.processes.threads import prepare_worker, produced_in_worker

T = TypeVar("T")

RULE = "spawn and forkserver send rows, prompts and functions to the workers by pickle"
REMEDY = (
    "define classes and functions at the top level of a module that the workers can import, or start the workers with "
    'loader(..., multiprocessing_context="fork") on Linux'
)


class WorkerDataset(IterableDataset[T]):
    """A dataset that workers iterate over, each worker over its own items."""

    @abstractmethod
    def of_worker(self, worker: int, num_workers: int) -> Generator[T]:
        """What worker number `worker` of `num_workers` produces."""

    def __iter__(self) -> Iterator[T]:
        return produced_in_worker(self.of_worker)

    def __reduce_ex__(self, protocol: Any) -> Any:
        if get_spawning_popen() is None:  # a copy in this process
            return super().__reduce_ex__(protocol)
        return _Received, (_sent((type(self), self.__dict__)),)


class _Received(IterableDataset[T]):
    """The dataset in the worker. A fault while it is read is raised in the training process, as one of its items."""

    def __init__(self, reader: Connection) -> None:
        self._reader = reader

    def __iter__(self) -> Iterator[T]:
        prepare_worker()  # also ends a worker that waits for its dataset
        data = self._reader.recv_bytes()
        try:
            kind, attributes = pickle.loads(data)
        except Exception as error:  # any code of the user may run
            raise ConfigError(f"loader: {RULE}, and a worker cannot load them ({_shown(error)}); {REMEDY}") from error
        dataset: WorkerDataset[T] = object.__new__(kind)
        dataset.__dict__ |= attributes
        return iter(dataset)


class _Inherited(threading.local):
    """Ends of pipes that the workers inherit which this thread starts."""

    def __init__(self) -> None:
        self.readers: list[Connection] = []


_INHERITED = _Inherited()


def forget_inherited() -> None:
    """Close the ends that the workers have by now. Then a thread that writes to a worker that died ends as well."""
    while _INHERITED.readers:
        _INHERITED.readers.pop().close()


def not_picklable(error: Exception, *, what: str) -> ConfigError:
    """The error for a value that does not pickle."""
    return ConfigError(f"loader: {RULE}, and {what} cannot be pickled ({_shown(error)}); {REMEDY}")


def _sent(content: tuple[type, dict[str, Any]]) -> Connection:
    """The end of a pipe at which a worker will read `content`.

    Raises:
        ConfigError: the content cannot be pickled.
    """
    try:
        data = ForkingPickler.dumps(content)
    except SamsumStreamError:
        raise
    except Exception as error:  # any code of the user may run
        raise not_picklable(error, what=_path_to_fault(content[1])) from error
    reader, writer = Pipe(duplex=False)
    _INHERITED.readers.append(reader)
    threading.Thread(target=_write, args=(writer, data), name="samsum-stream-send", daemon=True).start()
    return reader


def _write(writer: Connection, data: memoryview) -> None:
    with writer, suppress(OSError):  # the worker died
        writer.send_bytes(data)


def _path_to_fault(attributes: dict[str, Any]) -> str:
    """The attributes that lead to the value that does not pickle, such as `pipeline.source._rows`."""
    for name, value in attributes.items():
        if not pickles(value):
            is_leaf = all(map(pickles, getattr(value, "__dict__", {}).values()))
            return f"{name} ({type(value).__name__})" if is_leaf else f"{name}.{_path_to_fault(vars(value))}"
    return "a value"


def pickles(value: object) -> bool:
    """Whether a value can be sent to a worker."""
    try:
        ForkingPickler.dumps(value)
    except Exception:  # any code of the user may run
        return False
    return True


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
