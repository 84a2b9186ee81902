"""Contract C7: a finite stream has equal numbers of batches on all ranks, each row once in an epoch, no empty batch.

`pytest -m slow -s tests/contracts/test_c7_ends.py` checks all epochs and ranks, and prints the share of filled slots.
"""

import itertools
from collections import Counter
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samsum_stream import IGNORE_INDEX, RowError, SFTStream, SourceError
from samsum_stream.loader.loader import StreamLoader
from tests.real_data import load_rows, load_tokenizer, needs_real_data
from tests.resuming import LANES, awkward_rows, stream_of, take
from tests.streams import make_rows, make_stream

ALL_CASES = list(itertools.product(("samsum", "dolly"), (1, 2, 3), (1, 2, 3, 4, 8)))
FAST_CASES = [("samsum", 2, 3), ("dolly", 1, 8)]


@cache
def real_stream(dataset: str, epochs: int) -> SFTStream:
    rows = [{**row, "contexts": [row["contexts"]] if row["contexts"] else []} for row in load_rows(dataset)]
    config = {
        "prompt_config": {"kwargs": {"response_template": "Answer: {text}"}},
        "packing_config": {"kwargs": {"max_length": 2048}},
        "epochs": epochs,
        "lanes": LANES,
    }
    return SFTStream.from_config(config, rows=rows, tokenizer=load_tokenizer("gpt-neox-20b"))


def read_ranks(stream: SFTStream, ranks: int) -> list[list[Any]]:
    """The provenance of each batch of each rank; a batch without a trained token is an error."""
    infos_of_ranks = []
    for rank in range(ranks):
        loader = stream.loader(rank=rank, world_size=ranks)
        infos = []
        for batch in loader:
            assert (batch["labels"] != IGNORE_INDEX).any()
            infos.append(loader.last_batch_info)
        assert len(infos) == len(loader)
        infos_of_ranks.append(infos)
    return infos_of_ranks


def rows_by_epoch(ranks: list[list[Any]]) -> dict[int, Counter[int]]:
    """How often each row was read in each epoch."""
    epochs: dict[int, Counter[int]] = {}
    for infos in ranks:
        for info in infos:
            for record in info._batch.records:
                epochs.setdefault(int(record["epoch"]), Counter())[int(record["row"])] += 1
    return epochs


@needs_real_data
@pytest.mark.parametrize(
    ("dataset", "epochs", "ranks"),
    [*FAST_CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in ALL_CASES if case not in FAST_CASES)],
)
def test_real_rows_are_each_read_once_in_an_epoch_by_ranks_with_equal_counts(
    dataset: str, epochs: int, ranks: int
) -> None:
    stream = real_stream(dataset, epochs)
    before = stream.stats.counts.copy()
    infos_of_ranks = read_ranks(stream, ranks)
    counts = stream.stats.counts - before
    assert len(set(map(len, infos_of_ranks))) == 1
    rows_of_epochs = rows_by_epoch(infos_of_ranks)
    dropped = sum(number for name, number in counts.items() if name.startswith("dropped."))
    assert sorted(rows_of_epochs) == list(range(epochs))
    for rows in rows_of_epochs.values():
        assert set(rows.values()) == {1}
        assert len(rows) == stream.pipeline.num_rows - dropped // epochs
    slots = sum(map(len, infos_of_ranks)) * stream.config.batch_size
    filled, efficiency = counts["packs"] / slots, counts["tokens"] / counts["capacity"]
    print(
        f"{dataset}, {epochs} epochs, {ranks} ranks: {len(infos_of_ranks[0])} batches per rank, {filled:.2%} of the "
        f"slots filled, efficiency {efficiency:.2%}"
    )


@settings(max_examples=40)
@given(
    num_rows=st.integers(60, 260),
    lanes=st.sampled_from([1, 2, 3, 4, 6, 12]),
    batch_size=st.integers(1, 6),
    method=st.sampled_from(["best_fit", "first_fit", "greedy", "none"]),
    epochs=st.integers(1, 3),
    data=st.data(),
)
def test_any_finite_stream_has_each_row_once_and_equal_numbers_of_batches_on_all_ranks(
    num_rows: int, lanes: int, batch_size: int, method: str, epochs: int, data: st.DataObject
) -> None:
    ranks = data.draw(st.sampled_from([ranks for ranks in (1, 2, 3, 4) if lanes % ranks == 0]))
    rows = awkward_rows(num_rows)
    stream = stream_of(rows=rows, lanes=lanes, batch_size=batch_size, method=method, epochs=epochs)
    try:
        infos_of_ranks = read_ranks(stream, ranks)
    except SourceError as error:
        assert "lower lanes" in str(error)  # noqa: PT017  (a lane can be too small for the drawn numbers)
        return
    assert len(set(map(len, infos_of_ranks))) == 1
    good = Counter(row for row in range(num_rows) if row % 17 != 5)
    assert rows_by_epoch(infos_of_ranks) == dict.fromkeys(range(epochs), good)
    assert stream.stats.dropped == {"longer_than_max_length": epochs * (num_rows - len(good))}
    assert stream.stats.rows == epochs * num_rows


