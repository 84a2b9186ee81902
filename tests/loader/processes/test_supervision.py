"""Workers that die or hang, for real: the error names the worker, its lanes and where they stood."""

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
from samsum_stream.loader.loader import StreamLoader
from samsum_stream.loader.processes import supervision as workers
from samsum_stream.loader.processes.stack_dump import answer_when_asked, ask
from tests.resuming import equal, take
from tests.streams import make_rows, make_stream, workers_that_end_at_once

AT = 500


@pytest.fixture(autouse=True)
def quick_workers() -> Iterator[None]:
    with (
        workers_that_end_at_once(),
        mock.patch("samsum_stream.loader.loader.POLL", 0.1),
        mock.patch("samsum_stream.loader.epochs.lengths.POLL", 0.1),
    ):
        yield


class Rows(list[dict[str, str]]):
    """Six hundred rows; something befalls the worker process that reads row `AT`."""

    def __init__(self, befalls: Any) -> None:
        super().__init__(make_rows(600))
        self.befalls = befalls

    def __getitem__(self, index: Any) -> Any:
        if index == AT and parent_process() is not None:
            self.befalls()
        return super().__getitem__(index)


def block_for_ever() -> None:
    time.sleep(1000)


def block_for_a_while() -> None:
    time.sleep(1.5)


def be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def end_in_silence() -> None:
    os._exit(0)


def loader_of(befalls: Any, *, epochs: int | None = None, **kwargs: Any) -> StreamLoader:
    """Two workers, each of which reads one of the two lanes in the order of the rows; row `AT` is of lane 0."""
    stream = make_stream(Rows(befalls), lanes=2, shuffle=False, epochs=epochs)
    return stream.loader(num_workers=2, **kwargs)


def read_on(loader: StreamLoader, seen: list[dict[str, Any]]) -> None:
    for batch in loader:
        seen.append({**batch, "info": str(loader.last_batch_info)})


def next_row(loader: StreamLoader, lane: int) -> int:
    """Without shuffling, lane `v` of two reads the rows `v`, `v + 2`, ..."""
    return lane + 2 * int(loader.state_dict()["lanes"][str(lane)]["row"])


def told(loader: StreamLoader, what: str) -> str:
    """What is said of worker 0, in a loader that started at batch 0."""
    batch = loader.state_dict()["batch"]
    batch += batch % 2
    return (
        rf"^worker 0 of 2 \(pid \d+\) {what}: it was to make batch {batch} of lane 0, "
        rf"from rows:{next_row(loader, 0)} \(epoch 0\) on; "
    )


@pytest.mark.parametrize(
    ("befalls", "what"),
    [(be_killed, r"was killed by signal 9 \(Killed\)"), (end_in_silence, r"exited with status 0")],
)
def test_a_worker_that_dies_is_told_with_its_lane_and_position(befalls: Any, what: str) -> None:
    loader, seen = loader_of(befalls), list[dict[str, Any]]()
    with pytest.raises(WorkerError, match=r"nothing that was handed over is lost") as caught:
        read_on(loader, seen)
    assert re.match(told(loader, what), str(caught.value))
    assert 0 < next_row(loader, 0) <= AT


def test_signals_that_were_set_back_are_caught_again() -> None:
    """Lightning sets all of them to what they were."""
    answer_when_asked()
    signal.signal(signal.SIGRTMAX, signal.SIG_DFL)
    assert not ask(os.getpid())
    answer_when_asked()
    assert ask(os.getpid())


def test_a_worker_that_hangs_is_given_up_where_a_timeout_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    loader, seen = loader_of(block_for_ever, timeout=1), list[dict[str, Any]]()
    with pytest.raises(
        WorkerError, match=r"its stack is on stderr; .*Where it may take that long, raise `timeout`$"
    ) as caught:
        read_on(loader, seen)
    assert re.match(told(loader, r"has sent nothing for \d+ s"), str(caught.value))
    assert "in block_for_ever" in capfd.readouterr().err
    goes_on = loader_of(lambda: None)
    goes_on.load_state_dict(loader.state_dict())
    whole = list(take(loader_of(lambda: None), len(seen) + 10))
    assert all(map(equal, [*seen, *take(goes_on, 10)], whole))


def test_a_worker_that_is_stopped_is_given_up_and_ended() -> None:
    with pytest.raises(WorkerError, match=r"^worker 0 of 2 \(pid \d+\) has sent nothing") as caught:
        read_on(loader_of(stop, timeout=1), [])
    pid = int(re.findall(r"pid (\d+)", str(caught.value))[0])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_that_hangs_for_a_while_is_told_at_growing_intervals_and_waited_for(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with mock.patch.object(workers, "PATIENCE", 0.2):
        found = list(take(loader_of(block_for_a_while), 80))
    assert all(map(equal, found, take(loader_of(lambda: None), 80)))
    place = r"^worker 0 of 2 \(pid \d+\) has sent nothing .*: it was to make batch \d+ of lane 0, from rows:\d+ "
    assert len([record for record in caplog.records if re.match(place, record.getMessage())]) > 1
    assert "in block_for_a_while" in capfd.readouterr().err


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
    ("befalls", "what"), [(be_killed, "was killed"), (block_for_ever, r"has sent nothing for \d+ s")]
)
def test_a_worker_that_dies_or_hangs_while_rows_are_counted_is_told_with_its_position(befalls: Any, what: str) -> None:
    with (
        mock.patch("samsum_stream.loader.epochs.lengths.CHUNK", 50),
        pytest.raises(
            WorkerError, match=rf"{what}.*: it counts rows behind rows:\d*49 \(epoch 0\).*counted; start again"
        ),
    ):
        len(loader_of(befalls, epochs=1, timeout=1))


def test_the_death_of_a_worker_of_another_dataloader_is_told_by_torch_as_ever() -> None:
    other = iter(DataLoader(range(100), num_workers=1))  # type: ignore[arg-type]
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
