"""Rows to batches for the lanes of one worker."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream import SourceError
from samsum_stream.lanes.epochs import Ends
from samsum_stream.lanes.position import START, LanePosition, PassStart, Place
from samsum_stream.lanes.share import Share
from samsum_stream.loader.epochs.lengths import count_lengths, measure_lengths
from samsum_stream.loader.epochs.plan import plan_ends
from samsum_stream.pipeline.pipeline import LaneBatch, Made, Packs, Pipeline
from samsum_stream.sources import as_source
from samsum_stream.values.examples import Item
from tests.streams import make_rows, make_stream, record_of, row_of

NUM_ROWS = 60
WHOLE = Share(0)


def make_pipeline(num_rows: int = NUM_ROWS, **changes: Any) -> Pipeline:
    return make_stream(make_rows(num_rows), **changes).pipeline


def endless(pipeline: Pipeline, share: Share = WHOLE, *, lanes: int = 1, epoch: int = 0) -> Iterator[Made]:
    """The batches of a share of a stream without an end, from an epoch's start."""
    positions = dict.fromkeys(range(lanes), LanePosition(Place(epoch, 0, 0), ()))
    return pipeline.batches(share, positions, order=pipeline.order(lanes))


def plan(pipeline: Pipeline, *, lanes: int = 1, epoch: int = 0) -> Ends:
    lengths = count_lengths(
        pipeline.source, partial(measure_lengths, pipeline.tokenizer), rank=0, world_size=1, num_workers=0
    )
    return plan_ends(
        pipeline.source,
        lengths,
        order=pipeline.order(lanes),
        packer=pipeline.packer,
        batch_size=pipeline.batch_size,
        start=PassStart(epoch, 0, 0),
        num_epochs=pipeline.epochs or 1,
    )


def finite(pipeline: Pipeline, share: Share = WHOLE, *, lanes: int = 1, epoch: int = 0) -> Iterator[Made]:
    """The batches of a share of one pass, which was counted."""
    positions = dict.fromkeys(range(lanes), LanePosition(Place(epoch, 0, 0), ()))
    ends = plan(pipeline, lanes=lanes, epoch=epoch)
    return pipeline.batches(share, positions, order=pipeline.order(lanes), passes=[ends])


def undealt(pipeline: Pipeline, share: Share = WHOLE, *, lanes: int = 1, epoch: int = 0) -> Iterator[LaneBatch]:
    return pipeline.undealt(share, order=pipeline.order(lanes), first_epoch=epoch)


def packs_of(batches: Iterable[Made | LaneBatch]) -> list[Packs]:
    """The packs of each batch."""
    return [batch.made.packs if isinstance(batch, Made) else batch.packs for batch in batches]


def rows_of(batches: Iterable[Made | LaneBatch]) -> list[int]:
    return [row_of(item) for packs in packs_of(batches) for pack in packs for item in pack]


def epoch_of(item: Item) -> int:
    return int(record_of(item)["epoch"])


PIPELINE = make_pipeline()
BOTH_ENDS = pytest.mark.parametrize("read", [finite, undealt])


@BOTH_ENDS
@given(
    num_rows=st.integers(24, 100),
    lanes=st.sampled_from([1, 2, 6, 12, 24]),
    batch_size=st.integers(1, 5),
    shuffle=st.booleans(),
    data=st.data(),
)
def test_workers_together_read_each_row_once(
    read: Any, num_rows: int, lanes: int, batch_size: int, shuffle: bool, data: st.DataObject
) -> None:
    num_workers = data.draw(st.sampled_from([k for k in (1, 2, 3, 4, 6) if lanes % k == 0]))
    source = as_source(make_rows(num_rows), name="rows", columns={})
    pipeline = replace(PIPELINE, source=source, batch_size=batch_size, shuffle=shuffle, num_lanes=lanes)
    shares = [Share(0, worker=worker, num_workers=num_workers) for worker in range(num_workers)]
    rows = [row for share in shares for row in rows_of(read(pipeline, share, lanes=lanes))]
    assert Counter(rows) == Counter(range(num_rows))


@pytest.mark.parametrize(
    ("world_size", "num_workers"), [(1, 1), (1, 2), (1, 3), (1, 6), (2, 1), (2, 3), (3, 2), (6, 1)]
)
@pytest.mark.parametrize("read", [endless, finite])
def test_ranks_and_workers_asked_in_turn_give_the_batches_of_one(read: Any, world_size: int, num_workers: int) -> None:
    pipeline = make_pipeline(lanes=6)
    alone = list(islice(read(pipeline, lanes=6), 40))
    shares = [
        Share(0, rank, world_size, worker, num_workers) for worker in range(num_workers) for rank in range(world_size)
    ]
    workers = [read(pipeline, share, lanes=6) for share in shares]
    in_turn = [next(workers[m % len(workers)]) for m in range(len(alone))]
    assert [made.batch for made in in_turn] == [made.batch for made in alone] == list(range(len(alone)))
    assert [rows_of([made]) for made in in_turn] == [rows_of([made]) for made in alone]
    assert [made.made.position for made in in_turn] == [made.made.position for made in alone]


@pytest.mark.parametrize("read", [endless, finite, undealt])
def test_a_lane_reads_its_own_rows_batch_after_batch(read: Any) -> None:
    pipeline = make_pipeline(shuffle=False, method="greedy")
    batches = [rows_of([batch]) for batch in islice(read(pipeline, lanes=3), 6)]
    assert [{row % 3 for row in batch} for batch in batches] == [{0}, {1}, {2}] * 2


