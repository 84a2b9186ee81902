"""States behind URLs, on a real S3 server: written at once, never lost without a word, never torn."""

from pathlib import Path

import fsspec
import pytest

from samsum_stream import SFTStream, StateError
from samsum_stream.inspection.trace import read_state
from tests.resuming import assert_continues, save_at, stream_of, take
from tests.s3 import DOWN, Server


@pytest.fixture
def stream() -> SFTStream:
    return stream_of(epochs=None)


def names(url: str) -> list[str]:
    files, path = fsspec.core.url_to_fs(url)
    files.invalidate_cache()
    return sorted(name.removeprefix(f"{path}/") for name in files.find(path))


def test_each_rank_writes_one_object_and_returns_its_url(stream: SFTStream, url: str) -> None:
    loaders = save_at(stream, url, ranks=2, steps=3)
    assert names(url) == ["batch-6/rank-0.json", "batch-6/rank-1.json"]
    assert loaders[1].save(url) == f"{url}/batch-6/rank-1.json"


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_any_number_of_ranks_resumes(stream: SFTStream, url: str, ranks: int) -> None:
    save_at(stream, url, ranks=2, steps=6)
    assert_continues(url, ranks=ranks, batch=12)


def test_the_last_two_complete_states_are_kept_and_newer_ones_are_set_aside(stream: SFTStream, url: str) -> None:
    loader = stream.loader()
    for _ in range(4):
        list(take(loader, 1))
        loader.save(f"{url}/")  # as good as without the slash
    assert names(url) == ["batch-3/rank-0.json", "batch-4/rank-0.json"]
    files, path = fsspec.core.url_to_fs(url)
    files.pipe_file(f"{path}/batch-4/weights/model.pt", b"weights")
    again = stream_of(epochs=None).loader()
    assert again.load(url, batch=3)
    aside = ["set-aside-batch-4/rank-0.json", "set-aside-batch-4/weights/model.pt"]
    assert names(url) == ["batch-3/rank-0.json", *aside]


def test_no_state_is_lost_or_torn_if_some_requests_fail(stream: SFTStream, url: str, server: Server) -> None:
    loader = stream.loader()
    with server.broken(0.05, kinds=("503", "reset", DOWN), seed=3) as faults:
        for number in range(1, 21):
            list(take(loader, 1))
            assert loader.save(url) == f"{url}/batch-{number}/rank-0.json"
            assert stream_of(epochs=None).loader().load(url)
    assert faults.injected.total() > 3
    assert stream_of(epochs=None).loader().load(url, batch=20)


def test_while_the_store_is_down_training_continues_and_a_later_save_succeeds(
    stream: SFTStream, url: str, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    loader = stream.loader()
    list(take(loader, 2))
    loader.save(url)
    with server.broken(1.0, kinds=(DOWN,)):
        list(take(loader, 1))
        assert loader.save(url) is None
        assert f"the position of batch 3 is not saved, and the next save tries again: writing {url}" in caplog.text
        with pytest.raises(StateError, match=r"listing s3://rows/.* failed .*; check the path, the credentials and"):
            stream_of(epochs=None).loader().load(url, missing_ok=True)
    again = stream_of(epochs=None).loader()
    assert again.load(url)
    assert again.batch == 2
    list(take(loader, 1))
    assert loader.save(url) == f"{url}/batch-4/rank-0.json"
    assert stream_of(epochs=None).loader().load(url, batch=4)


def test_a_bucket_that_does_not_exist_is_an_error_and_not_an_outage(stream: SFTStream, url: str) -> None:
    loader = stream.loader()
    list(take(loader, 1))
    with pytest.raises(StateError, match="writing s3://no-such-bucket/run/batch-1/rank-0.json failed: .*; check the"):
        loader.save("s3://no-such-bucket/run")
    assert not loader.load(url, missing_ok=True)


def test_an_object_that_another_program_damaged_is_ignored(
    stream: SFTStream, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    loader = stream.loader()
    for _ in range(2):
        list(take(loader, 1))
        loader.save(url)
    files, path = fsspec.core.url_to_fs(url)
    files.pipe_file(f"{path}/batch-2/rank-0.json", b"\xff{")
    again = stream_of(epochs=None).loader()
    assert again.load(url)
    assert again.batch == 1
    assert "batch-2/rank-0.json is torn" in caplog.text


def test_a_state_behind_a_url_can_be_traced(stream: SFTStream, url: str) -> None:
    (loader,) = save_at(stream, url, ranks=1, steps=3)
    assert read_state(url) == read_state(f"{url}/batch-3") == loader.state_dict()
    assert read_state(f"{url}/batch-3/rank-0.json") == loader.state_dict()


def test_a_file_url_is_a_folder_on_the_disk(stream: SFTStream, tmp_path: Path) -> None:
    (loader,) = save_at(stream, f"file://{tmp_path}", ranks=1, steps=3)
    assert (tmp_path / "batch-3" / "rank-0.json").is_file()
    assert loader.load(tmp_path)
