"""Rows with 0 to 3 examples, and examples with 0 to 3 trained spans: packing, lanes, states, topologies, epoch ends."""

import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samsum_stream import SFTStream, SourceError
from samsum_stream.batching.packing import PACKERS
from tests.chains import MAX_BATCHES, TOPOLOGIES, Phase, Reference, check_chain
from tests.resuming import (
    LANES,
    assert_resumes_exactly,
    awkward_rows,
    case_params,
    make_case,
    pairwise_cases,
    steps_of_two_epochs,
    stream_of,
    take,
)
from tests.several import MAX_SPANS, SeveralExamples, expected_examples, runs_of_examples, with_several_examples
from tests.streams import MAX_LENGTH, make_rows, make_stream, word, workers_that_end_at_once, write_lines

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

NUM_ROWS = 240
FAST = [
    next(case for case in pairwise_cases() if case[0] == source and case[1] != "none" and case[3] == workers)
    for source, workers in (("list", 2), ("gzip jsonl", 0), ("mixture", 0))
]
"""One case of the grid for each way to read."""


def open_stream(num_rows: int = NUM_ROWS, **changes: Any) -> SFTStream:
    return with_several_examples(make_stream(make_rows(num_rows), **changes))


def expected_of_rows(num_rows: int = NUM_ROWS) -> dict[tuple[int, int], Any]:
    """All examples that are not dropped, by row and by number in the row."""
    return {
        (row, part): example
        for row in range(num_rows)
        for part, example in expected_examples(word(row), max_length=MAX_LENGTH).items()
    }


def test_the_renderer_gives_all_numbers_of_examples_and_spans() -> None:
    rows = [runs_of_examples(word(row)) for row in range(NUM_ROWS)]
    assert {len(examples) for examples in rows} == {0, 1, 2, 3}
    num_spans = Counter(sum(run.trained for run in runs) for examples in rows for runs in examples)
    assert set(num_spans) == set(range(MAX_SPANS + 1))
    assert any(runs[0].trained for examples in rows for runs in examples if runs), "none starts with a trained token"
    assert any(not runs[-1].trained for examples in rows for runs in examples if len(runs) > 1)


# ------------------------------------------------------------------------------------------------ labels, packing


@pytest.mark.parametrize("method", sorted(PACKERS))
def test_every_example_is_packed_once_with_its_ids_and_labels(method: str) -> None:
    stream, expected = open_stream(method=method, lanes=4), expected_of_rows()
    seen = {}
    for pack in stream:
        assert 0 < pack.num_tokens <= MAX_LENGTH
        for example in pack.examples:
            key = (example.position.row, example.position.part)
            assert key not in seen
            seen[key] = (example.input_ids.tolist(), example.labels.tolist())
    assert seen == {key: (example.input_ids, example.labels) for key, example in expected.items()}


@pytest.mark.parametrize("layout", ["packed", "padding_free", "padded"])
def test_collated_labels_are_the_labels_of_the_examples(layout: str) -> None:
    stream = open_stream(collator_config={"method": layout}, lanes=4)
    ids, labels = Counter[int](), Counter[int]()
    for batch in stream.loader():
        assert (batch["labels"][batch["labels"] >= 0] == batch["input_ids"][batch["labels"] >= 0]).all()
        ids.update(batch["input_ids"][batch["input_ids"] > 0].tolist())
        labels.update(batch["labels"][batch["labels"] >= 0].tolist())
    expected = expected_of_rows().values()
    assert ids == Counter(number for example in expected for number in example.input_ids)
    assert labels == Counter(number for example in expected for number in example.labels if number >= 0)


