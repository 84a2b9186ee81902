"""How batches travel from workers: several at a time, and out again in their order."""

from collections.abc import Iterator
from itertools import chain, islice, zip_longest

from hypothesis import given
from hypothesis import strategies as st

from samsum_stream.lanes.position import START
from samsum_stream.lanes.share import Share
from samsum_stream.loader.worker import Message, Messages, Parcel, Work, in_order
from samsum_stream.pipeline.pipeline import Effort
from samsum_stream.values.counts import Counts
from tests.resuming import stream_of


def message(batch: int) -> Message:
    return Message(batch, b"", START, Counts(), (), Effort(0, 0.0))


def parcels(batches: range, sizes: list[int]) -> Iterator[Parcel]:
    """The batches of one worker in parcels of these sizes, the last of which counts for all others."""
    messages = map(message, batches)
    for size in chain(sizes, iter(lambda: sizes[-1], None)):
        if not (parcel := list(islice(messages, size))):
            return
        yield parcel


@given(
    num_batches=st.integers(0, 60),
    num_workers=st.integers(1, 5),
    first=st.integers(0, 9),
    step=st.integers(1, 4),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
)
def test_what_workers_send_comes_out_in_the_order_of_the_batches(
    num_batches: int, num_workers: int, first: int, step: int, sizes: list[int]
) -> None:
    batches = range(first, first + step * num_batches, step)
    turns = zip_longest(*(parcels(batches[worker::num_workers], sizes) for worker in range(num_workers)))
    sent = (parcel for turn in turns for parcel in turn if parcel is not None)
    assert [each.batch for each in in_order(sent, first=first, step=step)] == [*batches]


def test_the_first_batch_of_a_worker_travels_alone_and_the_parcels_grow() -> None:
    pipeline = stream_of(epochs=None, lanes=4).pipeline
    messages = Messages(pipeline, num_packs=pipeline.batch_size, parcel_size=4)
    messages.work = Work(Share(0), pipeline.order(4), dict.fromkeys(range(4), START), ())
    found = [[each.batch for each in parcel] for parcel in islice(messages.of_worker(1, 2), 4)]
    assert found == [[1], [3, 5], [7, 9, 11, 13], [15, 17, 19, 21]]
