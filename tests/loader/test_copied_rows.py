"""A warning if forked workers copy a large list of rows, and the remedy that it names."""

import multiprocessing
import tracemalloc
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import datasets
import pytest

from samsum_stream.loader import copied_rows
from samsum_stream.loader.copied_rows import MAX_COPIED, warn_of_copies
from samsum_stream.sources.memory import ListSource
from tests.resuming import equal
from tests.streams import make_rows, make_stream, workers_that_end_at_once, write_lines

RULE = "each of 2 forked workers copies up to "


@pytest.fixture(autouse=True)
def quick_workers() -> Iterator[None]:
    with workers_that_end_at_once():
        yield


@pytest.fixture
def small_limit() -> Iterator[None]:
    with mock.patch.object(copied_rows, "MAX_COPIED", 10_000):
        yield


def first_batches(rows: Any = None, **changes: Any) -> list[dict[str, Any]]:
    stream = make_stream(rows, epochs=None, lanes=2, **changes)
    return list(islice(stream.loader(num_workers=2, multiprocessing_context="fork"), 3))


@pytest.mark.usefixtures("small_limit")
def test_a_large_list_that_forked_workers_copy_is_a_warning_once(caplog: pytest.LogCaptureFixture) -> None:
    first_batches(make_rows(300))
    first_batches(make_rows(300))
    [warning] = [record.getMessage() for record in caplog.records if RULE in record.getMessage()]
    assert warning.startswith("rows: each of 2 forked workers copies up to 0 MB of Python objects while it reads the ")
    assert "list of 300 rows; pass rows=datasets.Dataset.from_list(rows), or write a jsonl file, which" in warning


@pytest.mark.usefixtures("small_limit")
def test_the_remedies_give_the_same_batches_without_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = make_rows(300)
    expected = list(islice(make_stream(rows, epochs=None, lanes=2).loader(), 3))
    path = str(write_lines(tmp_path / "rows.jsonl", rows))
    from_file = first_batches(source_config={"method": "jsonl", "kwargs": {"path": path}})
    for batches in (first_batches(datasets.Dataset.from_list(rows)), from_file):
        assert all(map(equal, batches, expected))
    assert RULE not in caplog.text


def source_of(rows: Any) -> ListSource:
    source = make_stream(rows).pipeline.source
    assert isinstance(source, ListSource)
    return source


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_that_do_not_fork_get_one_copy_that_needs_no_warning(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_copies(source_of(make_rows(300)), num_workers=2, context=multiprocessing.get_context(method))
    assert "of Python objects" not in caplog.text


def test_a_small_list_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    first_batches(make_rows(300))
    assert RULE not in caplog.text


def test_the_size_is_that_of_the_objects_of_all_rows() -> None:
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    rows = [{"input": f"{i} " * (i % 50), "contexts": [f"{i} {i}", f"{i}"], "response": f"{i}"} for i in range(1, 2000)]
    measured = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert source_of(rows).num_object_bytes == pytest.approx(measured, rel=0.1)


def test_pages_of_a_long_text_that_nobody_writes_to_are_not_counted() -> None:
    assert source_of([{"input": "x" * 10**7, "response": "y"}]).num_object_bytes < 10_000


def test_half_a_million_short_rows_are_more_than_two_workers_may_copy() -> None:
    rows = make_rows(2) * 250_000
    assert source_of(rows).num_object_bytes * 2 > MAX_COPIED
