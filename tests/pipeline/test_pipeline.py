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
from samsum_stream.lanes.epochs import EpochPlan
from samsum_stream.lanes.position import START, EpochRun, start_of
from samsum_stream.lanes.share import Share
from samsum_stream.loader.epochs.lengths import count_lengths, measure_lengths
from samsum_stream.loader.epochs.plan import plan_epochs
from samsum_stream.pipeline.pipeline import Pipeline, ProducedBatch
from samsum_stream.sources import as_source
from samsum_stream.values.batches import Pack
from tests.streams import make_rows, make_stream

NUM_ROWS = 60
WHOLE = Share(0)


def make_pipeline(num_rows: int = NUM_ROWS, **changes: Any) -> Pipeline:
    return make_stream(make_rows(num_rows), **changes).pipeline


def endless(pipeline: Pipeline, share: Share = WHOLE, *, lanes: int = 1, epoch: int = 0) -> Iterator[ProducedBatch]:
    """The batches of a share of an endless stream, from the start of an epoch."""
    positions = dict.fromkeys(range(lanes), start_of(epoch))
    return pipeline.batches(share, positions, order=pipeline.order(lanes))


def plan_of(pipeline: Pipeline, *, lanes: int = 1, epoch: int = 0) -> EpochPlan:
    lengths = count_lengths(
        pipeline.source, partial(measure_lengths, pipeline.encoder), rank=0, world_size=1, num_workers=0
    )
    return plan_epochs(
        pipeline.source,
        lengths,
        order=pipeline.order(lanes),
        packer=pipeline.packer,
        batch_size=pipeline.batch_size,
        run=EpochRun(epoch, 0, 0),
        num_epochs=pipeline.epochs or 1,
    )


def finite(pipeline: Pipeline, share: Share = WHOLE, *, lanes: int = 1, epoch: int = 0) -> Iterator[ProducedBatch]:
    """The batches of a share of one run, whose rows were counted."""
    positions = dict.fromkeys(range(lanes), start_of(epoch))
    plan = plan_of(pipeline, lanes=lanes, epoch=epoch)
    return pipeline.batches(share, positions, order=pipeline.order(lanes), plans=[plan])


def interleaved(pipeline: Pipeline, share: Share = WHOLE, *, lanes: int = 1, epoch: int = 0) -> Iterator[ProducedBatch]:
    """The same packs without counting the rows."""
    produced = pipeline.interleaved(share, order=pipeline.order(lanes), first_epoch=epoch)
    return (batch for _, batch in produced)


def packs_of(batches: Iterable[ProducedBatch]) -> list[list[Pack]]:
    """The packs of each batch that have examples."""
    batches_of_packs = (produced.batch.packs(PIPELINE.source.position) for produced in batches)
    return [[pack for pack in packs if pack.examples] for packs in batches_of_packs]


def rows_of_pack(pack: Pack) -> tuple[int, ...]:
    return tuple(example.position.row for example in pack.examples)


def rows_of(batches: Iterable[ProducedBatch]) -> list[int]:
    return [row for packs in packs_of(batches) for pack in packs for row in rows_of_pack(pack)]


def epochs_of(packs: Iterable[Pack]) -> list[set[int]]:
    """The epochs of the examples of each pack."""
    return [{example.position.epoch for example in pack.examples} for pack in packs]


PIPELINE = make_pipeline()
FINITE = pytest.mark.parametrize("read", [finite, interleaved])


@FINITE
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
def test_ranks_and_workers_in_turn_produce_the_batches_of_one_process(
    read: Any, world_size: int, num_workers: int
) -> None:
    pipeline = make_pipeline(lanes=6)
    of_one_process = list(islice(read(pipeline, lanes=6), 40))
    shares = [
        Share(0, rank, world_size, worker, num_workers) for worker in range(num_workers) for rank in range(world_size)
    ]
    workers = [read(pipeline, share, lanes=6) for share in shares]
    in_turn = [next(workers[m % len(workers)]) for m in range(len(of_one_process))]
    assert [produced.number for produced in in_turn] == list(range(len(of_one_process)))
    assert [produced.number for produced in of_one_process] == list(range(len(of_one_process)))
    assert [produced.batch.buffer for produced in in_turn] == [produced.batch.buffer for produced in of_one_process]
    assert [produced.position for produced in in_turn] == [produced.position for produced in of_one_process]


