"""C7 through `stream.attach(trainer)`: two ranks train like one process, on each row once.

`pytest -m slow tests/contracts/test_c7_trainer.py` tests the other accumulations, workers and layouts.
"""

import itertools
import multiprocessing
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from samsum_stream import IGNORE_INDEX
from tests.jobs.killing import Jobs
from tests.jobs.trainer import NUM_EVAL_ROWS, Step, eval_losses_of, eval_stream, make_model, steps_of, train
from tests.streams import labels_of_row, tokens_of_row

pytestmark = pytest.mark.usefixtures("one_thread")

JOB = "tests.jobs.trainer"
LAYOUTS = ("packed", "padded", "padding_free")
NUM_RANKS, NUM_ROWS = 2, 180


class Case(NamedTuple):
    layout: str
    accumulation: int
    workers: int
    epochs: int = 1
    lanes: int = 12

    def __str__(self) -> str:
        return f"{self.layout}-{self.accumulation}-{self.workers}-{self.epochs}"

    def arguments(self, folder: Path, *, num_ranks: int) -> list[str]:
        """The arguments of one rank; any number of ranks has the same global batches."""
        is_one = num_ranks == 1
        options = {
            "rows": NUM_ROWS,
            "layout": self.layout,
            "accumulation": self.accumulation * NUM_RANKS // num_ranks,
            "workers": 0 if is_one else self.workers,
            "epochs": self.epochs,
            "lanes": self.lanes,
        }
        flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        return [str(folder / f"{num_ranks}-{self}"), *flags, "--evaluate"]


EVERY = [Case(*case) for case in itertools.product(LAYOUTS, (1, 2), (0, 2))]
SOME = [
    Case("packed", 1, 0),
    Case("packed", 2, 2),
    Case("padded", 1, 2),
    Case("padded", 2, 0),
    Case("padding_free", 1, 2),
    Case("padding_free", 2, 0),
]
"""Each pair of values of two options."""
AWKWARD = Case("packed", 3, 0, epochs=2, lanes=4)
"""Without extra batches, the number of batches of an epoch is not a multiple of three micro batches of two ranks."""


@pytest.fixture(scope="module")
def some_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_on_two_ranks([*SOME, AWKWARD], tmp_path_factory.mktemp("some"))


@pytest.fixture(scope="module")
def other_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_on_two_ranks([case for case in EVERY if case not in SOME], tmp_path_factory.mktemp("other"))


def train_on_two_ranks(cases: list[Case], folder: Path) -> Path:
    """Train all cases in one job, because a job takes longer to start than to train."""
    runs = [["and", *case.arguments(folder, num_ranks=NUM_RANKS)] for case in cases]
    with Jobs(folder) as jobs:
        jobs.start(JOB, *itertools.chain.from_iterable(runs), ranks=NUM_RANKS).finish()
    return folder


def train_on_both(case: Case, folder: Path) -> tuple[dict[int, Step], dict[int, Step]]:
    """The steps of two ranks, already in `folder`, and the steps of this process."""
    if not (folder / f"1-{case}").exists():
        train(case.arguments(folder, num_ranks=1))
    return steps_of(folder / f"{NUM_RANKS}-{case}"), steps_of(folder / f"1-{case}")


def rows_of(steps: dict[int, Step]) -> list[int]:
    return sorted(row for step in steps.values() for rows in step.rows for row in rows)


@pytest.mark.parametrize(
    "case",
    [*SOME, *(pytest.param(case, marks=pytest.mark.slow) for case in EVERY if case not in SOME)],
    ids=str,
)
def test_two_ranks_train_on_each_row_once_with_the_loss_of_one_process(
    case: Case, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue("some_runs" if case in SOME else "other_runs")
    two, one = train_on_both(case, folder)
    assert rows_of(two) == list(range(NUM_ROWS))
    assert [step.digests for step in two.values()] == [step.digests for step in one.values()]
    assert {len(step.digests) for step in two.values()} == {NUM_RANKS * case.accumulation}
    assert [step.loss for step in two.values()] == pytest.approx([step.loss for step in one.values()], abs=1e-4)


def test_no_step_spans_two_epochs(some_runs: Path) -> None:
    two, one = train_on_both(AWKWARD, some_runs)
    assert {len(step.digests) for step in two.values()} == {NUM_RANKS * AWKWARD.accumulation}
    half, rest = divmod(len(two), AWKWARD.epochs)
    assert not rest
    for epoch in range(AWKWARD.epochs):
        numbers = range(epoch * half + 1, (epoch + 1) * half + 1)
        assert rows_of({number: two[number] for number in numbers}) == list(range(NUM_ROWS))
    assert [step.loss for step in two.values()] == pytest.approx([step.loss for step in one.values()], abs=1e-4)


@pytest.mark.parametrize(
    "limit", [["--epochs", "1"], ["--epochs", "1", "--until", "2"], ["--max-steps", "2"]], ids=" ".join
)
def test_no_worker_runs_after_the_training(limit: list[str], tmp_path: Path) -> None:
    train([str(tmp_path), "--workers", "2", *limit])
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_evaluation_gives_the_mean_over_all_labels_on_any_number_of_ranks(layout: str, some_runs: Path) -> None:
    case = next(case for case in SOME if case.layout == layout)
    train_on_both(case, some_runs)
    eval_losses = [loss for ranks in (1, 2) for loss in eval_losses_of(some_runs / f"{ranks}-{case}")]
    assert len(eval_losses) == 3
    assert eval_losses == pytest.approx([mean_over_labels()] * 3, abs=1e-5)
    assert abs(mean_over_batches(layout) - eval_losses[0]) > 1e-3  # the result of a Trainer without a stream


@torch.no_grad()
def mean_over_labels() -> float:
    """The loss of isolated rows."""
    model, total, num_labels = make_model().eval(), 0.0, 0
    for row in range(NUM_EVAL_ROWS):
        ids, labels = torch.tensor([tokens_of_row(row)]), torch.tensor([labels_of_row(row)])
        trained = int((labels[:, 1:] != IGNORE_INDEX).sum())
        total += model(input_ids=ids, labels=labels, use_cache=False).loss.item() * trained
        num_labels += trained
    return total / num_labels


@torch.no_grad()
def mean_over_batches(layout: str) -> float:
    model = make_model().eval()
    losses = [model(**batch, use_cache=False).loss.item() for batch in eval_stream(layout=layout).loader()]
    return sum(losses) / len(losses)


def test_a_stream_as_train_dataset_of_two_ranks_is_an_error_with_attach_as_remedy(tmp_path: Path) -> None:
    with Jobs(tmp_path) as jobs:
        job = jobs.start(JOB, tmp_path, "--unattached", "--max-steps", 2, ranks=NUM_RANKS)
        assert job.wait(timeout=60) != 0
    assert "TopologyError: the job has 2 processes" in (output := job.output.read_text())
    assert "call stream.attach(trainer)" in output
