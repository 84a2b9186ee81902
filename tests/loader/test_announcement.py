"""One line says what will be fed, when a stream is read for the first time."""

import logging
from typing import Any

import pytest

from samsum_stream import SFTStream
from tests.streams import make_stream


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "samsum_stream.loader.announcement")


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "samsum_stream.loader.announcement"]


def begin(stream: SFTStream, **kwargs: Any) -> None:
    next(iter(stream.loader(**kwargs)))


def test_an_endless_stream(caplog: pytest.LogCaptureFixture) -> None:
    begin(make_stream(epochs=None, lanes=4))
    assert lines_of(caplog) == [
        "rows: 60 rows, endless; 4 lanes for 1 rank x 0 workers; packed/position_ids, backend hf, "
        "batches of 2 x 32 tokens"
    ]


def test_a_stream_with_an_end_says_how_many_batches_each_rank_gets(caplog: pytest.LogCaptureFixture) -> None:
    stream = make_stream(epochs=2, lanes=4, collator_config={"method": "padding_free"})
    loader = stream.loader(rank=0, world_size=2)
    next(iter(loader))
    assert lines_of(caplog) == [
        f"rows: 60 rows, 2 epochs of {len(loader) // 2} batches a rank; 4 lanes for 2 ranks x 0 workers; padding_free, "
        "backend hf, batches of 2 x 32 tokens"
    ]


def test_it_is_said_once_for_all_loaders_of_a_stream(caplog: pytest.LogCaptureFixture) -> None:
    stream = make_stream(epochs=None)
    loader = stream.loader()
    assert lines_of(caplog) == []
    for _ in range(2):
        next(iter(loader))
    begin(stream)
    assert len(lines_of(caplog)) == 1
    begin(make_stream(epochs=None))
    assert len(lines_of(caplog)) == 2


def test_other_ranks_are_silent(caplog: pytest.LogCaptureFixture) -> None:
    begin(make_stream(epochs=None, lanes=4), rank=1, world_size=2)
    assert lines_of(caplog) == []