def test_rows_are_counted_as_rows_and_dropped_examples_by_reason() -> None:
    stream, expected = open_stream(lanes=4), expected_of_rows()
    packs = list(stream)
    stats, rows = stream.stats, [runs_of_examples(word(row)) for row in range(NUM_ROWS)]
    assert (stats.rows, stats.examples, stats.packs) == (NUM_ROWS, len(expected), len(packs))
    too_long = sum(1 for examples in rows for runs in examples if sum(run.number for run in runs) > MAX_LENGTH)
    assert stats.dropped["longer_than_max_length"] == too_long > 0
    assert stats.dropped.total() == sum(map(len, rows)) - len(expected)
    assert stats.trained_tokens == sum(number >= 0 for example in expected.values() for number in example.labels)


def test_the_epoch_counts_rows_and_not_examples() -> None:
    loader = open_stream(lanes=2, epochs=None, buffer_size=30).loader()
    delivered: Counter[tuple[int, int]] = Counter()
    for _ in islice(loader, 60):
        delivered.update({(p.epoch, p.row) for positions in loader.last_batch_info.positions for p in positions})
    with_examples = sum(1 for row in range(NUM_ROWS) if expected_examples(word(row), max_length=MAX_LENGTH))
    assert loader.epoch == pytest.approx(len(delivered) / with_examples, rel=0.05)


def test_a_position_has_the_number_of_the_example_in_its_row() -> None:
    positions = {str(example.position) for pack in open_stream(lanes=1) for example in pack.examples}
    row = next(row for row in range(NUM_ROWS) if set(expected_examples(word(row), max_length=MAX_LENGTH)) == {0, 1, 2})
    assert {f"rows:{row} (epoch 0)", f"rows:{row} part 1 (epoch 0)", f"rows:{row} part 2 (epoch 0)"} <= positions


# ------------------------------------------------------------------------------------------------------- states


@pytest.mark.parametrize("case", case_params(fast=FAST))
def test_restored_at_every_step_over_two_epochs(case: tuple[Any, ...], tmp_path: Path) -> None:
    make_loader = make_case(case, tmp_path, lanes=6, adapt=with_several_examples)
    with workers_that_end_at_once():
        assert_resumes_exactly(make_loader, num_steps=steps_of_two_epochs(make_loader()))


def test_states_are_taken_between_the_examples_of_a_row() -> None:
    """If the oldest waiting example is not the first of its row, the state starts with a run of 0 waiting examples."""
    loader = with_several_examples(stream_of(epochs=None, lanes=4)).loader()
    starts = set()
    for _ in take(loader, 60):
        for lane in loader.state_dict()["lanes"].values():
            starts |= {number > 0 for number in lane["waiting"][:1]}
    assert starts == {True, False}


def test_a_saved_state_counts_the_rows_that_its_lanes_have_passed() -> None:
    stream = open_stream(lanes=3, epochs=1)
    loader = stream.loader()
    batches = iter(loader)
    list(islice(batches, 7))
    state = json.loads(json.dumps(loader.state_dict()))
    other = open_stream(lanes=3, epochs=1)
    resumed = other.loader()
    resumed.load_state_dict(state)
    assert other.stats.rows == stream.stats.rows == state["stats"]["rows"]
    list(batches)
    list(resumed)
    assert other.stats.rows == stream.stats.rows == NUM_ROWS
    assert other.stats.counts == stream.stats.counts


# ------------------------------------------------------------------------------------------- topologies, epoch ends


@pytest.fixture(scope="module")
def references() -> list[Reference]:
    rows = awkward_rows(8 * LANES)
    streams = [stream_of(epochs=None), stream_of(epochs=1), stream_of(epochs=2, rows=lambda: iter(rows))]
    return [Reference(with_several_examples(stream)) for stream in streams]


