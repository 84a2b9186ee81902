"""Workers end with their training process, wherever they are blocked."""

import itertools
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.jobs.killing import Jobs

SECONDS = 10
"""The time in which all workers of a killed process must have ended."""


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    with Jobs(tmp_path) as jobs:
        yield jobs


def kill_training_process(jobs: Jobs, number: int, *cases: str) -> None:
    """Start a job whose workers are blocked as `cases` say, and require that all its processes end after a kill."""
    folder = Path(tempfile.mkdtemp(dir=jobs.folder))
    job = jobs.start("tests.jobs.blocked", folder, *cases)
    job.wait_until((folder / "ready").exists)
    assert len(job.pids()) > 2 * len(cases)
    os.kill(job.launcher.pid, number)
    job.launcher.wait()
    deadline = time.monotonic() + SECONDS
    while (pids := job.pids()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not pids, f"{cases}: {len(pids)} processes are left {SECONDS} s after signal {number}"


def test_no_blocked_worker_outlives_a_training_process_that_is_killed(jobs: Jobs) -> None:
    kill_training_process(jobs, signal.SIGKILL, "fork:queue", "fork:reading", "fork:counting")


WAYS: Sequence[tuple[str, str, int]] = [
    *itertools.product(
        ["fork", "spawn", "forkserver"], ["queue", "reading", "counting"], [signal.SIGTERM, signal.SIGKILL]
    ),
    ("fork", "queue", signal.SIGTERM),
    ("spawn", "queue", signal.SIGKILL),
]


@pytest.mark.slow
def test_no_worker_outlives_any_of_twenty_killed_training_processes(jobs: Jobs) -> None:
    assert len(WAYS) == 20
    for method, block, number in WAYS:
        kill_training_process(jobs, number, f"{method}:{block}")
