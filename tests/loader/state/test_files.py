"""States on disk: writes are atomic, the last two are kept, and a job of any size reads the files of another."""

import json
import shutil
from pathlib import Path

import pytest

from samsum_stream import SFTStream, StateError
from tests.resuming import assert_continues, save_at, stream_of, take


@pytest.fixture
def stream() -> SFTStream:
    return stream_of(epochs=None)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_each_rank_writes_one_file_and_returns_its_path(stream: SFTStream, tmp_path: Path) -> None:
    loaders = save_at(stream, tmp_path, ranks=2, steps=3)
    assert names(tmp_path) == ["batch-6/rank-0.json", "batch-6/rank-1.json"]
    assert loaders[1].save(tmp_path) == tmp_path / "batch-6" / "rank-1.json"


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_any_number_of_ranks_resumes_from_the_files_of_another_number(
    stream: SFTStream, tmp_path: Path, ranks: int
) -> None:
    save_at(stream, tmp_path, ranks=2, steps=6)
    assert_continues(tmp_path, ranks=ranks, batch=12)


def test_the_last_two_complete_states_are_kept(stream: SFTStream, tmp_path: Path) -> None:
    loaders = [stream.loader(rank=rank, world_size=2) for rank in range(2)]
    for _ in range(5):
        for loader in reversed(loaders):
            list(take(loader, 1))
            loader.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["batch-10", "batch-8"]


def test_a_state_that_only_some_ranks_saved_is_ignored(stream: SFTStream, tmp_path: Path) -> None:
    loaders = save_at(stream, tmp_path, ranks=2, steps=3)
    list(take(loaders[0], 1))
    loaders[0].save(tmp_path)
    assert (tmp_path / "batch-8" / "rank-0.json").exists()
    loader = stream_of(epochs=None).loader()
    assert loader.load(tmp_path)
    assert loader.state_dict()["batch"] == 6


def test_complete_states_are_kept_while_newer_ones_are_not_complete(stream: SFTStream, tmp_path: Path) -> None:
    loaders = save_at(stream, tmp_path, ranks=2, steps=1)
    for loader in (*loaders, *[loaders[0]] * 4):
        list(take(loader, 1))
        loader.save(tmp_path)
    assert {"batch-2", "batch-4"} <= {path.name for path in tmp_path.iterdir()}
    loader = stream_of(epochs=None).loader()
    assert loader.load(tmp_path)
    assert loader.state_dict()["batch"] == 4