def test_every_batch_of_a_layout_with_a_fixed_shape_has_that_shape() -> None:
    loader = stream_of(batch_size=3).loader()
    assert {batch["input_ids"].shape for batch in loader} == {(3, 32)}


def test_padding_rows_have_no_label_and_are_counted_as_capacity() -> None:
    stream = stream_of(batch_size=3)
    batches = list(stream.loader())
    empty = [row for batch in batches for row in batch["labels"] if (row == IGNORE_INDEX).all()]
    assert len(empty) == 3 * len(batches) - stream.stats.packs > 0
    assert stream.stats.capacity == 3 * len(batches) * 32


def test_the_next_for_continues_with_the_next_epochs_and_has_a_length() -> None:
    loader = stream_of(epochs=2).loader()
    for number in range(3):
        length, infos = 0, []
        for _ in loader:
            assert not infos or len(loader) == length
            length = len(loader)
            infos.append(loader.last_batch_info)
        assert len(infos) == length == len(loader)
        assert sorted(rows_by_epoch([infos])) == [2 * number, 2 * number + 1]


def test_an_endless_stream_has_no_length() -> None:
    with pytest.raises(TypeError, match="a stream with epochs: null is endless"):
        len(stream_of(epochs=None).loader())


def test_a_lane_with_fewer_examples_than_batches_is_an_error() -> None:
    rows = make_rows(30)
    with pytest.raises(SourceError, match=r"lane \d+ of 10, epoch 0: a lane has 3 examples .* lower lanes, or make"):
        len(make_stream(rows[:10] * 2 + [rows[0]] * 11, lanes=10, batch_size=1, method="none").loader())


def test_the_error_of_a_stream_without_rows_has_the_reasons() -> None:
    with pytest.raises(
        SourceError, match=r"left to train on: 60 rows were all left out \(60 longer_than_max_length\); raise packing"
    ):
        len(make_stream(max_length=3).loader())


def test_bad_rows_are_reported_before_the_first_batch() -> None:
    rows = [*make_rows(200), {"input": "20", "response": 5}]
    for num_workers in (0, 2):
        loader = make_stream(rows).loader(num_workers=num_workers)
        with pytest.raises(RowError, match=r"rows:200 \(epoch 0\): field 'response' must be a str"):
            next(iter(loader))


def test_rows_are_counted_once_for_all_loaders_of_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = stream_of()
    first = len(stream.loader())
    monkeypatch.setattr("samsum_stream.stream.stream.count_lengths", None)
    assert len(stream.loader(rank=1, world_size=2)) == first // 2


@pytest.mark.parametrize("method", ["best_fit", "first_fit", "greedy", "none"])
def test_lanes_with_fewer_packs_than_batches_are_split_and_resume(method: str) -> None:
    rows = [{"input": "100", "response": " ".join(["100"] * (3 + 20 * (index % 7 == 0)))} for index in range(70)]
    streams = [stream_of(rows=rows, lanes=7, shuffle=False, batch_size=1, method=method) for _ in range(2)]
    loader: StreamLoader = streams[0].loader()
    states, infos = [loader.state_dict()], []
    for batch in take(loader, len(loader)):
        infos.append(batch["info"])
        states.append(loader.state_dict())
    for step, state in enumerate(states):
        resumed = streams[1].loader()
        resumed.load_state_dict(state)
        assert [batch["info"] for batch in take(resumed, len(infos) - step)] == infos[step:]


def test_rows_that_change_after_they_were_counted_are_an_error() -> None:
    rows = make_rows(60)
    stream = make_stream(rows, lanes=1)
    len(stream.loader())
    rows[:] = [{"input": "20", "response": " ".join(["20"] * 25)}] * 60
    with pytest.raises(SourceError, match="lane 0 has other rows in epoch 0 than when the rows were counted"):
        list(stream.loader())
