"""States behind URLs, on a real S3 server: written at once, never lost without a word, never torn."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import fsspec
import pytest

from samsum_stream import SFTStream, StateError
from samsum_stream.inspection.trace import read_state
from samsum_stream.sources.files import remote
from tests.resuming import assert_continues, save_at, stream_of, take
from tests.s3 import DOWN, Server, serve

_FOLDERS = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve() as server:
        yield server


@pytest.fixture(autouse=True)
def short_waits() -> Iterator[None]:
    with (
        mock.patch.multiple(remote, FIRST_DELAY=0.001, MAX_DELAY=0.01),
        mock.patch("s3fs.core.S3FileSystem.retries", 1),
    ):
        yield


@pytest.fixture
def folder(server: Server) -> Iterator[str]:
    """The URL of a folder that does not exist yet."""
    with server.as_default() as bucket:
        yield f"{bucket}/runs/{next(_FOLDERS)}"


@pytest.fixture
def stream() -> SFTStream:
    return stream_of(epochs=None)


def names(folder: str) -> list[str]:
    files, path = fsspec.core.url_to_fs(folder)
    files.invalidate_cache()
    return sorted(name.removeprefix(f"{path}/") for name in files.find(path))


def test_each_rank_writes_one_object_and_returns_its_url(stream: SFTStream, folder: str) -> None:
    loaders = save_at(stream, folder, ranks=2, steps=3)
    assert names(folder) == ["batch-6/rank-0.json", "batch-6/rank-1.json"]
    assert loaders[1].save(folder) == f"{folder}/batch-6/rank-1.json"


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_any_number_of_ranks_resumes(stream: SFTStream, folder: str, ranks: int) -> None:
    save_at(stream, folder, ranks=2, steps=6)
    assert_continues(folder, ranks=ranks, batch=12)


def test_the_last_two_complete_states_are_kept_and_newer_ones_are_set_aside(stream: SFTStream, folder: str) -> None:
    loader = stream.loader()
    for _ in range(4):
        list(take(loader, 1))
        loader.save(f"{folder}/")  # as good as without the slash
    assert names(folder) == ["batch-3/rank-0.json", "batch-4/rank-0.json"]
    files, path = fsspec.core.url_to_fs(folder)
    files.pipe_file(f"{path}/batch-4/weights/model.pt", b"weights")
    again = stream_of(epochs=None).loader()
    assert again.load(folder, batch=3)
    aside = ["set-aside-batch-4/rank-0.json", "set-aside-batch-4/weights/model.pt"]
    assert names(folder) == ["batch-3/rank-0.json", *aside]


def test_no_state_is_lost_or_torn_if_some_requests_fail(stream: SFTStream, folder: str, server: Server) -> None:
    loader = stream.loader()
    with server.broken(0.05, kinds=("503", "reset", DOWN), seed=3) as faults:
        for number in range(1, 41):
            list(take(loader, 1))
            assert loader.save(folder) == f"{folder}/batch-{number}/rank-0.json"
            assert stream_of(epochs=None).loader().load(folder)
    assert faults.injected.total() > 5
    assert stream_of(epochs=None).loader().load(folder, batch=40)


def test_while_the_store_is_down_training_continues_and_a_later_save_succeeds(
    stream: SFTStream, folder: str, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    loader = stream.loader()
    list(take(loader, 2))
    loader.save(folder)
    with server.broken(1.0, kinds=(DOWN,)):
        list(take(loader, 1))
        assert loader.save(folder) is None
        assert f"the position of batch 3 is not saved, and the next save tries again: writing {folder}" in caplog.text
        with pytest.raises(StateError, match=r"listing s3://rows/.* failed .*; check the path, the credentials and"):
            stream_of(epochs=None).loader().load(folder, missing_ok=True)
    again = stream_of(epochs=None).loader()
    assert again.load(folder)
    assert again.batch == 2
    list(take(loader, 1))
    assert loader.save(folder) == f"{folder}/batch-4/rank-0.json"
    assert stream_of(epochs=None).loader().load(folder, batch=4)


def test_a_bucket_that_does_not_exist_is_an_error_and_not_an_outage(stream: SFTStream, folder: str) -> None:
    loader = stream.loader()
    list(take(loader, 1))
    with pytest.raises(StateError, match="writing s3://no-such-bucket/run/batch-1/rank-0.json failed: .*; check the"):
        loader.save("s3://no-such-bucket/run")
    assert not loader.load(folder, missing_ok=True)


def test_an_object_that_another_program_damaged_is_ignored(
    stream: SFTStream, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    loader = stream.loader()
    for _ in range(2):
        list(take(loader, 1))
        loader.save(folder)
    files, path = fsspec.core.url_to_fs(folder)
    files.pipe_file(f"{path}/batch-2/rank-0.json", b"\xff{")
    again = stream_of(epochs=None).loader()
    assert again.load(folder)
    assert again.batch == 1
    assert "batch-2/rank-0.json is torn" in caplog.text


def test_a_state_behind_a_url_can_be_traced(stream: SFTStream, folder: str) -> None:
    (loader,) = save_at(stream, folder, ranks=1, steps=3)
    assert read_state(folder) == read_state(f"{folder}/batch-3") == loader.state_dict()
    assert read_state(f"{folder}/batch-3/rank-0.json") == loader.state_dict()


def test_a_file_url_is_a_folder_on_the_disk(stream: SFTStream, tmp_path: Path) -> None:
    (loader,) = save_at(stream, f"file://{tmp_path}", ranks=1, steps=3)
    assert (tmp_path / "batch-3" / "rank-0.json").is_file()
    assert loader.load(tmp_path)