def test_a_torn_file_is_ignored_with_a_warning(
    stream: SFTStream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaders = save_at(stream, tmp_path, ranks=1, steps=3)
    list(take(loaders[0], 1))
    newest = loaders[0].save(tmp_path)
    whole = newest.read_text()
    for size in range(0, len(whole), 97):
        newest.write_text(whole[:size])
        caplog.clear()
        loader = stream_of(epochs=None).loader()
        assert loader.load(tmp_path)
        assert loader.state_dict()["batch"] == 3
        assert f"{newest} is torn" in caplog.text


def test_files_of_a_job_with_more_ranks_are_ignored(stream: SFTStream, tmp_path: Path) -> None:
    save_at(stream, tmp_path, ranks=4, steps=3)
    save_at(stream, tmp_path, ranks=2, steps=6)
    assert len(names(tmp_path / "batch-12")) == 4
    loader = stream_of(epochs=None).loader()
    assert loader.load(tmp_path)
    assert loader.state_dict()["batch"] == 12


def test_a_folder_without_a_complete_state_is_an_error_that_lists_what_exists(
    stream: SFTStream, tmp_path: Path
) -> None:
    loaders = save_at(stream, tmp_path, ranks=2, steps=3)
    (tmp_path / "batch-6" / "rank-1.json").unlink()
    with pytest.raises(
        StateError, match=r"no state is complete: .*batch-6: 1 of 2 ranks have saved; restore the files"
    ):
        loaders[0].load(tmp_path)
    with pytest.raises(StateError, match=r"no state of batch 9; choose a saved batch \(6\)"):
        loaders[0].load(tmp_path, batch=9)


def test_an_empty_folder_is_an_error_unless_missing_ok(stream: SFTStream, tmp_path: Path) -> None:
    loader = stream.loader()
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(StateError, match=r"there is no saved state \(batch-M/rank-r.json\).*missing_ok=True"):
            loader.load(folder)
        assert not loader.load(folder, missing_ok=True)
    assert loader.state_dict()["batch"] == 0


def test_a_state_of_another_stream_names_the_field_and_can_be_ignored(stream: SFTStream, tmp_path: Path) -> None:
    save_at(stream, tmp_path, ranks=1, steps=3)
    other = stream_of(epochs=None, truncation_config={"method": "right"}).loader()
    with pytest.raises(StateError, match="truncation was drop and is right; undo the change, or pass these names"):
        other.load(tmp_path)
    assert other.load(tmp_path, ignore=["truncation"])


def test_an_older_state_can_be_loaded_by_its_batch(stream: SFTStream, tmp_path: Path) -> None:
    loaders = save_at(stream, tmp_path, ranks=1, steps=3)
    list(take(loaders[0], 1))
    loaders[0].save(tmp_path)
    loader = stream_of(epochs=None).loader()
    assert loader.load(tmp_path, batch=3)
    assert loader.state_dict()["batch"] == 3


def test_resuming_from_an_older_state_abandons_the_newer_ones(stream: SFTStream, tmp_path: Path) -> None:
    loaders = save_at(stream, tmp_path, ranks=1, steps=5)
    list(take(loaders[0], 5))
    loaders[0].save(tmp_path)
    loader = stream_of(epochs=None).loader()
    loader.load(tmp_path, batch=5)
    list(take(loader, 2))
    loader.save(tmp_path)
    again = stream_of(epochs=None).loader()
    again.load(tmp_path)
    assert again.state_dict()["batch"] == 7


def test_a_new_run_in_an_old_folder_sets_the_old_states_aside(stream: SFTStream, tmp_path: Path) -> None:
    save_at(stream, tmp_path, ranks=1, steps=20)
    save_at(stream, tmp_path, ranks=1, steps=4)
    loader = stream_of(epochs=None).loader()
    loader.load(tmp_path)
    assert loader.state_dict()["batch"] == 4
    assert (tmp_path / "set-aside-batch-20").is_dir()


def test_states_of_a_rank_that_is_ahead_stay(stream: SFTStream, tmp_path: Path) -> None:
    loaders = save_at(stream, tmp_path, ranks=2, steps=1)
    for loader in reversed(loaders):
        list(take(loader, 1 + loader.ranks.rank))
        loader.save(tmp_path)
    assert (tmp_path / "batch-6" / "rank-1.json").exists()


def test_a_smaller_job_does_not_treat_files_of_a_larger_job_as_complete(stream: SFTStream, tmp_path: Path) -> None:
    loaders = save_at(stream, tmp_path, ranks=4, steps=2)
    for _ in range(2):
        for loader in loaders[:2]:
            list(take(loader, 1))
            loader.save(tmp_path)
    smaller = stream_of(epochs=None).loader(rank=0, world_size=2)
    smaller.load(tmp_path)
    list(take(smaller, 6))
    smaller.save(tmp_path)
    loader = stream_of(epochs=None).loader()
    assert loader.load(tmp_path)
    assert loader.state_dict()["batch"] == 8


def test_a_job_with_missing_ok_starts_anew_if_only_some_ranks_ever_saved(stream: SFTStream, tmp_path: Path) -> None:
    loaders = [stream.loader(rank=rank, world_size=2) for rank in range(2)]
    list(take(loaders[0], 1))
    path = loaders[0].save(tmp_path)
    (tmp_path / "batch-7").mkdir()
    assert not loaders[1].load(tmp_path, missing_ok=True)
    path.write_text("{")
    with pytest.raises(StateError, match=r"no state is complete: .*rank-0.json is torn"):
        loaders[1].load(tmp_path, missing_ok=True)


@pytest.mark.parametrize("stray", ["{}", "[" * 100_000, '{"state": {"version": 1}}', "\0"])
def test_a_stray_file_does_not_hide_a_complete_state(stream: SFTStream, tmp_path: Path, stray: str) -> None:
    save_at(stream, tmp_path, ranks=1, steps=3)
    (tmp_path / "batch-3" / "rank-1.json").write_text(stray)
    (tmp_path / "batch-003").mkdir()
    assert stream_of(epochs=None).loader().load(tmp_path)


@pytest.mark.parametrize(
    "change", [("world_size", 2), ("rank", 1), ("digest", "0"), ("world_size", "1"), ("world_size", [])]
)
def test_an_edited_file_is_torn(stream: SFTStream, tmp_path: Path, change: tuple[str, object]) -> None:
    save_at(stream, tmp_path, ranks=1, steps=3)
    path = tmp_path / "batch-3" / "rank-0.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | dict([change])))
    with pytest.raises(StateError, match="no state is complete"):
        stream_of(epochs=None).loader().load(tmp_path)


def test_a_file_with_an_invalid_world_size_does_not_start_anew(stream: SFTStream, tmp_path: Path) -> None:
    """Otherwise the state would look like one that other ranks have not saved yet."""
    save_at(stream, tmp_path, ranks=1, steps=3)
    path = tmp_path / "batch-3" / "rank-0.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"world_size": "1"}))
    with pytest.raises(StateError, match=r"rank-0.json is torn .*: its digest does not match its content"):
        stream_of(epochs=None).loader().load(tmp_path, missing_ok=True)


def test_a_folder_that_cannot_be_written_to_is_an_error(stream: SFTStream, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"rank-0.json cannot be written .*check the folder"):
        stream.loader().save(tmp_path / "file")


def test_the_state_before_the_last_batch_can_be_saved(stream: SFTStream, tmp_path: Path) -> None:
    loader = stream.loader()
    list(take(loader, 5))
    assert loader.save(tmp_path, batch=4).parent.name == "batch-4"


def test_the_older_states_remain_after_a_full_disk_or_a_kill(stream: SFTStream, tmp_path: Path) -> None:
    loaders = save_at(stream, tmp_path, ranks=1, steps=3)
    (tmp_path / "batch-4").mkdir()
    (tmp_path / "batch-4" / ".rank-0.json.99.part").write_text('{"rank": 0, "wor')
    assert stream_of(epochs=None).loader().load(tmp_path)
    list(take(loaders[0], 1))
    loaders[0].save(tmp_path)
    assert json.loads((tmp_path / "batch-4" / "rank-0.json").read_text())["state"]["batch"] == 4
    shutil.rmtree(tmp_path / "batch-4")
    assert stream_of(epochs=None).loader().load(tmp_path)
