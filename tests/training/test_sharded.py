"""Models whose weights are spread over ranks are measured with the weights gathered, and train as whole ones."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.killing import Jobs
from tests.jobs.sharded import MODELS
from tests.models import make_model
from tests.streams import make_rows, make_stream
from tests.training.trainers import attached, losses, small_stream

pytestmark = pytest.mark.usefixtures("one_thread")

zero3 = pytest.mark.skipif(find_spec("deepspeed") is None, reason="the package deepspeed is not installed")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("sharded")
    with Jobs(folder) as jobs:
        jobs.start("tests.jobs.sharded", folder, ranks=2).finish()
    return [json.loads((folder / f"rank-{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]


@pytest.mark.parametrize("name", MODELS)
def test_fully_shard_gets_an_exact_form_and_the_loss_of_the_whole_model(
    name: str, results: list[dict[str, Any]]
) -> None:
    """The ranks do not time the forms, so the first exact one is taken. Afterwards, the weights are shards."""
    form, model = MODELS[name], make_model(name).eval()
    for rank in range(2):
        collator = {"kwargs": {"attention": form}}
        stream = make_stream(make_rows(60), lanes=2, collator_config=collator)
        batch = next(iter(stream.loader(model=model, rank=rank, world_size=2)))
        assert results[rank][name] == [form, True, pytest.approx(model(**batch).loss.item(), rel=1e-5)]


def run_zero3(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, *, ranks: int) -> list[Any]:
    """What each rank wrote."""
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    with Jobs(folder) as jobs:
        jobs.start("tests.jobs.zero3", folder, name, ranks=ranks).finish()
    return [json.loads((folder / f"result-{rank}.json").read_text(encoding="utf-8")) for rank in range(ranks)]


@zero3
@pytest.mark.parametrize("ranks", [1, 2])
def test_zero3_trains_with_the_losses_of_the_whole_model(
    ranks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = attached(tmp_path / "whole", small_stream(), max_steps=2, gradient_accumulation_steps=ranks)
    whole.train()
    expected = [loss for _, _, loss in losses(whole)]
    assert run_zero3(tmp_path, monkeypatch, "llama", ranks=ranks)[0] == pytest.approx(expected, rel=1e-4)


@zero3
@pytest.mark.parametrize("ranks", [1, 2])
def test_zero3_ends_at_the_first_step_if_documents_see_each_other(
    ranks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for message in run_zero3(tmp_path, monkeypatch, "opt", ranks=ranks):
        assert "documents see each other" in message
        assert "block_mask, which is exact" in message
