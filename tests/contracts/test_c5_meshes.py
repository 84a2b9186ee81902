"""C5 with sharded models: on every mesh of ranks, a run has the rows and the losses of a single process."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.killing import Jobs
from tests.jobs.meshes import NUM_ROWS

NUM_STEPS = 4
"""Steps of each mesh."""

Mesh = tuple[int, int]
"""The ranks of data parallelism (`fully_shard`) and of tensor parallelism."""


def run(folder: Path, *meshes: Mesh) -> list[dict[str, Any]]:
    """The steps of a run that continues on one mesh after another: the loss, and the rows of all ranks."""
    steps = []
    for dp, tp in meshes:
        with Jobs(folder) as jobs:
            jobs.start("tests.jobs.meshes", folder, dp, tp, NUM_STEPS, ranks=dp * tp).finish()
        of_ranks = [(folder / f"steps-{rank}.jsonl").read_text(encoding="utf-8").splitlines() for rank in range(dp)]
        for of_step in zip(*of_ranks, strict=True):
            parts = [json.loads(line) for line in of_step]
            (loss,) = {part["loss"] for part in parts}
            steps.append({"loss": loss, "rows": sorted(row for part in parts for row in part["rows"])})
    return steps


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Twice as many steps on one process."""
    folder = tmp_path_factory.mktemp("whole")
    return run(folder, (1, 1), (1, 1))


@pytest.mark.slow
@pytest.mark.parametrize("meshes", [((2, 1), (1, 2)), ((2, 2), (4, 1)), ((4, 1), (2, 2)), ((1, 2), (2, 2))])
def test_a_run_continues_on_another_mesh_with_the_rows_and_losses_of_one_process(
    meshes: tuple[Mesh, ...], whole: list[dict[str, Any]], tmp_path: Path
) -> None:
    steps = run(tmp_path, *meshes)
    assert [step["rows"] for step in steps] == [step["rows"] for step in whole]
    assert [step["loss"] for step in steps] == pytest.approx([step["loss"] for step in whole], abs=1e-5)
    assert {row for step in whole for row in step["rows"]} <= set(range(NUM_ROWS))
