"""C6: a job that is killed at any moment resumes exactly.

`pytest -m slow tests/contracts/test_c6_kills.py` kills twenty times.
"""

import functools
import glob
import json
import multiprocessing
import os
import random
import re
import signal
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from samsum_stream import WorkerError
from samsum_stream.loader.batch_loader import CONTINUE
from tests.jobs.killing import Job, Jobs
from tests.jobs.training import digest, job_stream
from tests.resuming import equal, take
from tests.start_methods import START_METHODS
from tests.streams import make_rows, make_stream, workers_that_end_at_once


@START_METHODS
@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_killed_worker_is_a_clear_error_and_the_loader_continues(num_workers: int, method: str) -> None:
    whole = list(take(job_stream().loader(), 60))
    loader = job_stream().loader(num_workers=num_workers, multiprocessing_context=method)
    seen = []

    def read_on() -> None:
        for batch in islice(loader, 60):
            seen.append({**batch, "info": str(loader.last_batch_info)})
            if len(seen) == 7:
                os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)

    with (
        workers_that_end_at_once(),
        pytest.raises(WorkerError, match=rf"was killed by signal 9 .*{re.escape(CONTINUE)}"),
    ):
        read_on()
    assert 7 <= len(seen) < 60
    resumed = job_stream().loader(num_workers=num_workers)
    resumed.load_state_dict(json.loads(json.dumps(loader.state_dict())))
    for continued in (loader, resumed):
        tail = take(continued, 60 - len(seen))
        assert all(equal(one, other) for one, other in zip([*seen, *tail], whole, strict=True))


class DeadlyRows(list[dict[str, str]]):
    """Rows; row 3000 kills the worker that reads it."""

    def __getitem__(self, index: Any) -> Any:
        if index == 3000 and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


@START_METHODS
def test_a_worker_that_dies_while_counting_rows_is_a_clear_error(method: str) -> None:
    stream = make_stream(DeadlyRows(make_rows(600) * 6), lanes=2)
    loader = stream.loader(num_workers=2, multiprocessing_context=method)
    with workers_that_end_at_once(), pytest.raises(WorkerError, match="the rows were being counted; start again"):
        len(loader)


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    with Jobs(tmp_path) as jobs:
        yield jobs


@pytest.mark.parametrize(
    ("num_kills", "ranks_after"), [(2, (1, 4)), pytest.param(20, (2, 1, 4), marks=pytest.mark.slow)]
)
def test_a_killed_job_resumes_with_other_numbers_of_ranks(
    num_kills: int, ranks_after: Sequence[int], jobs: Jobs, tmp_path: Path
) -> None:
    chooser = random.Random(0)
    for number in range(num_kills):
        job = start(jobs, f"{number:02}", ranks=2, until=10**9)
        while_saving = number % 2 == 1
        job.wait_until(functools.partial(have_progress, logs_of(tmp_path, f"{number:02}")))
        time.sleep(chooser.random())
        pids = job.pids()
        if while_saving:
            job.wait_until(lambda: bool(glob.glob(f"{tmp_path}/states/batch-*/.*.part")), every=0, timeout=60)
        job.kill(pids)
    for number, ranks in enumerate(ranks_after, start=num_kills):
        reached = newest(tmp_path / "states")
        start(jobs, f"{number:02}", ranks=ranks, until=reached + 60).finish()
    seen = tokens_seen(tmp_path)
    loader = job_stream().loader()
    assert [seen[number] for number in sorted(seen)] == list(map(digest, islice(loader, max(seen) + 1)))
    print(f"{num_kills} kills, {len(seen)} batches, each trained once and equal to that of an uninterrupted run")


def start(jobs: Jobs, name: str, *, ranks: int, until: int) -> Job:
    return jobs.start("tests.jobs.training", jobs.folder, "--until", until, "--name", name, ranks=ranks)


def logs_of(folder: Path, name: str) -> list[Path]:
    return [folder / f"{name}-rank-{rank}.log" for rank in range(2)]


def have_progress(logs: list[Path]) -> bool:
    """Whether all ranks have trained on a few batches."""
    return all(log.exists() and log.read_text().count("\n") > 4 for log in logs)


def newest(states: Path) -> int:
    return max(int(path.name.removeprefix("batch-")) for path in states.glob("batch-*"))


def tokens_seen(folder: Path) -> dict[int, str]:
    """The digest of each batch, without the batches that a kill discarded; a batch that is left twice is an error."""
    runs: dict[str, list[tuple[int, list[tuple[int, str]]]]] = {}
    for log in sorted(folder.glob("*-rank-*.log")):
        runs.setdefault(log.name.split("-")[0], []).append(_read(log))
    starts = [{first for first, _ in ranks} for _, ranks in sorted(runs.items())]
    assert all(len(first) == 1 for first in starts), f"ranks started at different batches: {starts}"
    ends = [*[min(first) for first in starts][1:], 10**9]
    seen: dict[int, str] = {}
    for (_, ranks), end in zip(sorted(runs.items()), ends, strict=True):
        for number, content in _lines(ranks):
            if number < end:
                assert number not in seen, f"batch {number} was trained on twice"
                seen[number] = content
    return seen


def _lines(ranks: list[tuple[int, list[tuple[int, str]]]]) -> Iterator[tuple[int, str]]:
    return (line for _, lines in ranks for line in lines)


def _read(log: Path) -> tuple[int, list[tuple[int, str]]]:
    """The first batch of a rank, and its complete lines; a kill may leave the last line incomplete."""
    lines = [line.split() for line in log.read_text().splitlines()]
    return int(lines[0][1]), [(int(line[0]), line[1]) for line in lines[1:] if len(line) == 2 and len(line[1]) == 16]
