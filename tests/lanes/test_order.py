"""Which row a lane reads next: every row is in one lane, for any shards and blocks."""

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream.lanes import order as module
from samsum_stream.lanes.order import PLAIN_BLOCK, SHUFFLED_BLOCK, Order
from samsum_stream.lanes.permutation import lane_size

ORDERS = st.builds(Order, st.integers(1, 30), st.integers(0, 2**31), st.booleans())
EPOCHS = st.integers(0, 1000)


@pytest.fixture(scope="module", autouse=True)
def small_blocks() -> Iterator[None]:
    """Block sizes that divide few numbers, so that short shards have several blocks."""
    patch = pytest.MonkeyPatch()
    patch.setattr(module, "SHUFFLED_BLOCK", 23)
    patch.setattr(module, "PLAIN_BLOCK", 7)
    yield
    patch.undo()


def indexed(order: Order, lane: int, *, epoch: int, num_rows: int) -> list[int]:
    size = lane_size(lane, num_rows=num_rows, num_lanes=order.num_lanes)
    return order.rows(lane, np.arange(size), epoch=epoch, num_rows=num_rows).tolist()


def blocks_of_offset(
    order: Order, offset: int, *, epoch: int, shard: int, num_rows: int
) -> list[tuple[int, int, list[int]]]:
    """What an offset reads of each block of a shard: the block, the number of its first row, and its rows."""
    blocks = []
    for block, start in enumerate(range(0, num_rows, order.block_size)):
        size = min(order.block_size, num_rows - start)
        first, rows = order.rows_of_offset(offset, epoch=epoch, shard=shard, block=block, num_rows=size)
        blocks.append((block, first, (start + rows).tolist()))
    return blocks


def shared(order: Order, lane: int, *, epoch: int, shard_sizes: Sequence[int]) -> list[tuple[int, int]]:
    """The rows of a lane in an epoch of shared shards, as (shard, row)."""
    lane_rows = []
    for shard_index, shard in enumerate(order.shards(len(shard_sizes), epoch=epoch)):
        offset = order.offset(lane, epoch=epoch, shard_index=shard_index)
        blocks = blocks_of_offset(order, offset, epoch=epoch, shard=shard, num_rows=shard_sizes[shard])
        lane_rows += [(shard, row) for _, _, rows in blocks for row in rows]
    return lane_rows


# --------------------------------------------------------------------------------------------------------- indexed


@given(ORDERS, EPOCHS, st.integers(0, 300))
def test_lanes_partition_the_rows_of_an_epoch_and_differ_by_at_most_one(
    order: Order, epoch: int, num_rows: int
) -> None:
    lanes = [indexed(order, lane, epoch=epoch, num_rows=num_rows) for lane in range(order.num_lanes)]
    assert sorted(chain.from_iterable(lanes)) == list(range(num_rows))
    assert max(map(len, lanes)) - min(map(len, lanes)) <= 1


@given(ORDERS, EPOCHS, st.integers(1, 300), st.data())
def test_the_rows_of_a_lane_can_start_at_any_number(
    order: Order, epoch: int, num_rows: int, data: st.DataObject
) -> None:
    lane = data.draw(st.integers(0, order.num_lanes - 1))
    whole = indexed(order, lane, epoch=epoch, num_rows=num_rows)
    first = data.draw(st.integers(0, len(whole)))
    rest = order.rows(lane, np.arange(first, len(whole)), epoch=epoch, num_rows=num_rows)
    assert rest.tolist() == whole[first:]


@pytest.mark.parametrize("num_lanes", [1, 3, 24])
def test_without_shuffling_the_rows_go_round_the_lanes_in_order(num_lanes: int) -> None:
    order = Order(num_lanes, 0, shuffle=False)
    for lane in range(num_lanes):
        assert indexed(order, lane, epoch=3, num_rows=100) == list(range(lane, 100, num_lanes))


def test_seed_and_epoch_determine_the_order() -> None:
    def rows(seed: int, epoch: int) -> tuple[int, ...]:
        return tuple(indexed(Order(2, seed, shuffle=True), 0, epoch=epoch, num_rows=200))

    keys = [(seed, epoch) for seed in (0, 1, 2) for epoch in (0, 1, 2)]
    assert len({rows(*key) for key in keys}) == len(keys)
    assert rows(1, 2) == rows(1, 2)


# ---------------------------------------------------------------------------------------------------------- shared


SHARD_SIZES = st.lists(st.integers(0, 60), min_size=1, max_size=6)


