"""The newest checkpoint that is whole, of those that a real Trainer has written and a kill has torn."""

import json
import shutil
from pathlib import Path

import pytest

from samsum_stream import last_complete_checkpoint
from tests.models import one_thread
from tests.training.test_trainer import attached, small_stream


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    with one_thread():
        attached(folder, small_stream(), max_steps=4, save_strategy="steps", save_steps=2).train()
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "outputs")


def found(folder: Path) -> str:
    place = last_complete_checkpoint(folder)
    assert place is not None
    return Path(place).name


def test_the_newest_is_taken_where_all_are_whole(folder: Path) -> None:
    assert found(folder) == "checkpoint-4"
    (folder / "checkpoint-4").rename(folder / "set-aside")
    assert found(folder) == "checkpoint-2"


@pytest.mark.parametrize(
    "name", ["trainer_state.json", "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"]
)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_that_was_cut_short_makes_an_older_one_the_newest(
    name: str, share: float, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / "checkpoint-4" / name
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert found(folder) == "checkpoint-2"
    assert f"{path} is missing or torn" in caplog.text
    assert "trying an older checkpoint" in caplog.text


@pytest.mark.parametrize("name", ["trainer_state.json", "model.safetensors"])
def test_a_file_that_is_missing_makes_an_older_one_the_newest(name: str, folder: Path) -> None:
    (folder / "checkpoint-4" / name).unlink()
    assert found(folder) == "checkpoint-2"


def test_a_rank_that_has_not_written_yet_makes_an_older_one_the_newest(folder: Path) -> None:
    place = folder / "checkpoint-4"
    state = json.loads((place / "trainer_state.json").read_text())
    state["stateful_callbacks"]["DataPosition"]["attributes"]["num_processes"] = 2
    (place / "trainer_state.json").write_text(json.dumps(state))
    (place / "rng_state.pth").rename(place / "rng_state_0.pth")
    assert found(folder) == "checkpoint-2"
    shutil.copy(place / "rng_state_0.pth", place / "rng_state_1.pth")
    assert found(folder) == "checkpoint-4"


def test_a_shard_of_the_model_that_is_missing_makes_an_older_one_the_newest(folder: Path) -> None:
    place = folder / "checkpoint-4"
    (place / "model.safetensors").rename(place / "model-00001-of-00002.safetensors")
    weights = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (place / "model.safetensors.index.json").write_text(json.dumps(weights))
    assert found(folder) == "checkpoint-2"
    shutil.copy(place / "model-00001-of-00002.safetensors", place / "model-00002-of-00002.safetensors")
    assert found(folder) == "checkpoint-4"


def test_there_is_none_in_a_folder_that_is_missing_or_has_torn_ones_alone(folder: Path) -> None:
    assert last_complete_checkpoint(folder / "nowhere") is None
    for place in folder.glob("checkpoint-*"):
        (place / "trainer_state.json").unlink()
    assert last_complete_checkpoint(folder) is None
