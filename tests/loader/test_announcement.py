"""One line in the log describes the data when a stream is read for the first time."""

import logging
from typing import Any

import pytest

from samsum_stream import SFTStream
from tests.streams import make_stream


@pytest.fixture(autouse=True)
def log_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "samsum_stream.loader.announcement")


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "samsum_stream.loader.announcement"]


def begin(stream: SFTStream, **kwargs: Any) -> None:
    next(iter(stream.loader(**kwargs)))


def test_the_line_of_an_endless_stream(caplog: pytest.LogCaptureFixture) -> None:
    begin(make_stream(epochs=None, lanes=4))
    assert lines_of(caplog) == [
        "rows: 60 rows, endless; 4 lanes for 1 rank x 0 workers; packed/position_ids, backend hf, "
        "batches of 2 x 32 tokens"
    ]


def test_the_line_of_a_finite_stream_has_the_number_of_batches_per_rank(caplog: pytest.LogCaptureFixture) -> None:
    stream = make_stream(epochs=2, lanes=4, collator_config={"method": "padding_free"})
    loader = stream.loader(rank=0, world_size=2)
    next(iter(loader))
    assert lines_of(caplog) == [
        f"rows: 60 rows, 2 epochs of {len(loader) // 2} batches per rank; 4 lanes for 2 ranks x 0 workers; "
        "padding_free, backend hf, batches of 2 x 32 tokens"
    ]


def test_all_loaders_of_a_stream_log_the_line_once(caplog: pytest.LogCaptureFixture) -> None:
    stream = make_stream(epochs=None)
    loader = stream.loader()
    assert lines_of(caplog) == []
    for _ in range(2):
        next(iter(loader))
    begin(stream)
    assert len(lines_of(caplog)) == 1
    begin(make_stream(epochs=None))
    assert len(lines_of(caplog)) == 2


def test_other_ranks_log_nothing(caplog: pytest.LogCaptureFixture) -> None:
    begin(make_stream(epochs=None, lanes=4), rank=1, world_size=2)
    assert lines_of(caplog) == []
