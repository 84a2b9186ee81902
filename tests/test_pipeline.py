"""Rows to batches for the lanes of one worker."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream import SourceError, TopologyError
from samsum_stream.packing import Item
from samsum_stream.pipeline import Pipeline
from samsum_stream.samples import EXAMPLE_RECORD
from samsum_stream.sources import as_source
from samsum_stream.stats import Counts
from tests.streams import make_rows, make_stream

NUM_ROWS = 60


def make_pipeline(num_rows: int = NUM_ROWS, **changes: Any) -> Pipeline:
    return make_stream(make_rows(num_rows), **changes).pipeline


def record(item: Item) -> Any:
    return item[2].view(EXAMPLE_RECORD)[0]


def rows_of(batches: Iterator[list[list[Item]]]) -> list[int]:
    return [int(record(item)["row"]) for batch in batches for pack in batch for item in pack]


PIPELINE = make_pipeline()


@given(
    num_rows=st.integers(24, 100),
    lanes=st.sampled_from([1, 2, 6, 12, 24]),
    batch_size=st.integers(1, 5),
    shuffle=st.booleans(),
    data=st.data(),
)
def test_workers_together_read_each_row_once(
    num_rows: int, lanes: int, batch_size: int, shuffle: bool, data: st.DataObject
) -> None:
    num_workers = data.draw(st.sampled_from([k for k in (1, 2, 3, 4, 6) if lanes % k == 0]))
    pipeline = Pipeline(
        source=as_source(make_rows(num_rows), name="rows", columns={}),
        tokenizer=PIPELINE.tokenizer,
        packer=PIPELINE.packer,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=0,
        epochs=1,
        num_lanes=lanes,
    )
    rows = [rows_of(pipeline.batches(Counts(), worker=k, num_workers=num_workers)) for k in range(num_workers)]
    assert Counter(row for part in rows for row in part) == Counter(range(num_rows))


@pytest.mark.parametrize("num_workers", [1, 2, 3, 6])
def test_workers_asked_in_turn_give_the_batches_of_one(num_workers: int) -> None:
    pipeline = make_pipeline(lanes=6, epochs=None)
    alone = [rows_of(iter([batch])) for batch in islice(pipeline.batches(Counts()), 40)]
    workers = [pipeline.batches(Counts(), worker=k, num_workers=num_workers) for k in range(num_workers)]
    in_turn = [rows_of(iter([next(workers[m % num_workers])])) for m in range(40)]
    assert in_turn == alone


def test_a_lane_reads_its_own_rows_batch_after_batch() -> None:
    pipeline = make_pipeline(lanes=3, shuffle=False, method="greedy")
    batches = [rows_of(iter([batch])) for batch in islice(pipeline.batches(Counts()), 6)]
    assert [{row % 3 for row in batch} for batch in batches] == [{0}, {1}, {2}] * 2


def test_full_batches_come_before_the_last_of_a_lane() -> None:
    sizes = [len(batch) for batch in make_pipeline(lanes=1, batch_size=4).batches(Counts())]
    assert sizes[:-1] == [4] * (len(sizes) - 1)
    assert 1 <= sizes[-1] <= 4


def test_each_epoch_of_a_finite_stream_closes_its_last_pack() -> None:
    pipeline = make_pipeline(epochs=2, lanes=1)
    epochs = [[{int(record(item)["epoch"]) for item in pack} for pack in batch] for batch in pipeline.batches(Counts())]
    assert {len(kinds) for batch in epochs for kinds in batch} == {1}


def test_the_first_epoch_can_be_a_later_one() -> None:
    pipeline = make_pipeline(lanes=1)
    first, later = (
        rows_of(pipeline.batches(Counts(), first_epoch=0)),
        rows_of(pipeline.batches(Counts(), first_epoch=5)),
    )
    assert sorted(first) == sorted(later) == list(range(NUM_ROWS))
    assert first != later
    assert {int(record(i)["epoch"]) for b in pipeline.batches(Counts(), first_epoch=5) for p in b for i in p} == {5}


def test_batches_start_before_the_source_is_read_to_its_end() -> None:
    num_read = 0

    def rows() -> Iterator[dict[str, str]]:
        nonlocal num_read
        for row in make_rows(600) * 100:
            num_read += 1
            yield row

    pipeline = make_stream(rows, shuffle=False, lanes=1).pipeline
    num_read = 0
    next(iter(pipeline.batches(Counts())))
    assert num_read <= 1024


def test_lanes_that_workers_cannot_share_are_an_error_before_the_first_batch() -> None:
    with pytest.raises(TopologyError, match="4 lanes cannot be shared evenly by 3 workers"):
        make_pipeline(lanes=4).batches(Counts(), num_workers=3)


@pytest.mark.parametrize("epochs", [1, None])
def test_a_lane_without_a_row_to_train_on_is_an_error_that_counts_the_drops(epochs: int | None) -> None:
    pipeline = make_pipeline(max_length=3, epochs=epochs, lanes=1)
    with pytest.raises(
        SourceError, match=r"lane 0 has no row to train on.*60 longer_than_max_length.*raise packing_config"
    ):
        list(islice(pipeline.batches(Counts()), 1))


def test_a_sequential_source_with_fewer_rows_than_lanes_is_an_error() -> None:
    pipeline = make_stream(lambda: iter(make_rows(3)), lanes=4).pipeline
    with pytest.raises(SourceError, match="lane 3 has no row to train on: the source has fewer rows than lanes"):
        list(pipeline.batches(Counts()))
