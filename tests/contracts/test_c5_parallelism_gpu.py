"""C5 on GPUs: a Trainer with a ParallelismConfig has the rows and losses of one process; skipped with too few GPUs.

`pytest -m slow tests/contracts/test_c5_parallelism_gpu.py` on a machine with two GPUs.
"""

import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.jobs.killing import Jobs
from tests.jobs.parallel_trainer import CONFIGS, ONE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are fewer than two GPUs"),
]


def run(folder: Path, name: str, method: str, *, ranks: int) -> dict[str, Any]:
    """The losses of the steps, the rows of each step on all ranks of data parallelism, and the tokens seen."""
    folder.mkdir()
    with Jobs(folder) as jobs:
        jobs.start("tests.jobs.parallel_trainer", folder, name, method, ranks=ranks).finish(timeout=600)
    of_ranks = [json.loads((folder / f"result-{rank}.json").read_text(encoding="utf-8")) for rank in range(ranks)]
    rows_of = {result["data_rank"]: result["rows"] for result in of_ranks}
    steps = [sorted(chain.from_iterable(of_step)) for of_step in zip(*rows_of.values(), strict=True)]
    return {"losses": of_ranks[0]["losses"], "rows": steps, "tokens": of_ranks[0]["tokens"]}


@pytest.mark.parametrize(
    ("name", "method"),
    [("data", "packed"), ("tensor", "packed"), ("tensor", "padded"), ("context", "padded")],
)
def test_two_gpus_have_the_rows_and_losses_of_one(name: str, method: str, tmp_path: Path) -> None:
    assert name in CONFIGS
    whole = run(tmp_path / "whole", ONE, method, ranks=1)
    parallel = run(tmp_path / "parallel", name, method, ranks=2)
    assert parallel["rows"] == whole["rows"]
    assert parallel["losses"] == pytest.approx(whole["losses"], rel=1e-3)
    if name != "context":  # the rows are longer, so there is more padding
        assert parallel["tokens"] == whole["tokens"]
