"""A batch is one buffer of int32 words: items go in, and arrays and packs come out."""

import pickle
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream.values.batches import Batch, Pack
from samsum_stream.values.examples import EXAMPLE_RECORD, Item
from samsum_stream.values.rows import RowPosition
from tests.streams import record_of

Span = tuple[int, int]


def make_item(ids: list[int], *, spans: list[Span], shard: int, epoch: int, row: int, part: int) -> Item:
    record = np.array([(len(ids), len(spans), shard, epoch, row, part)], EXAMPLE_RECORD)
    ids_bytes, span_bytes = np.array(ids, np.int32).tobytes(), np.array(spans, np.int32).tobytes()
    return len(ids), int(not part), ids_bytes, span_bytes, record.tobytes(), row


def spans_of(borders: list[int]) -> list[Span]:
    """The spans between the first and the second border, the third and the fourth, ..."""
    return list(zip(borders[::2], borders[1::2], strict=False))


INT32 = st.integers(0, 2**31 - 1)
SPANS = st.lists(st.integers(0, 12), max_size=6, unique=True).map(sorted).map(spans_of)
ITEMS = st.builds(
    make_item,
    st.lists(INT32, min_size=12, max_size=16),
    spans=SPANS,
    shard=INT32,
    epoch=INT32,
    row=st.integers(0, 2**62),
    part=st.integers(0, 3),
)
PACKS = st.lists(st.lists(ITEMS, min_size=1, max_size=5), min_size=1, max_size=5)
ITEM = make_item([5, 6, 7], spans=[(0, 1), (2, 3)], shard=2, epoch=3, row=2**40, part=1)


def locate(shard: int, row: int, epoch: int) -> RowPosition:
    return RowPosition("rows", f"shard-{shard}", row, epoch)


def ids_of(item: Item) -> list[int]:
    return np.frombuffer(item[2], np.int32).tolist()


def spans_of_item(item: Item) -> list[list[int]]:
    return np.frombuffer(item[3], np.int32).reshape(-1, 2).tolist()


def require_equal(batch: Batch, other: Batch) -> None:
    """Both batches have the same arrays."""
    for name in ("pack_sizes", "pack_offsets", "records", "spans", "trained", "num_trained"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(other, name), name)
    for array, other_array in zip(batch.tokens, other.tokens, strict=True):
        np.testing.assert_array_equal(array, other_array)


@given(PACKS)
def test_a_batch_has_the_arrays_of_its_items(packs: list[list[Item]]) -> None:
    batch = Batch.of_items(packs)
    items = list(chain(*packs))
    assert batch.pack_sizes.tolist() == [len(pack) for pack in packs]
    assert batch.tokens.offsets.tolist() == [0, *np.cumsum([item[0] for item in items]).tolist()]
    assert batch.tokens.ids.tolist() == list(chain(*map(ids_of, items)))
    np.testing.assert_array_equal(batch.records, [record_of(item) for item in items])
    assert batch.spans.tolist() == list(chain(*map(spans_of_item, items)))
    assert [spans.tolist() for spans in batch.spans_of_examples] == list(map(spans_of_item, items))
    assert batch.pack_offsets.tolist() == [0, *np.cumsum([sum(item[0] for item in pack) for pack in packs]).tolist()]


@given(PACKS)
def test_packs_have_the_examples_of_the_items_with_their_positions(packs: list[list[Item]]) -> None:
    restored = Batch.of_items(packs).packs(locate)
    assert len(restored) == len(packs)
    for pack, items in zip(restored, packs, strict=True):
        assert pack.num_tokens == sum(item[0] for item in items)
        for example, item in zip(pack.examples, items, strict=True):
            record = record_of(item)
            assert example.input_ids.tolist() == ids_of(item)
            assert example.spans.tolist() == spans_of_item(item)
            assert example.position[:4] == locate(record["shard"], record["row"], record["epoch"])[:4]
            assert example.position.part == record["part"]


