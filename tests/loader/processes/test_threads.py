"""Batches made ahead in a thread: the same ones, the same errors, no thread left, and no lock left in a fork."""

import os
import threading
import time
from collections.abc import Generator
from itertools import islice

import pytest

from samsum_stream import ConfigError
from samsum_stream.loader.processes.threads import made_ahead
from tests.resuming import equal, stream_of


def counted(made: list[int], *, broken_at: int = -1) -> Generator[int]:
    for number in range(20):
        if number == broken_at:
            raise ValueError(f"broken at {number}")
        made.append(number)
        yield number


@pytest.mark.parametrize(("asked", "parcels", "size"), [(None, 2, 8), (1, 1, 1), (2, 2, 1), (3, 3, 1), (8, 2, 4)])
def test_how_many_batches_a_worker_makes_ahead(asked: int | None, parcels: int, size: int) -> None:
    """None is what a Trainer passes on by default."""
    loader = stream_of(epochs=None, lanes=4).loader(num_workers=2, prefetch_factor=asked)
    assert (loader.prefetch_factor, loader.dataset.parcel_size) == (parcels, size)


def test_as_many_items_as_asked_for_are_made_ahead() -> None:
    made: list[int] = []
    items = made_ahead(counted(made), num_ahead=3)
    assert next(items) == 0
    deadline = time.monotonic() + 10
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert made == [0, 1, 2, 3]
    assert list(items) == list(range(1, 20))


def test_an_error_comes_where_it_would_have_come() -> None:
    items = made_ahead(counted([], broken_at=5), num_ahead=3)
    assert list(islice(items, 5)) == list(range(5))
    with pytest.raises(ValueError, match="broken at 5"):
        next(items)


def test_no_thread_is_left_when_reading_stops() -> None:
    before = threading.active_count()
    items = made_ahead(counted([]), num_ahead=3)
    next(items)
    assert threading.active_count() == before + 1
    items.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_a_fork_waits_for_what_is_being_made() -> None:
    lock, is_making = threading.Lock(), threading.Event()

    def slow() -> Generator[int]:
        with lock:
            is_making.set()
            time.sleep(0.3)
        yield 0

    items = made_ahead(slow(), num_ahead=1)
    threading.Timer(5, is_making.set).start()
    reader = threading.Thread(target=next, args=(items,))
    reader.start()
    assert is_making.wait(5)
    if not (child := os.fork()):
        os._exit(int(not lock.acquire(timeout=1)))
    assert os.waitpid(child, 0)[1] == 0
    reader.join()


def test_batches_and_states_are_those_of_a_loader_without_a_thread() -> None:
    stream = stream_of(epochs=1)
    plain, ahead = (stream.loader(prefetch_factor=number) for number in (None, 2))
    for one, other in zip(plain, ahead, strict=True):
        assert equal(one, other)
        assert plain.state_dict() == ahead.state_dict()


def test_a_negative_number_of_batches_ahead_is_refused() -> None:
    with pytest.raises(ConfigError, match="prefetch_factor must be a whole number of 0 or more; got -1"):
        stream_of(epochs=1).loader(prefetch_factor=-1)
