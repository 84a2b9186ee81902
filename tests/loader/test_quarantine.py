"""The list of bad rows behind a URL, on a real S3 server: the same lines as in a file on the disk."""

import json

import fsspec
import pytest

from samsum_stream import ConfigError, SFTStream, merge_states
from samsum_stream.loader.loader import StreamLoader
from samsum_stream.loader.quarantine import files
from tests.resuming import take
from tests.s3 import DOWN, Server
from tests.streams import make_rows, make_stream

ROWS = [{**row, "response": ""} if number % 7 == 3 else row for number, row in enumerate(make_rows(400))]


def make(location: str, *, epochs: int | None = None) -> SFTStream:
    faults = {"on_bad_row": "skip", "max_bad_rows": 0.5, "quarantine_path": f"{location}/bad.jsonl"}
    return make_stream(ROWS, fault_config=faults, lanes=4, epochs=epochs)


def read_whole(loader: StreamLoader) -> None:
    for _ in loader:
        pass


def lines_at(location: str) -> list[str]:
    """All lines of the files in a folder, sorted."""
    folder, path = fsspec.core.url_to_fs(location)
    folder.invalidate_cache()
    return sorted(line for name in folder.find(path) for line in folder.cat_file(name).decode().splitlines())


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The lines of an uninterrupted run that writes to the disk."""
    folder = tmp_path_factory.mktemp("disk")
    read_whole(make(str(folder), epochs=2).loader())
    lines = lines_at(str(folder))
    assert len(lines) > 100
    return lines


def test_the_lines_are_those_of_a_file_on_the_disk(url: str, expected: list[str]) -> None:
    loader = make(url, epochs=2).loader()
    list(take(loader, 3))
    begun = lines_at(url)  # an iterator that is left writes its lines
    assert 0 < len(begun) < len(expected)
    read_whole(loader)
    assert lines_at(url) == expected


def test_whoever_has_a_state_finds_the_lines_before_it(url: str, expected: list[str]) -> None:
    """A job that is killed after a state was taken has lost no line that the resumed job does not write again."""
    state = None
    for ranks in (2, 1, 4):
        loaders = [make(url, epochs=2).loader(rank=rank, world_size=ranks) for rank in range(ranks)]
        for loader in loaders if state is not None else []:
            loader.load_state_dict(state)
        open_iterators = [iter(loader) for loader in loaders]
        for iterator in open_iterators:
            for _ in range(8 // ranks):
                next(iterator)
        state = merge_states([loader.state_dict() for loader in loaders])
        assert lines_at(url) == [line for line in expected if json.loads(line)["batch"] < state["batch"]]
        for iterator in open_iterators:  # these batches come again
            next(iterator)
    assert state is not None
    last = make(url, epochs=2).loader()
    last.load_state_dict(state)
    read_whole(last)
    assert lines_at(url) == expected


def test_lines_are_also_written_from_time_to_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    iterator = iter(make(url).loader())
    next(iterator)
    assert lines_at(url) == []
    monkeypatch.setattr(files, "_SECONDS_BETWEEN_WRITES", 0.0)
    for _ in range(3):
        next(iterator)
    assert lines_at(url) != []


def test_while_the_store_is_down_training_continues_and_no_line_is_lost(
    url: str, server: Server, expected: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    loader = make(url, epochs=1).loader()
    list(take(loader, 2))
    with server.broken(1.0, kinds=(DOWN,)):
        read_whole(loader)
        assert "the list of bad rows is not saved, and a later write tries again: writing s3://rows" in caplog.text
        list(take(loader, 2))  # the next epoch begins
    read_whole(loader)
    assert lines_at(url) == expected


def test_no_line_is_lost_if_some_requests_fail(url: str, server: Server, expected: list[str]) -> None:
    loader = make(url, epochs=2).loader()
    with server.broken(0.2, kinds=("503", "reset", DOWN), seed=1) as faults:
        for _ in loader:
            loader.state_dict()
    loader.state_dict()
    assert faults.injected.total() > 5
    assert lines_at(url) == expected


def test_an_iterator_that_was_left_does_not_write_its_lines_over_later_ones(url: str, expected: list[str]) -> None:
    first = make(url, epochs=2).loader()
    iterator = iter(first)
    for _ in range(4):
        next(iterator)
    state = first.state_dict()
    for _ in range(4):  # lines that are not written yet
        next(iterator)
    second = make(url, epochs=2).loader()
    second.load_state_dict(state)
    read_whole(second)
    del iterator
    assert lines_at(url) == expected
    first.load_state_dict(second.state_dict())
    first.quarantine.begin(first.batch, 0, 1)  # as the next `for`
    first.state_dict()
    assert lines_at(url) == expected


def test_lines_of_another_process_are_read_again(url: str, expected: list[str]) -> None:
    loader = make(url, epochs=2).loader()
    list(take(loader, 4))
    state = loader.state_dict()
    folder, path = fsspec.core.url_to_fs(f"{url}/bad.jsonl")
    before = folder.cat_file(path)
    read_whole(loader)
    folder.pipe_file(path, before)  # another process has gone on from the state
    again = make(url, epochs=2).loader()
    again.load_state_dict(state)
    read_whole(again)
    assert lines_at(url) == expected


def test_a_run_does_not_begin_while_the_store_is_down_or_refuses(url: str, server: Server) -> None:
    with (
        server.broken(1.0, kinds=(DOWN,)),
        pytest.raises(ConfigError, match=r"fault_config.quarantine_path: reading s3://rows/.*bad.jsonl failed .*; che"),
    ):
        next(iter(make(url).loader()))
    with pytest.raises(ConfigError, match=r"quarantine_path: writing s3://no-such-bucket/bad.jsonl failed"):
        next(iter(make("s3://no-such-bucket").loader()))


def test_an_object_with_other_lines_is_not_changed(url: str) -> None:
    folder, path = fsspec.core.url_to_fs(f"{url}/bad.jsonl")
    folder.pipe_file(path, b'{"a row": "of mine"}\n')
    with pytest.raises(ConfigError, match=r"bad.jsonl is not a list of bad rows"):
        next(iter(make(url).loader()))
    assert folder.cat_file(path) == b'{"a row": "of mine"}\n'


def test_a_config_cannot_write_through_other_schemes() -> None:
    with pytest.raises(ConfigError, match=r"fault_config.quarantine_path: the scheme 'ssh' of ssh://.* is not allowed"):
        make("ssh://host/folder").loader()