chains = st.lists(
    st.builds(
        lambda topology, batches: Phase(*topology, batches), st.sampled_from(TOPOLOGIES), st.integers(1, MAX_BATCHES)
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("index", range(3))
@settings(max_examples=10)
@given(chain=chains)
def test_any_chain_of_topologies_gives_the_sequence_of_one_process(
    references: list[Reference], index: int, chain: list[Phase]
) -> None:
    check_chain(references[index], chain)


@pytest.mark.parametrize("ranks", [1, 2, 3, 6])
@pytest.mark.parametrize("epochs", [1, 2])
def test_every_rank_has_the_same_number_of_batches_and_each_example_once_per_epoch(ranks: int, epochs: int) -> None:
    stream = open_stream(lanes=6, epochs=epochs, collator_config={"method": "padding_free"})
    seen, num_batches = Counter[tuple[int, int, int]](), set()
    for rank in range(ranks):
        loader = stream.loader(rank=rank, world_size=ranks)
        num_batches.add(len(loader))
        batches = 0
        for batch in loader:
            batches += 1
            assert (batch["labels"] >= 0).any()
            positions = (position for pack in loader.last_batch_info.positions for position in pack)
            seen.update((position.epoch, position.row, position.part) for position in positions)
        assert batches == len(loader)
    assert len(num_batches) == 1
    assert seen == Counter((epoch, *key) for epoch in range(epochs) for key in expected_of_rows())


def test_a_stream_without_any_example_is_an_error() -> None:
    rows = [row for number, row in enumerate(make_rows(200)) if word(number) % 4 == 0]
    for epochs in (None, 1):
        stream = with_several_examples(make_stream(rows, epochs=epochs, lanes=2))
        with pytest.raises(SourceError, match=r"no row (is left )?to train on"):
            next(iter(stream.loader()))


# ------------------------------------------------------------------------------------------- mixtures, bad rows


def test_a_mixture_by_rows_counts_rows_and_not_examples(tmp_path: Path) -> None:
    """Both children have the weight 1: they give equal numbers of rows, although one has three times the examples."""
    many = [row for number, row in enumerate(make_rows(640)) if word(number) % 4 == 3 and word(number) % 17 != 5]
    few = [row for number, row in enumerate(make_rows(640)) if word(number) % 4 == 1]
    sources = {
        name: {"method": "jsonl", "kwargs": {"path": str(write_lines(tmp_path / f"{name}.jsonl", rows))}}
        for name, rows in (("many", many), ("few", few))
    }
    mixture = {"method": "mixture", "kwargs": {"sources": sources, "stopping_strategy": "endless"}}
    stream = with_several_examples(make_stream(source_config=mixture, epochs=None, lanes=2))
    loader, seen = stream.loader(), set[tuple[str, int, int]]()
    for _ in islice(loader, 150):
        for pack in loader.last_batch_info.positions:
            seen |= {(position.source, position.epoch, position.row) for position in pack}
    rows, children = Counter(source for source, _, _ in seen), stream.stats.children
    assert rows["many"] == pytest.approx(rows["few"], rel=0.1)
    assert children["many"].examples > 1.5 * children["few"].examples
    assert sum(child.rows for child in children.values()) == stream.stats.rows


def test_bad_rows_between_rows_of_several_examples_are_skipped_and_counted() -> None:
    rows: list[dict[str, Any]] = make_rows(NUM_ROWS)
    for number in range(10, NUM_ROWS, 40):
        rows[number] = {"input": "10", "response": ""}
    faults = {"on_bad_row": "skip", "max_bad_rows": 20}
    stream = with_several_examples(make_stream(rows, fault_config=faults, lanes=4))
    list(stream)
    assert stream.stats.rows == NUM_ROWS
    assert stream.stats.skipped == Counter(empty_response=len(range(10, NUM_ROWS, 40)))
    expected = expected_of_rows()
    assert stream.stats.examples == len([key for key in expected if key[0] % 40 != 10])


def test_the_renderer_is_deterministic() -> None:
    stream = open_stream()
    rows = stream.pipeline.source.take(np.arange(20))
    first, second = (SeveralExamples().render(rows) for _ in range(2))
    assert first.texts == second.texts
    assert first.rows.tolist() == second.rows.tolist()
