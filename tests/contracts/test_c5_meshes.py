"""C5 with several ranks of one model: on every mesh, a run has the rows and the losses of a single process."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.killing import Jobs
from tests.jobs.meshes import NUM_ROWS, Layout

NUM_STEPS = 4
"""Steps of each mesh."""

ONE = Layout("ddp", 1)
"""One process with whole weights."""

PACKED = [
    (Layout("fsdp", 2), Layout("fsdp", 1, tp=2)),
    (Layout("fsdp", 2, tp=2), Layout("fsdp", 4)),
    (Layout("fsdp", 4), Layout("fsdp", 2, tp=2)),
    (Layout("fsdp", 1, tp=2), Layout("fsdp", 2, tp=2)),
    (Layout("ddp", 2), Layout("ddp mesh", 4)),
    (Layout("ddp mesh", 2), Layout("ddp", 4)),
]
PADDED = [
    (Layout("fsdp", 1, cp=2), Layout("fsdp", 2, cp=2)),
    (Layout("fsdp", 1, cp=4), Layout("fsdp", 1, cp=2, tp=2)),
]


def run(folder: Path, *layouts: Layout, method: str) -> list[dict[str, Any]]:
    """The steps of a run that continues on one mesh after another: the loss, and the rows of all ranks."""
    steps = []
    for layout in layouts:
        with Jobs(folder) as jobs:
            ranks = layout.dp * layout.cp * layout.tp
            jobs.start("tests.jobs.meshes", folder, NUM_STEPS, method, *layout, ranks=ranks).finish()
        paths = [folder / f"steps-{rank}.jsonl" for rank in range(layout.dp)]
        for of_step in zip(*(path.read_text(encoding="utf-8").splitlines() for path in paths), strict=True):
            parts = [json.loads(line) for line in of_step]
            (loss,) = {part["loss"] for part in parts}
            steps.append({"loss": loss, "rows": sorted(row for part in parts for row in part["rows"])})
    return steps


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Twice as many steps on one process, for each layout of batches."""
    return {method: run(tmp_path_factory.mktemp(method), ONE, ONE, method=method) for method in ("packed", "padded")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "layouts"), [*(("packed", layouts) for layouts in PACKED), *(("padded", layouts) for layouts in PADDED)]
)
def test_a_run_continues_on_another_mesh_with_the_rows_and_losses_of_one_process(
    method: str, layouts: tuple[Layout, ...], whole: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    steps, expected = run(tmp_path, *layouts, method=method), whole[method]
    assert [step["rows"] for step in steps] == [step["rows"] for step in expected]
    assert [step["loss"] for step in steps] == pytest.approx([step["loss"] for step in expected], abs=1e-5)
    assert {row for step in expected for row in step["rows"]} <= set(range(NUM_ROWS))
