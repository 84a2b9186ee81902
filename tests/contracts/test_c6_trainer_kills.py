"""Contract C6 through `stream.attach(trainer)`: a Trainer that is killed goes on as if nothing had happened.

`pytest -m slow -s tests/contracts/test_c6_trainer_kills.py` kills twenty times, and prints what it saw.
"""

import functools
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from transformers.trainer_utils import get_last_checkpoint

from samsum_stream import last_complete_checkpoint
from tests.jobs.killing import Job, Jobs
from tests.jobs.trainer import CHECKPOINTS, Start, Step, starts_of, steps_of, train

GLOBAL_BATCHES = 4
"""Of a step, which ranks and accumulation share."""
SAVE_STEPS = 3
ENDS = {"endless": ["--max-steps", "100000"], "epochs": ["--epochs", "80"]}
A_FEW = 10
LONGEST_SAVE = 0.02
"""Seconds, or so."""


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    with Jobs(tmp_path) as jobs:
        yield jobs


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small are slower on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("num_kills", "ranks_after", "ends"),
    [(2, (1, 4), "endless"), *(pytest.param(20, (2, 1, 4), ends, marks=pytest.mark.slow) for ends in ENDS)],
)
def test_a_killed_trainer_goes_on_with_other_numbers_of_ranks(
    num_kills: int, ranks_after: tuple[int, ...], ends: str, jobs: Jobs, tmp_path: Path
) -> None:
    """Two ranks are killed and go on; then others go on for a few steps each."""
    checkpoints, chooser, num_torn = str(tmp_path / CHECKPOINTS), random.Random(0), 0
    for number in range(num_kills):
        job = start(jobs, number, ranks=2, ends=ends, options=["--step-delay", 0.01])
        job.wait_until(functools.partial(has_saved, tmp_path, name_of(number)))
        time.sleep(chooser.random())
        kill(job, while_saving=number % 2 == 1, delay=chooser.uniform(0, LONGEST_SAVE) if number > 1 else 0)
        num_torn += step_of(last_complete_checkpoint(checkpoints)) < step_of(get_last_checkpoint(checkpoints))
    for number, ranks in enumerate(ranks_after, start=num_kills):
        reached = step_of(last_complete_checkpoint(checkpoints))
        start(jobs, number, ranks=ranks, ends=ends, options=["--until", reached + A_FEW]).finish()
    runs = {number: steps_of(tmp_path, name_of(number)) for number in range(num_kills + len(ranks_after))}
    starts = {number: start_of(tmp_path, name_of(number)) for number in runs}
    whole = uninterrupted(tmp_path, ends=ends, steps=max(runs[max(runs)]))
    assert_equal_to(whole, runs)
    assert_without_gaps(runs, starts)
    seconds = max(start.seconds for start in starts.values())
    assert seconds < 1
    assert num_torn
    difference = max(abs(step.loss - whole[at].loss) for steps in runs.values() for at, step in steps.items())
    print(
        f"{num_kills} kills ({ends}), {num_torn} of which left a torn checkpoint; {len(whole)} steps, of which "
        f"{sum(map(len, runs.values())) - len(whole)} were trained again; losses differ by up to {difference:.1e}; "
        f"going on took up to {seconds:.2f} s of a rank's processor time"
    )


def start(jobs: Jobs, number: int, *, ranks: int, ends: str, options: Sequence[object]) -> Job:
    """Goes on from the newest complete checkpoint, if there is one."""
    return jobs.start(
        "tests.jobs.trainer",
        *(jobs.folder, "--name", name_of(number), "--resume", "--workers", 1, "--save-steps", SAVE_STEPS),
        *("--accumulation", GLOBAL_BATCHES // ranks, *ENDS[ends], *options),
        ranks=None if ranks == 1 else ranks,
    )


def uninterrupted(folder: Path, *, ends: str, steps: int) -> dict[int, Step]:
    """What one process trains on, in this one."""
    train([str(folder / "whole"), "--accumulation", str(GLOBAL_BATCHES), *ENDS[ends], "--until", str(steps)])
    return steps_of(folder / "whole")


def name_of(number: int) -> str:
    return f"run-{number:02}"


def step_of(checkpoint: str | None) -> int:
    return 0 if checkpoint is None else int(checkpoint.rpartition("-")[2])


def has_saved(folder: Path, name: str) -> bool:
    """Whether both ranks have trained past a checkpoint of this run."""
    logs = list(folder.glob(f"{name}-rank-*.log"))
    return len(logs) == 2 and all(log.read_text().count("\n") > SAVE_STEPS + 2 for log in logs)


def kill(job: Job, *, while_saving: bool, delay: float) -> None:
    """All processes at once, where asked for so many seconds after a checkpoint has begun to be written."""
    pids = job.pids()
    if while_saving:
        job.wait_until(functools.partial(is_being_written, job.output.parent / CHECKPOINTS), every=0)
        time.sleep(delay)
    job.kill(pids)


def is_being_written(checkpoints: Path) -> bool:
    newest = get_last_checkpoint(checkpoints)
    return newest is not None and not (Path(newest) / "trainer_state.json").exists()


def start_of(folder: Path, name: str) -> Start:
    """Where all ranks of a run began, and the seconds of the slowest."""
    starts = starts_of(folder, name)
    assert len({start.step for start in starts}) == 1, f"ranks began after different steps: {starts}"
    return Start(starts[0].step, max(start.seconds for start in starts))


def assert_equal_to(whole: dict[int, Step], runs: dict[int, dict[int, Step]]) -> None:
    """All runs, also in steps that were lost with them."""
    for number, steps in runs.items():
        for at in sorted(steps):
            assert steps[at].digests == whole[at].digests, f"run {number}, step {at}: {steps[at].rows}"
            assert steps[at].loss == pytest.approx(whole[at].loss, abs=1e-4), f"run {number}, step {at}"


def assert_without_gaps(runs: dict[int, dict[int, Step]], starts: dict[int, Start]) -> None:
    """Each run goes on from a step that one before it has trained, and has all steps from there."""
    reached = 0
    for number, steps in runs.items():
        assert starts[number].step <= reached
        assert sorted(steps) == list(range(starts[number].step + 1, max(steps) + 1))
        reached = max(reached, max(steps))
    assert starts[max(starts)].step > 0