@pytest.mark.parametrize("read", [endless, finite, interleaved])
def test_lanes_take_turns_and_each_reads_its_own_rows(read: Any) -> None:
    pipeline = make_pipeline(shuffle=False, method="greedy")
    batches = [rows_of([batch]) for batch in islice(read(pipeline, lanes=3), 6)]
    assert [{row % 3 for row in batch} for batch in batches] == [{0}, {1}, {2}] * 2


def test_every_batch_of_an_endless_stream_is_full() -> None:
    packs = packs_of(islice(endless(make_pipeline(batch_size=4), lanes=2), 50))
    assert [len(batch) for batch in packs] == [4] * 50


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_lanes_have_equal_numbers_of_batches_that_differ_by_at_most_one_pack(lanes: int) -> None:
    pipeline = make_pipeline(batch_size=4)
    sizes = [len(packs) for packs in packs_of(finite(pipeline, lanes=lanes))]
    sizes_of_lanes = [sizes[lane::lanes] for lane in range(lanes)]
    assert set(map(len, sizes_of_lanes)) == {plan_of(pipeline, lanes=lanes).num_batches}
    assert all(max(lane_sizes) - min(lane_sizes) <= 1 and min(lane_sizes) > 0 for lane_sizes in sizes_of_lanes)
    assert max(sizes) <= 4


def test_without_a_plan_only_the_last_batch_of_a_lane_is_not_full() -> None:
    *sizes, last, end = [len(packs) for packs in packs_of(interleaved(make_pipeline(batch_size=4)))]
    assert sizes == [4] * len(sizes)
    assert 1 <= last <= 4
    # An empty batch follows, with the counts of the rows after the last pack.
    assert end == 0


def test_with_or_without_a_plan_an_epoch_has_the_same_packs() -> None:
    pipeline = make_pipeline(batch_size=2)
    for lanes in (1, 2, 3):
        planned, unplanned = [
            sorted(rows_of_pack(pack) for packs in packs_of(read(pipeline, lanes=lanes)) for pack in packs)
            for read in (finite, interleaved)
        ]
        assert planned == unplanned


def test_empty_packs_fill_the_batches_of_layouts_with_a_fixed_shape() -> None:
    pipeline = make_pipeline(batch_size=4)
    batches, unfilled = list(finite(pipeline)), list(finite(replace(pipeline, fills_batches=False)))
    assert [len(produced.batch.pack_sizes) for produced in batches] == [4] * len(batches)
    assert [len(produced.batch.pack_sizes) for produced in unfilled] == [len(packs) for packs in packs_of(batches)]
    assert min(map(len, packs_of(batches))) < 4, "no batch is filled"


def test_interleaved_batches_come_with_their_lane() -> None:
    pipeline = make_pipeline(shuffle=False, method="greedy")
    batches = list(pipeline.interleaved(WHOLE, order=pipeline.order(3), first_epoch=0))
    assert [lane for lane, _ in batches[:6]] == [0, 1, 2, 0, 1, 2]
    assert all(row % 3 == lane for lane, produced in batches for row in rows_of([produced]))


@FINITE
def test_each_epoch_of_a_finite_stream_closes_its_last_pack(read: Any) -> None:
    packs = [pack for packs in packs_of(read(make_pipeline(epochs=2))) for pack in packs]
    epochs = epochs_of(packs)
    assert [len(pack_epochs) for pack_epochs in epochs] == [1] * len(packs)
    assert set().union(*epochs) == {0, 1}


