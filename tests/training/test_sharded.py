"""Models whose weights are spread over ranks are measured with the weights gathered, and train as whole ones."""

import json
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.jobs.killing import Jobs
from tests.jobs.sharded import MODELS, ON_RANK_0
from tests.models import make_model
from tests.streams import make_rows, make_stream
from tests.training.trainers import attached, losses, small_stream

pytestmark = pytest.mark.usefixtures("one_thread")

NUM_STEPS, LEARNING_RATE = 2, 0.1
"""Those of `tests.jobs.deepspeed_order`, which cannot be imported without DeepSpeed."""

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


def test_no_rank_measures_a_model_of_which_only_one_rank_has_the_weights(results: list[dict[str, Any]]) -> None:
    """So it is with FSDP that loads the weights on rank 0. A rank that measured would wait for the others."""
    assert [result[ON_RANK_0] for result in results] == [False, False]


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


@zero3
@pytest.mark.parametrize("order", ["before", "after"])
def test_the_loader_can_get_the_model_before_deepspeed_or_its_engine(
    order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batches and the losses are the same, and an automatic batch size is that of the stream."""
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    with Jobs(tmp_path) as jobs:
        jobs.start("tests.jobs.deepspeed_order", tmp_path, order, ranks=1).finish()
    size, of_engine = json.loads((tmp_path / "result-0.json").read_text(encoding="utf-8"))
    assert size == 2
    assert of_engine == pytest.approx(losses_of_plain_model(), rel=1e-5)


def losses_of_plain_model() -> list[float]:
    """The losses of two steps of the same loop without DeepSpeed."""
    model = make_model("llama", use_cache=False)
    optimizer, of_steps = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE), []
    for batch in islice(small_stream(epochs=None).loader(model=model), NUM_STEPS):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        of_steps.append(loss.item())
    return of_steps
