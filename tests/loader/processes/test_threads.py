"""Prefetching in a thread: the same items, the same errors, no thread left, and no locked lock in a fork."""

import os
import threading
import time
from collections.abc import Generator, Iterator
from itertools import islice
from typing import Any

import pytest
from torch.utils.data import DataLoader, IterableDataset

from samsum_stream import ConfigError
from samsum_stream.loader.processes.supervision import identity
from samsum_stream.loader.processes.threads import prefetched, produced_in_worker
from tests.resuming import equal, stream_of


def counted(produced: list[int], *, broken_at: int = -1) -> Generator[int]:
    for number in range(20):
        if number == broken_at:
            raise ValueError(f"broken at {number}")
        produced.append(number)
        yield number


@pytest.mark.parametrize(
    ("prefetch_factor", "transfers", "size"), [(None, 2, 8), (1, 1, 1), (2, 2, 1), (3, 3, 1), (8, 2, 4)]
)
def test_the_number_of_batches_that_a_worker_prefetches(prefetch_factor: int | None, transfers: int, size: int) -> None:
    """A Trainer passes None by default."""
    loader = stream_of(epochs=None, lanes=4).loader(num_workers=2, prefetch_factor=prefetch_factor)
    assert (loader.prefetch_factor, loader.dataset.batches_per_transfer) == (transfers, size)


def test_a_thread_prefetches_the_given_number_of_items() -> None:
    produced: list[int] = []
    items = prefetched(counted(produced), num_ahead=3)
    assert next(items) == 0
    deadline = time.monotonic() + 10
    while len(produced) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert produced == [0, 1, 2, 3]
    assert list(items) == list(range(1, 20))


def test_an_error_is_raised_at_the_item_that_caused_it() -> None:
    items = prefetched(counted([], broken_at=5), num_ahead=3)
    assert list(islice(items, 5)) == list(range(5))
    with pytest.raises(ValueError, match="broken at 5"):
        next(items)


def test_no_thread_remains_when_reading_stops() -> None:
    before = threading.active_count()
    items = prefetched(counted([]), num_ahead=3)
    next(items)
    assert threading.active_count() == before + 1
    items.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_a_fork_waits_for_the_item_that_a_thread_produces() -> None:
    lock, is_producing = threading.Lock(), threading.Event()

    def slow() -> Generator[int]:
        with lock:
            is_producing.set()
            time.sleep(0.3)
        yield 0

    items = prefetched(slow(), num_ahead=1)
    threading.Timer(5, is_producing.set).start()
    reader = threading.Thread(target=next, args=(items,))
    reader.start()
    assert is_producing.wait(5)
    if not (child := os.fork()):
        os._exit(int(not lock.acquire(timeout=1)))
    assert os.waitpid(child, 0)[1] == 0
    reader.join()


def test_batches_and_states_are_those_of_a_loader_without_a_thread() -> None:
    stream = stream_of(epochs=1)
    plain, prefetching = (stream.loader(prefetch_factor=number) for number in (None, 2))
    for one, other in zip(plain, prefetching, strict=True):
        assert equal(one, other)
        assert plain.state_dict() == prefetching.state_dict()


def test_a_negative_number_of_batches_to_prefetch_is_an_error() -> None:
    with pytest.raises(ConfigError, match="prefetch_factor must be a whole number of 0 or more; got -1"):
        stream_of(epochs=1).loader(prefetch_factor=-1)


class Settings(IterableDataset[Any]):
    """The number of threads that the `tokenizers` library may use, as each worker sees it."""

    def __iter__(self) -> Iterator[Any]:
        return produced_in_worker(self.of_worker)

    def of_worker(self, worker: int, num_workers: int) -> Generator[Any]:
        yield worker, num_workers, os.environ.get("TOKENIZERS_PARALLELISM")


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_a_worker_encodes_with_one_thread(context: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    workers = DataLoader(
        Settings(), batch_size=None, collate_fn=identity, num_workers=2, multiprocessing_context=context
    )
    assert list(workers) == [(0, 2, "false"), (1, 2, "false")]
    assert list(Settings()) == [(0, 1, None)]


def setting_in_worker(_: Any) -> str | None:
    return os.environ.get("TOKENIZERS_PARALLELISM")


def test_a_worker_of_a_plain_dataloader_encodes_with_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    stream = stream_of(epochs=1)
    workers = DataLoader(stream, batch_size=1, collate_fn=setting_in_worker, num_workers=1)
    assert set(workers) == {"false"}