def test_packs_of_an_endless_stream_continue_from_one_epoch_into_the_next() -> None:
    packs = [pack for packs in packs_of(islice(endless(make_pipeline(epochs=None)), 60)) for pack in packs]
    assert 2 in set(map(len, epochs_of(packs)))


@FINITE
def test_batches_can_start_at_a_later_epoch(read: Any) -> None:
    pipeline = make_pipeline()
    first, later = list(read(pipeline)), list(read(pipeline, epoch=5))
    assert sorted(rows_of(first)) == sorted(rows_of(later)) == list(range(NUM_ROWS))
    assert rows_of(first) != rows_of(later)
    assert set().union(*epochs_of(pack for packs in packs_of(later) for pack in packs)) == {5}


def test_the_first_batch_does_not_wait_for_the_end_of_the_source() -> None:
    num_read = 0

    def rows() -> Iterator[dict[str, str]]:
        nonlocal num_read
        for row in make_rows(600) * 100:
            num_read += 1
            yield row

    pipeline = make_stream(rows, shuffle=False).pipeline
    for read in (endless, interleaved):
        num_read = 0
        next(read(pipeline))
        assert num_read <= 1024


def test_a_share_needs_only_the_positions_of_its_own_lanes() -> None:
    pipeline, share = make_pipeline(), Share(0, rank=1, world_size=2)
    batches = pipeline.batches(share, {1: START, 3: START}, order=pipeline.order(4))
    assert rows_of(islice(batches, 10)) == rows_of(islice(endless(pipeline, share, lanes=4), 10))


# ---------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("read", [endless, interleaved])
def test_a_lane_without_a_row_to_train_on_is_an_error_that_counts_the_drops(read: Any) -> None:
    with pytest.raises(
        SourceError, match=r"lane 0 has no row to train on.*0 longer_than_max_length.*raise packing_config"
    ):
        list(islice(read(make_pipeline(max_length=3)), 1))


def test_a_lane_with_only_long_rows_in_an_epoch_continues_with_the_next_epoch() -> None:
    texts = [(20, "21"), (22, "23"), (24, "25 " * 60), (26, "27 " * 60)]
    rows = [{"input": str(word), "response": text} for word, text in texts]
    loader = make_stream(rows, lanes=2, batch_size=1, epochs=None, max_length=8).loader()
    epochs = {int(loader.last_batch_info.positions[0][0].epoch) for _ in islice(loader, 60)}
    assert len(epochs) > 10


def test_counting_a_stream_without_a_row_to_train_on_is_an_error() -> None:
    with pytest.raises(
        SourceError, match=r"no row is left to train on: 60 rows were all left out .*raise packing_config"
    ):
        finite(make_pipeline(max_length=3))


@pytest.mark.parametrize("read", [endless, interleaved])
def test_a_sequential_source_with_fewer_rows_than_lanes_is_an_error(read: Any) -> None:
    pipeline = make_stream(lambda: iter(make_rows(3))).pipeline
    with pytest.raises(SourceError, match=r"lane \d has no rows: the source has fewer rows than lanes; lower lanes"):
        list(islice(read(pipeline, lanes=4), 8))


def test_counting_a_sequential_source_with_fewer_rows_than_lanes_is_an_error() -> None:
    pipeline = make_stream(lambda: iter(make_rows(3))).pipeline
    with pytest.raises(SourceError, match=r"lane \d of 4, epoch 0: a lane has 0 examples .*lower lanes"):
        finite(pipeline, lanes=4)


@pytest.mark.parametrize("num_rows", [20, 30, 59, 61, 100])
def test_other_rows_than_when_the_rows_were_counted_are_an_error(num_rows: int) -> None:
    rows = make_rows(NUM_ROWS)
    pipeline = make_stream(lambda: iter(rows), method="none").pipeline
    batches = finite(pipeline)
    rows[:] = make_rows(num_rows)
    with pytest.raises(SourceError, match=r"lane 0 has other rows in epoch 0 than when the rows were counted"):
        list(batches)
