"""Micro-batches have the labels of the batches, each once, and each micro-batch has some."""

from collections import Counter
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from samsum_stream import ConfigError
from samsum_stream.lanes.position import START, start_of
from samsum_stream.loader.micro_batches import MicroBatches
from samsum_stream.pipeline.pipeline import ProducedBatch
from samsum_stream.values.batches import Batch
from samsum_stream.values.counts import Counts
from samsum_stream.values.examples import EXAMPLE_RECORD, Item
from tests.streams import make_stream, rows_of_batches

LENGTHS = st.lists(st.lists(st.integers(3, 9), min_size=1, max_size=4), min_size=1, max_size=8)


def produced(packs: list[list[int]], *, number: int = 0, num_packs: int = 0) -> ProducedBatch:
    """A batch of examples of these lengths; all tokens but the first have a label, and are unique."""
    ids = iter(range(1000 * number, 1000 * (number + 1)))
    items = [[_item([next(ids) for _ in range(length)]) for length in pack] for pack in packs]
    return ProducedBatch(Batch.of_items(items, num_packs=num_packs), start_of(START.start.epoch), Counts(), (), number)


def _item(ids: list[int]) -> Item:
    record = np.array([(len(ids), 1, 0, 0, 0, 0)], EXAMPLE_RECORD)
    spans = np.array([[1, len(ids)]], np.int32)
    return len(ids), 1, np.array(ids, np.int32).tobytes(), spans.tobytes(), record.tobytes(), 0


def labels_of(batch: Batch) -> list[int]:
    return batch.tokens.ids[batch.trained].tolist()


@given(packs=LENGTHS, num_pieces=st.integers(1, 8))
def test_the_pieces_of_a_batch_have_each_label_once(packs: list[list[int]], num_pieces: int) -> None:
    batch = produced(packs)
    assume(len(labels_of(batch.batch)) >= num_pieces)
    pieces = list(MicroBatches(1, num_pieces).of(iter([batch])))
    assert len(pieces) == num_pieces
    assert all(labels_of(piece) for piece, _ in pieces)
    assert list(chain.from_iterable(labels_of(piece) for piece, _ in pieces)) == labels_of(batch.batch)
    assert [complete for _, complete in pieces] == [()] * (num_pieces - 1) + [(batch,)]
    assert max(len(piece.pack_sizes) for piece, _ in pieces) <= max(1, -(-len(packs) // num_pieces))


@given(batches=st.lists(LENGTHS, min_size=1, max_size=7), num_joined=st.integers(1, 4))
def test_joined_batches_have_all_packs_in_order(batches: list[list[list[int]]], num_joined: int) -> None:
    all_produced = [produced(packs, number=number, num_packs=8) for number, packs in enumerate(batches)]
    micro_batches = MicroBatches(8 * num_joined, 8)
    joined = list(micro_batches.of(iter(all_produced)))
    assert len(joined) == micro_batches.number(len(batches))
    ids = [one.batch.tokens.ids.tolist() for one in all_produced]
    assert [batch.tokens.ids.tolist() for batch, _ in joined] == [
        list(chain.from_iterable(ids[start : start + num_joined])) for start in range(0, len(ids), num_joined)
    ]
    assert list(chain.from_iterable(complete for _, complete in joined)) == all_produced
    assert [len(batch.pack_sizes) for batch, complete in joined] == [8 * len(complete) for _, complete in joined]


def test_an_example_in_several_pieces_has_its_spans_in_parts() -> None:
    batch = produced([[6]])
    pieces = [piece for piece, _ in MicroBatches(1, 3).of(iter([batch]))]
    assert [piece.tokens.ids.tolist() for piece in pieces] == [[0, 1, 2, 3, 4, 5]] * 3
    assert [labels_of(piece) for piece in pieces] == [[1], [2, 3], [4, 5]]


def test_a_batch_with_fewer_labels_than_pieces_is_an_error() -> None:
    with pytest.raises(ConfigError, match="global batch 4 has 2 trained tokens, and needs one for each of 4 micro"):
        list(MicroBatches(1, 4).of(iter([produced([[3]], number=4)])))


def test_sizes_that_do_not_fit_are_refused_with_a_remedy() -> None:
    with pytest.raises(ConfigError, match="a micro-batch of 6 packs is neither .* take a divisor or a multiple of 4"):
        make_stream(batch_size=4).loader(micro_batch_size=6)
    with pytest.raises(ConfigError, match="micro_batch_size must be a whole number of 1 or more; got 0"):
        make_stream(batch_size=4).loader(micro_batch_size=0)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(("size", "per_step"), [(1, 4), (2, 2), (8, 1), (4, 3)])
def test_a_loader_with_other_micro_batches_reads_the_same_rows(size: int, per_step: int, num_workers: int) -> None:
    def loader(**kwargs: Any) -> Any:
        return make_stream(batch_size=4, lanes=4, epochs=2).loader(num_workers=num_workers, **kwargs)

    other = loader(micro_batch_size=size, batches_per_step=per_step)
    batches = list(other)
    assert len(batches) == len(other)
    assert other.batch_size == size
    assert len(other) // 2 % per_step == 0
    assert Counter(rows_of_batches(batches)) == dict.fromkeys(range(60), 2)


def test_a_state_between_batches_continues_with_other_micro_batches() -> None:
    def loader(**kwargs: Any) -> Any:
        return make_stream(batch_size=4, lanes=4, epochs=1).loader(**kwargs)

    whole, first = rows_of_batches(loader()), loader(micro_batch_size=2)
    batches = iter(first)
    rows = rows_of_batches(next(batches) for _ in range(4))
    assert first.batch == 2
    second = loader(micro_batch_size=1)
    second.load_state_dict(first.state_dict())
    assert rows + rows_of_batches(second) == whole
