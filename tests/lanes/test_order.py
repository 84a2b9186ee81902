"""Which row a lane reads next: every row in one lane, whatever the shards and the blocks."""

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
    """Blocks of a size that divides next to nothing, so that short shards have several."""
    patch = pytest.MonkeyPatch()
    patch.setattr(module, "SHUFFLED_BLOCK", 23)
    patch.setattr(module, "PLAIN_BLOCK", 7)
    yield
    patch.undo()


def indexed(order: Order, lane: int, *, epoch: int, num_rows: int) -> list[int]:
    size = lane_size(lane, num_rows=num_rows, num_lanes=order.num_lanes)
    return order.rows(lane, np.arange(size), epoch=epoch, num_rows=num_rows).tolist()


def hands(order: Order, seat: int, *, epoch: int, shard: int, num_rows: int) -> list[tuple[int, int, list[int]]]:
    """What a seat is dealt of each block of a shard: the block, the ordinal of the first row, the rows of the shard."""
    dealt = []
    for block, start in enumerate(range(0, num_rows, order.block_size)):
        size = min(order.block_size, num_rows - start)
        first, rows = order.hand(seat, epoch=epoch, shard=shard, block=block, num_rows=size)
        dealt.append((block, first, (start + rows).tolist()))
    return dealt


def sequential(order: Order, lane: int, *, epoch: int, shard_sizes: Sequence[int]) -> list[tuple[int, int]]:
    """The lane's rows of an epoch as (shard, row)."""
    found = []
    for visit, shard in enumerate(order.shards(len(shard_sizes), epoch=epoch)):
        seat = order.seat(lane, epoch=epoch, visit=visit)
        dealt = hands(order, seat, epoch=epoch, shard=shard, num_rows=shard_sizes[shard])
        found += [(shard, row) for _, _, rows in dealt for row in rows]
    return found


# --------------------------------------------------------------------------------------------------------- indexed


@given(ORDERS, EPOCHS, st.integers(0, 300))
def test_lanes_partition_the_rows_of_an_epoch_and_differ_by_one_at_most(
    order: Order, epoch: int, num_rows: int
) -> None:
    lanes = [indexed(order, lane, epoch=epoch, num_rows=num_rows) for lane in range(order.num_lanes)]
    assert sorted(chain.from_iterable(lanes)) == list(range(num_rows))
    assert max(map(len, lanes)) - min(map(len, lanes)) <= 1


@given(ORDERS, EPOCHS, st.integers(1, 300), st.data())
def test_a_lane_may_be_asked_for_any_of_its_rows(order: Order, epoch: int, num_rows: int, data: st.DataObject) -> None:
    lane = data.draw(st.integers(0, order.num_lanes - 1))
    whole = indexed(order, lane, epoch=epoch, num_rows=num_rows)
    first = data.draw(st.integers(0, len(whole)))
    rest = order.rows(lane, np.arange(first, len(whole)), epoch=epoch, num_rows=num_rows)
    assert rest.tolist() == whole[first:]


@pytest.mark.parametrize("num_lanes", [1, 3, 24])
def test_without_shuffling_rows_go_round_the_lanes_in_their_own_order(num_lanes: int) -> None:
    order = Order(num_lanes, 0, shuffle=False)
    for lane in range(num_lanes):
        assert indexed(order, lane, epoch=3, num_rows=100) == list(range(lane, 100, num_lanes))


def test_another_seed_or_epoch_is_another_order_and_the_same_ones_are_the_same() -> None:
    def rows(seed: int, epoch: int) -> tuple[int, ...]:
        return tuple(indexed(Order(2, seed, shuffle=True), 0, epoch=epoch, num_rows=200))

    keys = [(seed, epoch) for seed in (0, 1, 2) for epoch in (0, 1, 2)]
    assert len({rows(*key) for key in keys}) == len(keys)
    assert rows(1, 2) == rows(1, 2)


# ------------------------------------------------------------------------------------------------------ sequential


SHARD_SIZES = st.lists(st.integers(0, 60), min_size=1, max_size=6)


@given(ORDERS, EPOCHS, SHARD_SIZES)
def test_lanes_partition_the_rows_of_all_shards_and_differ_by_one_at_most_in_each(
    order: Order, epoch: int, shard_sizes: list[int]
) -> None:
    lanes = [sequential(order, lane, epoch=epoch, shard_sizes=shard_sizes) for lane in range(order.num_lanes)]
    every_row = [(shard, row) for shard, size in enumerate(shard_sizes) for row in range(size)]
    assert sorted(chain.from_iterable(lanes)) == every_row
    for shard in range(len(shard_sizes)):
        sizes = [sum(at == shard for at, _ in lane) for lane in lanes]
        assert max(sizes) - min(sizes) <= 1


