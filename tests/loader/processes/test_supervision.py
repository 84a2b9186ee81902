"""Real workers that die or hang: the error names the worker, its lanes and their rows."""

import multiprocessing
import os
import re
import signal
import time
from collections.abc import Iterator
from multiprocessing import parent_process
from typing import Any
from unittest import mock

import pytest
from torch.utils.data import DataLoader

from samsum_stream import ConfigError, WorkerError
from samsum_stream.loader.batch_loader import CONTINUE
from samsum_stream.loader.loader import StreamLoader
from samsum_stream.loader.processes import supervision
from tests.resuming import equal, take
from tests.start_methods import START_METHODS
from tests.streams import make_rows, make_stream, workers_that_end_at_once

AT = 500

TIMEOUT = 3
"""More seconds than a forked worker needs to start on a busy machine."""

TIMEOUT_OF_IMPORTS = 15
"""More seconds than a worker needs that imports the package first."""


@pytest.fixture(autouse=True)
def quick_workers() -> Iterator[None]:
    with (
        workers_that_end_at_once(),
        mock.patch("samsum_stream.loader.batch_loader.POLL", 0.1),
        mock.patch("samsum_stream.loader.epochs.lengths.POLL", 0.1),
    ):
        yield


class Rows(list[dict[str, str]]):
    """Six hundred rows; the worker process that reads a row of `at` calls `fault`."""

    def __init__(self, fault: Any, at: tuple[int, ...] = (AT,)) -> None:
        super().__init__(make_rows(600))
        self.fault, self.at = fault, at

    def __getitem__(self, index: Any) -> Any:
        if index in self.at and parent_process() is not None:
            self.fault()
        return super().__getitem__(index)


def do_nothing() -> None:
    pass


def block_for_ever() -> None:
    time.sleep(1000)


def block_for_a_while() -> None:
    time.sleep(1.5)


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stop_itself() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def exit_with_zero() -> None:
    os._exit(0)


def loader_of(fault: Any, *, at: tuple[int, ...] = (AT,), epochs: int | None = None, **kwargs: Any) -> StreamLoader:
    """Two workers: each worker reads one of the two lanes in row order; row `AT` belongs to lane 0."""
    stream = make_stream(Rows(fault, at), lanes=2, shuffle=False, epochs=epochs)
    return stream.loader(num_workers=2, **kwargs)


def read_on(loader: StreamLoader, seen: list[dict[str, Any]]) -> None:
    for batch in loader:
        seen.append({**batch, "info": str(loader.last_batch_info)})


def next_row(loader: StreamLoader, lane: int) -> int:
    """Without shuffling, lane `v` of two lanes reads the rows `v`, `v + 2`, ..."""
    return lane + 2 * int(loader.state_dict()["lanes"][str(lane)]["row"])


def report(loader: StreamLoader, what: str) -> str:
    """A pattern of the message about worker 0, in a loader that started at batch 0."""
    batch = loader.state_dict()["batch"]
    batch += batch % 2
    return (
        rf"^worker 0 of 2 \(pid \d+\) {what}: it has to produce batch {batch} of lane 0, "
        rf"from rows:{next_row(loader, 0)} \(epoch 0\) on; "
    )


@START_METHODS
@pytest.mark.parametrize(
    ("fault", "what"),
    [(kill_itself, r"was killed by signal 9 \(Killed\)"), (exit_with_zero, r"exited with status 0")],
)
def test_the_error_names_the_lane_and_the_position_of_a_worker_that_dies(fault: Any, what: str, method: str) -> None:
    loader, seen = loader_of(fault, multiprocessing_context=method), list[dict[str, Any]]()
    with pytest.raises(WorkerError, match=rf"{re.escape(CONTINUE)}\. A worker that was killed often ") as caught:
        read_on(loader, seen)
    assert re.match(report(loader, what), str(caught.value))
    assert 0 < next_row(loader, 0) <= AT


class RowsOfSlowWorker(Rows):
    """The other worker needs some seconds for its first row."""

    def __getitem__(self, index: Any) -> Any:
        if index == 1 and parent_process() is not None:
            time.sleep(3)
        return super().__getitem__(index)


def test_a_worker_that_exits_is_named_while_the_loader_waits_for_another_one() -> None:
    stream = make_stream(RowsOfSlowWorker(exit_with_zero), lanes=2, shuffle=False, epochs=None)
    with pytest.raises(WorkerError, match=r"^worker 0 of 2 \(pid \d+\) exited with status 0: "):
        read_on(stream.loader(num_workers=2), [])


