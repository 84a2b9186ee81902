"""Batches of workers: several in one transfer, and in order after it."""

import pickle
from collections.abc import Iterator
from itertools import chain, islice, repeat, zip_longest

from hypothesis import given
from hypothesis import strategies as st

from samsum_stream.lanes.position import START
from samsum_stream.lanes.share import Share
from samsum_stream.loader.worker import Work, WorkerBatches, in_order
from samsum_stream.pipeline.pipeline import ProducedBatch
from samsum_stream.values.batches import Batch
from samsum_stream.values.counts import Counts
from tests.resuming import stream_of


def produced_batch(number: int) -> ProducedBatch:
    return ProducedBatch(Batch.of_items([]), START, Counts(), (), number)


def transfers_of(numbers: range, sizes: list[int]) -> Iterator[list[ProducedBatch]]:
    """The batches of one worker in transfers of these sizes; the last size is that of all other transfers."""
    batches = map(produced_batch, numbers)
    for size in chain(sizes, repeat(sizes[-1])):
        if not (transfer := list(islice(batches, size))):
            return
        yield transfer


@given(
    num_batches=st.integers(0, 60),
    num_workers=st.integers(1, 5),
    first=st.integers(0, 9),
    step=st.integers(1, 4),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
)
def test_the_batches_of_all_workers_come_in_the_order_of_their_numbers(
    num_batches: int, num_workers: int, first: int, step: int, sizes: list[int]
) -> None:
    numbers = range(first, first + step * num_batches, step)
    turns = zip_longest(*(transfers_of(numbers[worker::num_workers], sizes) for worker in range(num_workers)))
    transfers = (transfer for turn in turns for transfer in turn if transfer is not None)
    assert [produced.number for produced in in_order(transfers, first=first, step=step)] == [*numbers]


def test_the_first_batch_of_a_worker_travels_alone_and_the_transfers_grow() -> None:
    pipeline = stream_of(epochs=None, lanes=4).pipeline
    batches = WorkerBatches(pipeline, batches_per_transfer=4)
    batches.work = Work(Share(0), pipeline.order(4), dict.fromkeys(range(4), START), ())
    numbers = [[produced.number for produced in transfer] for transfer in islice(batches.of_worker(1, 2), 4)]
    assert numbers == [[1], [3, 5], [7, 9, 11, 13], [15, 17, 19, 21]]


def test_a_transfer_of_a_batch_is_little_more_than_its_buffer() -> None:
    pipeline = stream_of(epochs=None, lanes=4).pipeline
    batches = WorkerBatches(pipeline, batches_per_transfer=4)
    batches.work = Work(Share(0), pipeline.order(4), dict.fromkeys(range(4), START), ())
    [produced] = next(batches.of_worker(0, 1))
    assert produced.batch.trained.any()  # computes views
    pickled = pickle.dumps(produced)
    assert len(pickled) < len(produced.batch.buffer) + 800
    restored = pickle.loads(pickled)
    assert restored.batch.buffer == produced.batch.buffer
    assert restored[1:] == produced[1:]
