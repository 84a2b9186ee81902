"""A batch as one int32 buffer, and back."""

import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream.loader.wire import from_buffer, to_buffer
from samsum_stream.values.batches import packs_of
from samsum_stream.values.examples import EXAMPLE_RECORD, Item
from samsum_stream.values.rows import RowPosition
from tests.streams import record_of


def make_item(ids: list[int], *, num_prompt_tokens: int, shard: int, epoch: int, row: int) -> Item:
    record = np.array([(len(ids), num_prompt_tokens, shard, epoch, row)], EXAMPLE_RECORD)
    return len(ids), np.array(ids, np.int32).tobytes(), record.tobytes(), row


INT32 = st.integers(0, 2**31 - 1)
ITEMS = st.builds(
    make_item,
    st.lists(INT32, min_size=1, max_size=12),
    num_prompt_tokens=st.integers(0, 12),
    shard=INT32,
    epoch=INT32,
    row=st.integers(0, 2**62),
)
PACKS = st.lists(st.lists(ITEMS, min_size=1, max_size=5), min_size=1, max_size=5)


def locate(shard: int, row: int, epoch: int) -> RowPosition:
    return RowPosition("rows", f"shard-{shard}", row, epoch)


@given(PACKS)
def test_a_batch_comes_back_from_its_buffer(packs: list[list[Item]]) -> None:
    batch = from_buffer(to_buffer(packs))
    items = [item for pack in packs for item in pack]
    assert batch.pack_sizes.tolist() == [len(pack) for pack in packs]
    assert batch.tokens.offsets.tolist() == [0, *np.cumsum([item[0] for item in items]).tolist()]
    np.testing.assert_array_equal(batch.tokens.ids, np.frombuffer(b"".join(item[1] for item in items), np.int32))
    np.testing.assert_array_equal(batch.records, [record_of(item) for item in items])


@given(PACKS)
def test_packs_come_back_with_their_positions(packs: list[list[Item]]) -> None:
    restored = list(packs_of(from_buffer(to_buffer(packs)), locate))
    assert len(restored) == len(packs)
    for pack, items in zip(restored, packs, strict=True):
        assert pack.num_tokens == sum(item[0] for item in items)
        for example, item in zip(pack.examples, items, strict=True):
            record = record_of(item)
            assert example.input_ids.tolist() == np.frombuffer(item[1], np.int32).tolist()
            assert example.num_prompt_tokens == record["num_prompt_tokens"]
            assert example.position == locate(record["shard"], record["row"], record["epoch"])


@given(PACKS, st.integers(0, 9))
def test_empty_packs_fill_a_batch_up_behind_the_others(packs: list[list[Item]], num_packs: int) -> None:
    batch, filled = from_buffer(to_buffer(packs)), from_buffer(to_buffer(packs, num_packs=num_packs))
    num_missing = max(num_packs - len(packs), 0)
    assert filled.pack_sizes.tolist() == [*batch.pack_sizes.tolist(), *[0] * num_missing]
    np.testing.assert_array_equal(filled.tokens.ids, batch.tokens.ids)
    np.testing.assert_array_equal(filled.records, batch.records)


def test_what_travels_is_one_buffer_of_int32_words() -> None:
    item = make_item([5, 6, 7], num_prompt_tokens=1, shard=2, epoch=3, row=2**40)
    buffer = to_buffer([[item, item], [item]])
    # A header of two, two pack sizes, three records of six words, nine ids.
    assert len(buffer) == 4 * (2 + 2 + 3 * 6 + 9)


def test_a_buffer_may_be_read_where_it_lies() -> None:
    item = make_item([5, 6, 7], num_prompt_tokens=1, shard=2, epoch=3, row=2**40)
    buffer = pickle.loads(pickle.dumps(to_buffer([[item]])))
    batch = from_buffer(buffer)
    for array in (batch.tokens.ids, batch.records, batch.pack_sizes):
        assert np.shares_memory(array, np.frombuffer(buffer, np.uint8))
    assert batch.records["row"].tolist() == [2**40]