def names_py_spy(message: str) -> bool:
    """Whether the message names the command that shows the stack of the worker."""
    return re.search(r"\(pid (\d+)\) .* run `py-spy dump --pid \1`", message) is not None


@pytest.mark.parametrize(
    "method", ["fork", *(pytest.param(method, marks=pytest.mark.slow) for method in ("forkserver", "spawn"))]
)
def test_a_worker_that_hangs_is_given_up_after_the_timeout(method: str) -> None:
    timeout = TIMEOUT if method == "fork" else TIMEOUT_OF_IMPORTS
    loader, seen = loader_of(block_for_ever, timeout=timeout, multiprocessing_context=method), list[dict[str, Any]]()
    remedy = rf"{re.escape(CONTINUE)}\. If a worker needs more time, raise `timeout`\."
    with pytest.raises(WorkerError, match=remedy) as caught:
        read_on(loader, seen)
    assert names_py_spy(str(caught.value))
    assert re.match(report(loader, r"has sent nothing for \d+ s"), str(caught.value))
    resumed = loader_of(do_nothing)
    resumed.load_state_dict(loader.state_dict())
    whole = list(take(loader_of(do_nothing), len(seen) + 10))
    assert all(map(equal, [*seen, *take(resumed, 10)], whole))


def test_no_worker_lives_on_if_all_are_stopped_and_one_is_given_up() -> None:
    before = set(multiprocessing.active_children())
    with pytest.raises(WorkerError, match=r"^worker [01] of 2 \(pid \d+\) has sent nothing"):
        read_on(loader_of(stop_itself, at=(AT, AT + 1), timeout=TIMEOUT), [])
    assert set(multiprocessing.active_children()) <= before


def test_the_loader_waits_for_a_worker_that_hangs_for_a_while_and_warns_at_growing_intervals(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with mock.patch.object(supervision, "PATIENCE", 0.2):
        batches = list(take(loader_of(block_for_a_while), 80))
    assert all(map(equal, batches, take(loader_of(do_nothing), 80)))
    place = r"^worker 0 of 2 \(pid \d+\) has sent nothing .*: it has to produce batch \d+ of lane 0, from rows:\d+ "
    warnings = [record for record in caplog.records if re.match(place, record.getMessage())]
    assert len(warnings) > 1
    assert all(names_py_spy(record.getMessage()) for record in warnings)


def test_a_worker_that_dies_during_a_step_does_not_end_the_step() -> None:
    loader, steps = make_stream(make_rows(600), lanes=2, epochs=None).loader(num_workers=2), 0

    def train() -> None:
        nonlocal steps
        for _ in loader:
            os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
            time.sleep(0.5)
            steps += 1

    with pytest.raises(WorkerError, match=r"was killed by signal 9 .* of lane [01], from rows:\d+ "):
        train()
    assert steps == 1


@pytest.mark.parametrize(
    ("fault", "what"), [(kill_itself, "was killed"), (block_for_ever, r"has sent nothing for \d+ s")]
)
def test_the_error_names_the_position_of_a_worker_that_dies_or_hangs_while_counting(fault: Any, what: str) -> None:
    with (
        mock.patch("samsum_stream.loader.epochs.lengths.CHUNK", 50),
        pytest.raises(
            WorkerError, match=rf"{what}.*: it is counting rows after rows:\d*49 \(epoch 0\).*counted; start again"
        ),
    ):
        len(loader_of(fault, epochs=1, timeout=TIMEOUT, multiprocessing_context="fork"))


def test_torch_still_reports_the_death_of_a_worker_of_another_dataloader() -> None:
    other = iter(DataLoader(range(100), num_workers=1, multiprocessing_context="fork"))  # type: ignore[arg-type]
    [worker] = multiprocessing.active_children()
    batches = iter(make_stream(lanes=2).loader(num_workers=2))
    next(batches)
    os.kill(worker.pid or 0, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=rf"^DataLoader worker \(pid {worker.pid}\) is killed"):
        time.sleep(10)
    del other


@pytest.mark.parametrize("timeout", [-1, "5", True])
def test_a_timeout_is_a_number_of_seconds(timeout: Any) -> None:
    with pytest.raises(ConfigError, match="loader: timeout must be a number of seconds, 0 or more; got"):
        make_stream().loader(timeout=timeout)
