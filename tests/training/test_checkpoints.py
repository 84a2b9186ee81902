"""The newest complete checkpoint among checkpoints of a real Trainer, some of which are damaged."""

import json
import shutil
from pathlib import Path

import pytest

from samsum_stream import last_complete_checkpoint
from tests.models import one_thread
from tests.training.trainers import attached, small_stream


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    with one_thread():
        attached(folder, small_stream(), max_steps=4, save_strategy="steps", save_steps=2).train()
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "outputs")


def newest_complete(folder: Path) -> str:
    checkpoint = last_complete_checkpoint(folder)
    assert checkpoint is not None
    return Path(checkpoint).name


def test_the_newest_checkpoint_is_returned_if_all_are_complete(folder: Path) -> None:
    assert newest_complete(folder) == "checkpoint-4"
    (folder / "checkpoint-4").rename(folder / "set-aside")
    assert newest_complete(folder) == "checkpoint-2"


@pytest.mark.parametrize(
    "name", ["trainer_state.json", "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"]
)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file_makes_an_older_checkpoint_the_newest(
    name: str, share: float, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / "checkpoint-4" / name
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert newest_complete(folder) == "checkpoint-2"
    assert f"{path} is missing or incomplete" in caplog.text
    assert "trying an older checkpoint" in caplog.text


@pytest.mark.parametrize("name", ["trainer_state.json", "model.safetensors"])
def test_a_missing_file_makes_an_older_checkpoint_the_newest(name: str, folder: Path) -> None:
    (folder / "checkpoint-4" / name).unlink()
    assert newest_complete(folder) == "checkpoint-2"


def test_a_missing_file_of_a_rank_makes_an_older_checkpoint_the_newest(folder: Path) -> None:
    checkpoint = folder / "checkpoint-4"
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    state["stateful_callbacks"]["DataPosition"]["attributes"]["num_processes"] = 2
    (checkpoint / "trainer_state.json").write_text(json.dumps(state))
    (checkpoint / "rng_state.pth").rename(checkpoint / "rng_state_0.pth")
    assert newest_complete(folder) == "checkpoint-2"
    shutil.copy(checkpoint / "rng_state_0.pth", checkpoint / "rng_state_1.pth")
    assert newest_complete(folder) == "checkpoint-4"


def test_a_missing_shard_of_the_model_makes_an_older_checkpoint_the_newest(folder: Path) -> None:
    checkpoint = folder / "checkpoint-4"
    (checkpoint / "model.safetensors").rename(checkpoint / "model-00001-of-00002.safetensors")
    weights = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(weights))
    assert newest_complete(folder) == "checkpoint-2"
    shutil.copy(checkpoint / "model-00001-of-00002.safetensors", checkpoint / "model-00002-of-00002.safetensors")
    assert newest_complete(folder) == "checkpoint-4"


def test_a_folder_that_is_missing_or_has_only_incomplete_checkpoints_gives_none(folder: Path) -> None:
    assert last_complete_checkpoint(folder / "nowhere") is None
    for checkpoint in folder.glob("checkpoint-*"):
        (checkpoint / "trainer_state.json").unlink()
    assert last_complete_checkpoint(folder) is None