@given(PACKS)
def test_the_mask_and_the_labels_of_a_batch_are_those_of_its_examples(packs: list[list[Item]]) -> None:
    batch = Batch.of_items(packs)
    examples = [example for pack in batch.packs(locate) for example in pack.examples]
    assert batch.trained.tolist() == list(chain(*(example.trained.tolist() for example in examples)))
    assert batch.num_trained.tolist() == [int(example.trained.sum()) for example in examples]


@given(PACKS, st.integers(0, 9))
def test_empty_packs_fill_a_batch(packs: list[list[Item]], num_packs: int) -> None:
    batch, filled = Batch.of_items(packs), Batch.of_items(packs, num_packs=num_packs)
    num_missing = max(num_packs - len(packs), 0)
    assert filled.pack_sizes.tolist() == [*batch.pack_sizes.tolist(), *[0] * num_missing]
    np.testing.assert_array_equal(filled.tokens.ids, batch.tokens.ids)
    np.testing.assert_array_equal(filled.records, batch.records)
    np.testing.assert_array_equal(filled.spans, batch.spans)
    assert filled.packs(locate)[len(packs) :] == [Pack(())] * num_missing


def test_a_batch_is_one_buffer_of_int32_words() -> None:
    batch = Batch.of_items([[ITEM, ITEM], [ITEM]])
    # A header of two, two pack sizes, three records of seven words, six spans of two words, nine ids.
    assert len(batch.buffer) == 4 * (2 + 2 + 3 * 7 + 6 * 2 + 9)


@given(PACKS)
def test_a_batch_pickles_as_its_buffer_alone(packs: list[list[Item]]) -> None:
    batch = Batch.of_items(packs)
    batch.packs(locate)  # computes all views
    assert batch.trained.size
    pickled = pickle.dumps(batch)
    assert len(pickled) < len(batch.buffer) + 200, "a view was pickled"
    restored = pickle.loads(pickled)
    assert restored.buffer == batch.buffer
    require_equal(restored, batch)


def test_the_arrays_of_a_batch_are_views_of_its_buffer() -> None:
    batch = pickle.loads(pickle.dumps(Batch.of_items([[ITEM]])))
    for array in (batch.tokens.ids, batch.records, batch.spans, batch.pack_sizes):
        assert np.shares_memory(array, np.frombuffer(batch.buffer, np.uint8))
    assert batch.records["row"].tolist() == [2**40]


@given(st.just([]) | PACKS, st.sampled_from([np.int32, np.int64]))
def test_with_ids_replaces_the_ids_and_nothing_else(packs: list[list[Item]], dtype: type) -> None:
    batch = Batch.of_items(packs, num_packs=6)
    ids = np.arange(len(batch.tokens.ids), dtype=dtype)
    replaced = batch.with_ids(ids)
    assert replaced.tokens.ids.tolist() == ids.tolist()
    require_equal(replaced.with_ids(batch.tokens.ids), batch)
    require_equal(Batch.of_items(packs, num_packs=6), batch)


@given(PACKS)
def test_a_batch_of_packs_has_their_examples(packs: list[list[Item]]) -> None:
    restored = Batch.of_items(packs, num_packs=6).packs(locate)
    batch = Batch.of_packs(restored)
    assert batch.pack_sizes.tolist() == [len(pack.examples) for pack in restored]
    for example, item in zip(chain(*(pack.examples for pack in batch.packs(locate))), chain(*packs), strict=True):
        assert example.input_ids.tolist() == ids_of(item)
        assert example.spans.tolist() == spans_of_item(item)


@pytest.mark.parametrize("packs", [[], [[]], [[], []]])
def test_a_batch_may_have_no_example(packs: list[list[Item]]) -> None:
    batch = pickle.loads(pickle.dumps(Batch.of_items(packs)))
    assert batch.pack_sizes.tolist() == [0] * len(packs)
    assert (len(batch.tokens.ids), len(batch.records), batch.spans.shape, batch.trained.tolist()) == (0, 0, (0, 2), [])
    assert batch.packs(locate) == [Pack(())] * len(packs)