@given(ORDERS, EPOCHS, st.integers(0, 200))
def test_the_rows_of_a_seat_are_numbered_from_zero_without_a_gap(order: Order, epoch: int, num_rows: int) -> None:
    for seat in range(order.num_lanes):
        num_dealt = 0
        for block, first, rows in hands(order, seat, epoch=epoch, shard=0, num_rows=num_rows):
            assert first == num_dealt
            num_dealt += len(rows)
            assert {row // order.block_size for row in rows} <= {block}
        assert num_dealt == lane_size(seat, num_rows=num_rows, num_lanes=order.num_lanes)


@given(ORDERS, EPOCHS, st.integers(0, 200))
def test_the_block_of_a_row_is_the_one_that_deals_it(order: Order, epoch: int, num_rows: int) -> None:
    for seat in range(order.num_lanes):
        for block, first, rows in hands(order, seat, epoch=epoch, shard=0, num_rows=num_rows):
            assert {order.block_of(seat, first + index) for index in range(len(rows))} <= {block}


@given(ORDERS, EPOCHS, st.integers(0, 99))
def test_at_each_visit_every_seat_has_one_lane(order: Order, epoch: int, visit: int) -> None:
    seats = [order.seat(lane, epoch=epoch, visit=visit) for lane in range(order.num_lanes)]
    assert sorted(seats) == list(range(order.num_lanes))


@pytest.mark.parametrize("num_lanes", [2, 5, 12])
def test_the_odd_row_goes_to_every_lane_in_turn(num_lanes: int) -> None:
    """Shards of one row more than the lanes share evenly: no lane has it much more often than another."""
    order, num_visits = Order(num_lanes, 0, shuffle=True), 400
    seats = [order.seat(lane, epoch=0, visit=visit) for lane in range(num_lanes) for visit in range(num_visits)]
    first_seats = np.array(seats).reshape(num_lanes, num_visits) == 0
    assert first_seats.sum(0).tolist() == [1] * num_visits
    expected = num_visits / num_lanes
    assert np.abs(first_seats.sum(1) - expected).max() < 5 * np.sqrt(expected)


@given(ORDERS, EPOCHS, st.integers(1, 50))
def test_an_epoch_visits_every_shard_once(order: Order, epoch: int, num_shards: int) -> None:
    shards = order.shards(num_shards, epoch=epoch)
    assert sorted(shards) == list(range(num_shards))
    assert order.shuffle or shards == list(range(num_shards))


def test_shards_and_the_rows_in_them_are_in_another_order_each_epoch() -> None:
    order = Order(1, 0, shuffle=True)
    assert len({tuple(order.shards(12, epoch=epoch)) for epoch in range(5)}) == 5
    orders = {tuple(sequential(order, 0, epoch=epoch, shard_sizes=[20])) for epoch in range(5)}
    assert len(orders) == 5


def test_blocks_and_shards_of_one_size_are_not_permuted_alike() -> None:
    order = Order(1, 0, shuffle=True)
    blocks = [
        tuple(order.hand(0, epoch=0, shard=shard, block=block, num_rows=20)[1].tolist())
        for shard in range(3)
        for block in range(3)
    ]
    assert len(set(blocks)) == 9


@pytest.mark.parametrize("num_lanes", [1, 3])
def test_without_shuffling_a_shard_is_dealt_in_its_own_order(num_lanes: int) -> None:
    order = Order(num_lanes, 0, shuffle=False)
    for seat in range(num_lanes):
        dealt = hands(order, seat, epoch=5, shard=2, num_rows=100)
        assert [row for _, _, rows in dealt for row in rows] == list(range(seat, 100, num_lanes))


def test_a_shuffled_block_is_one_block_of_the_source_and_holds_thousands_of_rows() -> None:
    assert (SHUFFLED_BLOCK, PLAIN_BLOCK) == (4096, 512)
    shuffled, plain = Order(1, 0, shuffle=True), Order(1, 0, shuffle=False)
    assert (shuffled.block_size, plain.block_size) == (module.SHUFFLED_BLOCK, module.PLAIN_BLOCK)