def test_without_an_end_every_batch_is_full() -> None:
    packs = packs_of(islice(endless(make_pipeline(batch_size=4), lanes=2), 50))
    assert [len(each) for each in packs] == [4] * 50


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_the_batches_of_an_epoch_differ_by_one_pack_at_most_and_lanes_have_as_many(lanes: int) -> None:
    pipeline = make_pipeline(batch_size=4)
    sizes = [len(packs) for packs in packs_of(finite(pipeline, lanes=lanes))]
    own = [sizes[lane::lanes] for lane in range(lanes)]
    assert {len(each) for each in own} == {plan(pipeline, lanes=lanes).num_batches}
    assert all(max(each) - min(each) <= 1 and min(each) > 0 for each in own)
    assert max(sizes) <= 4


def test_undealt_full_batches_come_before_the_last_of_a_lane() -> None:
    *sizes, last, end = [len(packs) for packs in packs_of(undealt(make_pipeline(batch_size=4)))]
    assert sizes == [4] * len(sizes)
    assert 1 <= last <= 4
    # What was dropped behind the last pack comes by itself.
    assert end == 0


def test_dealt_or_not_a_pass_has_the_same_packs() -> None:
    pipeline = make_pipeline(batch_size=2)
    for lanes in (1, 2, 3):
        dealt, plain = [
            sorted(tuple(map(row_of, pack)) for packs in packs_of(read(pipeline, lanes=lanes)) for pack in packs)
            for read in (finite, undealt)
        ]
        assert dealt == plain


@BOTH_ENDS
def test_each_epoch_of_a_finite_stream_closes_its_last_pack(read: Any) -> None:
    packs = [pack for packs in packs_of(read(make_pipeline(epochs=2))) for pack in packs]
    assert [len({epoch_of(item) for item in pack}) for pack in packs] == [1] * len(packs)
    assert {epoch_of(item) for pack in packs for item in pack} == {0, 1}


def test_without_an_end_packs_go_on_from_one_epoch_into_the_next() -> None:
    packs = [pack for packs in packs_of(islice(endless(make_pipeline(epochs=None)), 60)) for pack in packs]
    assert 2 in {len({epoch_of(item) for item in pack}) for pack in packs}


@pytest.mark.parametrize("read", [finite, undealt])
def test_the_first_epoch_can_be_a_later_one(read: Any) -> None:
    pipeline = make_pipeline()
    first, later = list(read(pipeline)), list(read(pipeline, epoch=5))
    assert sorted(rows_of(first)) == sorted(rows_of(later)) == list(range(NUM_ROWS))
    assert rows_of(first) != rows_of(later)
    assert {epoch_of(item) for packs in packs_of(later) for pack in packs for item in pack} == {5}


def test_batches_start_before_the_source_is_read_to_its_end() -> None:
    num_read = 0

    def rows() -> Iterator[dict[str, str]]:
        nonlocal num_read
        for row in make_rows(600) * 100:
            num_read += 1
            yield row

    pipeline = make_stream(rows, shuffle=False).pipeline
    for read in (endless, undealt):
        num_read = 0
        next(read(pipeline))
        assert num_read <= 1024


def test_a_share_needs_the_positions_of_its_own_lanes_alone() -> None:
    pipeline, share = make_pipeline(), Share(0, rank=1, world_size=2)
    own = pipeline.batches(share, {1: START, 3: START}, order=pipeline.order(4))
    assert rows_of(islice(own, 10)) == rows_of(islice(endless(pipeline, share, lanes=4), 10))


# ---------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("read", [endless, undealt])
def test_a_lane_without_a_row_to_train_on_is_an_error_that_counts_the_drops(read: Any) -> None:
    with pytest.raises(
        SourceError, match=r"lane 0 has no row to train on.*0 longer_than_max_length.*raise packing_config"
    ):
        list(islice(read(make_pipeline(max_length=3)), 1))


def test_a_lane_that_chances_to_have_only_long_rows_in_an_epoch_goes_on_with_the_next() -> None:
    words = [(20, "21"), (22, "23"), (24, "25 " * 60), (26, "27 " * 60)]
    rows = [{"input": str(word), "response": text} for word, text in words]
    loader = make_stream(rows, lanes=2, batch_size=1, epochs=None, max_length=8).loader()
    epochs = {int(loader.last_batch_info.positions[0][0].epoch) for _ in islice(loader, 60)}
    assert len(epochs) > 10


def test_a_finite_stream_without_a_row_to_train_on_is_an_error_when_it_is_counted() -> None:
    with pytest.raises(
        SourceError, match=r"no row is left to train on: 60 rows were all left out .*raise packing_config"
    ):
        finite(make_pipeline(max_length=3))


@pytest.mark.parametrize("read", [endless, undealt])
def test_a_sequential_source_with_fewer_rows_than_lanes_is_an_error(read: Any) -> None:
    pipeline = make_stream(lambda: iter(make_rows(3))).pipeline
    with pytest.raises(SourceError, match=r"lane \d has no rows: the source has fewer than lanes; lower lanes"):
        list(islice(read(pipeline, lanes=4), 8))


def test_a_finite_sequential_source_with_fewer_rows_than_lanes_is_an_error_when_it_is_counted() -> None:
    pipeline = make_stream(lambda: iter(make_rows(3))).pipeline
    with pytest.raises(SourceError, match=r"lane \d of 4, epoch 0: a lane has 0 examples .*lower lanes"):
        finite(pipeline, lanes=4)


@pytest.mark.parametrize("other", [20, 30, 59, 61, 100])
def test_rows_that_are_not_those_that_were_counted_are_an_error(other: int) -> None:
    sizes = [NUM_ROWS]
    pipeline = make_stream(lambda: iter(make_rows(sizes[0])), method="none").pipeline
    batches = finite(pipeline)
    sizes[0] = other
    with pytest.raises(SourceError, match=r"lane 0 has other rows in epoch 0 than when they were counted"):
        list(batches)
