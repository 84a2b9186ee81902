"""Measured lengths: one for each example, whatever the number of examples of a row."""

import logging
import multiprocessing
import re
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch.distributed
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream import SamsumStreamError, WorkerError
from samsum_stream.loader.epochs.lengths import CHUNK, Lengths, count_lengths, measure_lengths
from samsum_stream.loader.processes import ranks
from samsum_stream.values.arrays import offsets_of
from samsum_stream.values.counts import Counts
from tests.pipeline.parts import make_parts_stream, rows_of_parts
from tests.streams import make_rows, make_stream, tokens_of_row

RowLengths = list[int]
"""The lengths of the examples of one row; 0 is a dropped example."""

ROWS = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), max_size=12)


def lengths_of(rows: list[RowLengths], *, shard_sizes: tuple[int, ...] | None = None) -> Lengths:
    lengths = np.array([length for row in rows for length in row], np.int32)
    shard_sizes = (len(rows),) if shard_sizes is None else shard_sizes
    return Lengths(lengths, offsets_of(list(map(len, rows))), shard_sizes, Counts())


def items_of(rows: list[RowLengths]) -> list[tuple[int, bool]]:
    """The kept examples of rows: the length, and whether the example is the first kept one of its row."""
    kept = [[length for length in row if length] for row in rows]
    return [(length, number == 0) for row in kept for number, length in enumerate(row)]


def test_items_are_the_kept_examples_with_the_first_of_each_row() -> None:
    lengths = lengths_of([[3, 4], [0], [0, 5, 6], [7]])
    assert list(lengths.items(np.array([2, 0, 1, 3]))) == [(5, 1), (6, 0), (3, 1), (4, 0), (7, 1)]


@given(ROWS, st.data())
def test_items_come_in_the_order_of_the_rows(rows: list[RowLengths], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(rows))))
    order = order[: data.draw(st.integers(0, len(rows)))]
    items = list(lengths_of(rows).items(np.array(order, np.int64)))
    assert items == items_of([rows[row] for row in order])


@given(st.lists(st.integers(0, 9), max_size=12), st.data())
def test_one_example_for_each_row_needs_no_offsets(row_lengths: list[int], data: st.DataObject) -> None:
    rows = [[length] for length in row_lengths]
    order = np.array(data.draw(st.permutations(range(len(rows)))), np.int64)
    compact = Lengths(np.array(row_lengths, np.int32), None, (len(rows),), Counts())
    assert list(compact.items(order)) == list(lengths_of(rows).items(order))
    assert [compact.row_of(index) for index in range(len(rows))] == list(range(len(rows)))


@given(st.lists(ROWS, min_size=1, max_size=4), st.data())
def test_the_part_of_some_shards_has_their_rows(shards: list[list[RowLengths]], data: st.DataObject) -> None:
    lengths = lengths_of([row for shard in shards for row in shard], shard_sizes=tuple(map(len, shards)))
    first = data.draw(st.integers(0, len(shards) - 1))
    number = data.draw(st.integers(1, len(shards) - first))
    rows = [row for shard in shards[first : first + number] for row in shard]
    part = lengths.of_shards(first, number)
    assert part.num_rows == len(rows)
    assert part.shard_sizes == tuple(map(len, shards[first : first + number]))
    assert list(part.items(np.arange(len(rows)))) == items_of(rows)


@given(ROWS)
def test_each_index_belongs_to_the_row_of_its_example(rows: list[RowLengths]) -> None:
    lengths = lengths_of(rows)
    expected = [row for row, examples in enumerate(rows) for _ in examples]
    assert [lengths.row_of(index) for index in range(len(expected))] == expected


def count(stream: object, *, num_workers: int = 0) -> Lengths:
    pipeline = stream.pipeline  # type: ignore[attr-defined]
    measure = partial(measure_lengths, pipeline.encoder)
    return count_lengths(pipeline.source, measure, rank=0, world_size=1, num_workers=num_workers)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_examples_of_all_rows_are_measured(num_workers: int) -> None:
    stream = make_parts_stream(rows_of_parts(600) * 2)
    lengths = count(stream, num_workers=num_workers)
    items = list(lengths.items(np.arange(lengths.num_rows)))
    examples = sorted(
        (example for pack in stream for example in pack.examples), key=lambda example: example.position[2:]
    )
    assert lengths.offsets is not None
    assert lengths.num_rows == 1200
    assert items == [
        (len(example.input_ids), index == 0 or examples[index - 1].position.row != example.position.row)
        for index, example in enumerate(examples)
    ]
    assert lengths.counts == Counts({f"dropped.{reason}": number for reason, number in stream.stats.dropped.items()})


def test_rows_of_a_prompt_have_one_length_each_and_no_offsets() -> None:
    lengths = count(make_stream(make_rows(60), max_length=10))
    tokens = [len(tokens_of_row(row)) for row in range(60)]
    assert lengths.offsets is None
    assert lengths.lengths.tolist() == [number if number <= 10 else 0 for number in tokens]


class RowsOfSlowRank(list[dict[str, Any]]):
    """Rows of which rank 1 counts its share, the last 88 rows, slowly."""

    def __getitem__(self, index: Any) -> Any:
        if index >= CHUNK and torch.distributed.is_initialized():
            time.sleep(0.02)
        return super().__getitem__(index)


def count_in_a_group(rank: int, folder: str, timeout: int, answers: Any) -> None:
    """Send the number of batches, or the error, and the warnings of a member of a group of two."""
    logging.basicConfig(filename=f"{folder}/{rank}.log", force=True)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2, timeout=timedelta(seconds=timeout)
    )
    ranks.PATIENCE = 0.5
    try:
        answers.put((rank, len(make_stream(RowsOfSlowRank(make_rows(600)), lanes=2).loader())))
    except SamsumStreamError as error:
        answers.put((rank, error))
    finally:
        torch.distributed.destroy_process_group()


def counts_of_two_ranks(folder: Path, *, timeout: int) -> list[Any]:
    """What each of two ranks answers; the count of the second one takes about two seconds."""
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    members = [context.Process(target=count_in_a_group, args=(rank, str(folder), timeout, answers)) for rank in (0, 1)]
    for member in members:
        member.start()
    results = dict(answers.get(timeout=60) for _ in members)
    for member in members:
        member.join(60)
    return [results[rank] for rank in (0, 1)]


def test_a_count_that_outlasts_the_timeout_of_the_process_group_is_an_error_that_names_the_timeout(
    tmp_path: Path,
) -> None:
    fast, slow = counts_of_two_ranks(tmp_path, timeout=1)
    for error in (fast, slow):
        assert isinstance(error, WorkerError)
        assert re.match(r"waiting for other ranks, which are counting .*epochs: null", str(error))
        assert re.search(r"; if they need more time, raise the timeout of the process group \(ddp_timeout", str(error))


def test_more_time_lets_a_slow_rank_count_and_the_other_one_warns(tmp_path: Path) -> None:
    expected = len(make_stream(make_rows(600), lanes=2).loader(rank=0, world_size=2))
    assert counts_of_two_ranks(tmp_path, timeout=60) == [expected, expected]
    assert "waiting for other ranks, which are counting" in (tmp_path / "0.log").read_text()
    assert "waiting for other ranks" not in (tmp_path / "1.log").read_text()