@given(ORDERS, EPOCHS, SHARD_SIZES)
def test_lanes_partition_the_rows_of_all_shards_and_differ_by_at_most_one_in_each(
    order: Order, epoch: int, shard_sizes: list[int]
) -> None:
    lanes = [shared(order, lane, epoch=epoch, shard_sizes=shard_sizes) for lane in range(order.num_lanes)]
    every_row = [(shard, row) for shard, size in enumerate(shard_sizes) for row in range(size)]
    assert sorted(chain.from_iterable(lanes)) == every_row
    for shard in range(len(shard_sizes)):
        sizes = [sum(shard_of_row == shard for shard_of_row, _ in lane) for lane in lanes]
        assert max(sizes) - min(sizes) <= 1


@given(ORDERS, EPOCHS, st.integers(0, 200))
def test_the_rows_of_an_offset_are_numbered_from_zero_without_a_gap(order: Order, epoch: int, num_rows: int) -> None:
    for offset in range(order.num_lanes):
        num_read = 0
        for block, first, rows in blocks_of_offset(order, offset, epoch=epoch, shard=0, num_rows=num_rows):
            assert first == num_read
            num_read += len(rows)
            assert {row // order.block_size for row in rows} <= {block}
        assert num_read == lane_size(offset, num_rows=num_rows, num_lanes=order.num_lanes)


@given(ORDERS, EPOCHS, st.integers(0, 200))
def test_the_block_of_a_row_is_the_block_that_has_it(order: Order, epoch: int, num_rows: int) -> None:
    for offset in range(order.num_lanes):
        for block, first, rows in blocks_of_offset(order, offset, epoch=epoch, shard=0, num_rows=num_rows):
            assert {order.block_of(offset, first + index) for index in range(len(rows))} <= {block}


@given(ORDERS, EPOCHS, st.integers(0, 99))
def test_in_each_shard_every_offset_has_one_lane(order: Order, epoch: int, shard_index: int) -> None:
    offsets = [order.offset(lane, epoch=epoch, shard_index=shard_index) for lane in range(order.num_lanes)]
    assert sorted(offsets) == list(range(order.num_lanes))


@pytest.mark.parametrize("num_lanes", [2, 5, 12])
def test_the_odd_row_goes_to_every_lane_in_turn(num_lanes: int) -> None:
    """Each shard has one row more than the lanes can share evenly: no lane gets it much more often than another."""
    order, num_shards = Order(num_lanes, 0, shuffle=True), 400
    offsets = [
        order.offset(lane, epoch=0, shard_index=index) for lane in range(num_lanes) for index in range(num_shards)
    ]
    gets_odd_row = np.array(offsets).reshape(num_lanes, num_shards) == 0
    assert gets_odd_row.sum(0).tolist() == [1] * num_shards
    expected = num_shards / num_lanes
    assert np.abs(gets_odd_row.sum(1) - expected).max() < 5 * np.sqrt(expected)


@given(ORDERS, EPOCHS, st.integers(1, 50))
def test_an_epoch_has_every_shard_once(order: Order, epoch: int, num_shards: int) -> None:
    shards = order.shards(num_shards, epoch=epoch)
    assert sorted(shards) == list(range(num_shards))
    assert order.shuffle or shards == list(range(num_shards))


def test_each_epoch_permutes_shards_and_rows_anew() -> None:
    order = Order(1, 0, shuffle=True)
    assert len({tuple(order.shards(12, epoch=epoch)) for epoch in range(5)}) == 5
    orders = {tuple(shared(order, 0, epoch=epoch, shard_sizes=[20])) for epoch in range(5)}
    assert len(orders) == 5


def test_blocks_and_shards_of_the_same_size_have_different_orders() -> None:
    order = Order(1, 0, shuffle=True)
    blocks = [
        tuple(order.rows_of_offset(0, epoch=0, shard=shard, block=block, num_rows=20)[1].tolist())
        for shard in range(3)
        for block in range(3)
    ]
    assert len(set(blocks)) == 9


@pytest.mark.parametrize("num_lanes", [1, 3])
def test_without_shuffling_a_shard_is_read_in_order(num_lanes: int) -> None:
    order = Order(num_lanes, 0, shuffle=False)
    for offset in range(num_lanes):
        blocks = blocks_of_offset(order, offset, epoch=5, shard=2, num_rows=100)
        assert [row for _, _, rows in blocks for row in rows] == list(range(offset, 100, num_lanes))


def test_the_block_size_depends_on_shuffling() -> None:
    assert (SHUFFLED_BLOCK, PLAIN_BLOCK) == (4096, 512)
    shuffled, plain = Order(1, 0, shuffle=True), Order(1, 0, shuffle=False)
    assert (shuffled.block_size, plain.block_size) == (module.SHUFFLED_BLOCK, module.PLAIN_BLOCK)
