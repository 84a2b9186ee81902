"""C6 through `stream.attach(trainer)`: a Trainer that is killed resumes exactly.

`pytest -m slow -s tests/contracts/test_c6_trainer_kills.py` kills twenty times, and prints a summary.
"""

import functools
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from transformers.trainer_utils import get_last_checkpoint

from samsum_stream import last_complete_checkpoint
from tests.jobs.killing import Job, Jobs
from tests.jobs.trainer import CHECKPOINTS, Start, Step, starts_of, steps_of, train

pytestmark = pytest.mark.usefixtures("one_thread")

GLOBAL_BATCHES = 4
"""Global batches per optimizer step: ranks x accumulation."""
SAVE_STEPS = 3
LIMITS = {"endless": ["--max-steps", "100000"], "finite": ["--epochs", "80"]}
"""The options of an endless and of a finite stream."""
A_FEW = 10
LONGEST_SAVE = 0.02
"""Seconds, approximately."""


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    with Jobs(tmp_path) as jobs:
        yield jobs


@pytest.mark.parametrize(
    ("num_kills", "ranks_after", "limit"),
    [(2, (1, 4), "endless"), *(pytest.param(20, (2, 1, 4), limit, marks=pytest.mark.slow) for limit in LIMITS)],
)
def test_a_killed_trainer_resumes_with_other_numbers_of_ranks(
    num_kills: int, ranks_after: tuple[int, ...], limit: str, jobs: Jobs, tmp_path: Path
) -> None:
    """Jobs of two ranks are killed and resumed; then jobs of other sizes resume for a few steps each."""
    checkpoints, chooser, num_torn = str(tmp_path / CHECKPOINTS), random.Random(0), 0
    for number in range(num_kills):
        job = start(jobs, number, ranks=2, limit=limit, options=["--step-delay", 0.01])
        job.wait_until(functools.partial(has_saved, tmp_path, name_of(number)))
        time.sleep(chooser.random())
        kill(job, while_saving=number % 2 == 1, delay=chooser.uniform(0, LONGEST_SAVE) if number > 1 else 0)
        num_torn += step_of(last_complete_checkpoint(checkpoints)) < step_of(get_last_checkpoint(checkpoints))
    for number, ranks in enumerate(ranks_after, start=num_kills):
        reached = step_of(last_complete_checkpoint(checkpoints))
        start(jobs, number, ranks=ranks, limit=limit, options=["--until", reached + A_FEW]).finish()
    runs = {number: steps_of(tmp_path, name_of(number)) for number in range(num_kills + len(ranks_after))}
    starts = {number: start_of(tmp_path, name_of(number)) for number in runs}
    whole = uninterrupted(tmp_path, limit=limit, steps=max(runs[max(runs)]))
    assert_equal_to(whole, runs)
    assert_without_gaps(runs, starts)
    seconds = max(start.seconds for start in starts.values())
    assert seconds < 1
    assert num_torn
    difference = max(abs(step.loss - whole[at].loss) for steps in runs.values() for at, step in steps.items())
    print(
        f"{num_kills} kills ({limit}), {num_torn} torn checkpoints; {len(whole)} steps, "
        f"{sum(map(len, runs.values())) - len(whole)} of them trained again; losses differ by up to {difference:.1e}; "
        f"resuming took up to {seconds:.2f} s of CPU time per rank"
    )


def start(jobs: Jobs, number: int, *, ranks: int, limit: str, options: Sequence[object]) -> Job:
    """Start a job that resumes from the newest complete checkpoint, if one exists."""
    return jobs.start(
        "tests.jobs.trainer",
        *(jobs.folder, "--name", name_of(number), "--resume", "--workers", 1, "--save-steps", SAVE_STEPS),
        *("--accumulation", GLOBAL_BATCHES // ranks, *LIMITS[limit], *options),
        ranks=None if ranks == 1 else ranks,
    )


def uninterrupted(folder: Path, *, limit: str, steps: int) -> dict[int, Step]:
    """The steps of one run without interruption, in this process."""
    train([str(folder / "whole"), "--accumulation", str(GLOBAL_BATCHES), *LIMITS[limit], "--until", str(steps)])
    return steps_of(folder / "whole")


def name_of(number: int) -> str:
    return f"run-{number:02}"


def step_of(checkpoint: str | None) -> int:
    return 0 if checkpoint is None else int(checkpoint.rpartition("-")[2])


def has_saved(folder: Path, name: str) -> bool:
    """Whether both ranks have trained beyond a checkpoint of this run."""
    logs = list(folder.glob(f"{name}-rank-*.log"))
    return len(logs) == 2 and all(log.read_text().count("\n") > SAVE_STEPS + 2 for log in logs)


def kill(job: Job, *, while_saving: bool, delay: float) -> None:
    """Kill all processes; with `while_saving`, `delay` seconds after the start of a checkpoint."""
    pids = job.pids()
    if while_saving:
        job.wait_until(functools.partial(is_being_written, job.output.parent / CHECKPOINTS), every=0)
        time.sleep(delay)
    job.kill(pids)


def is_being_written(checkpoints: Path) -> bool:
    newest = get_last_checkpoint(checkpoints)
    return newest is not None and not (Path(newest) / "trainer_state.json").exists()


def start_of(folder: Path, name: str) -> Start:
    """The step after which all ranks of a run started, and the seconds of the slowest rank."""
    starts = starts_of(folder, name)
    assert len({start.step for start in starts}) == 1, f"ranks started after different steps: {starts}"
    return Start(starts[0].step, max(start.seconds for start in starts))


def assert_equal_to(whole: dict[int, Step], runs: dict[int, dict[int, Step]]) -> None:
    """Compare all steps of all runs, including the steps that a kill discarded."""
    for number, steps in runs.items():
        for at in sorted(steps):
            assert steps[at].digests == whole[at].digests, f"run {number}, step {at}: {steps[at].rows}"
            assert steps[at].loss == pytest.approx(whole[at].loss, abs=1e-4), f"run {number}, step {at}"


def assert_without_gaps(runs: dict[int, dict[int, Step]], starts: dict[int, Start]) -> None:
    """Each run starts after a step that an earlier run trained, and has all steps from there."""
    reached = 0
    for number, steps in runs.items():
        assert starts[number].step <= reached
        assert sorted(steps) == list(range(starts[number].step + 1, max(steps) + 1))
        reached = max(reached, max(steps))
    assert starts[max(starts)].step > 0
