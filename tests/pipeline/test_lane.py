"""Lanes of rows with any number of examples: each example once, exact resumption, and rows that are counted as rows."""

import gzip
import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from samsum_stream import SFTStream
from tests.pipeline.parts import is_kept, make_parts_stream, rows_of_parts
from tests.resuming import assert_resumes_exactly, in_process

NUM_ROWS = 90
ROWS = rows_of_parts(NUM_ROWS)
EXAMPLES = {
    (row, part)
    for row, content in enumerate(ROWS)
    for part, text in enumerate(content["response"].split(" | "))
    if is_kept(text)
}
"""Each example that reaches a batch, as (row, part)."""

NUM_DROPPED = sum(text in ("?", "~") for row in ROWS for text in row["response"].split(" | "))
EPOCHS = pytest.mark.parametrize("epochs", [None, 1])
METHODS = pytest.mark.parametrize("method", ["best_fit", "first_fit", "greedy", "none"])


def source_of(kind: str, folder: Path, rows: list[dict[str, Any]] = ROWS) -> dict[str, Any]:
    """The arguments of a stream over rows by number, over ranges, over shared shards, or over a mixture."""
    if kind == "indexed":
        return {"rows": rows}
    if kind == "mixture":
        children = {name: source_of("shared", folder / name, rows)["source_config"] for name in ("a", "b")}
        children["a"]["weight"] = 2
        kwargs = {"sources": children, "weight_by": "rows", "stopping_strategy": "all_exhausted"}
        return {"source_config": {"method": "mixture", "kwargs": kwargs}}
    folder.mkdir(exist_ok=True)
    num_shards = 12 if kind == "ranges" else 2
    for shard in range(num_shards):
        lines = "".join(json.dumps(row) + "\n" for row in rows[shard::num_shards])
        (folder / f"{shard:02}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return {"source_config": {"method": "jsonl", "kwargs": {"path": str(folder / "*.gz")}}}


def examples_of(stream: SFTStream) -> Counter[tuple[int, int]]:
    """How often each example comes in an epoch, as (row, part)."""
    return Counter((example.position.row, example.position.part) for pack in stream for example in pack.examples)


@METHODS
@pytest.mark.parametrize("lanes", [1, 4])
def test_an_epoch_has_each_example_once(method: str, lanes: int) -> None:
    stream = make_parts_stream(method=method, lanes=lanes)
    assert examples_of(stream) == Counter(EXAMPLES)
    assert stream.stats.examples == len(EXAMPLES)
    assert stream.stats.rows == NUM_ROWS
    assert stream.stats.dropped.total() == NUM_DROPPED


@METHODS
@pytest.mark.parametrize("num_ranks", [1, 2])
def test_a_planned_epoch_has_each_example_once(method: str, num_ranks: int) -> None:
    """The rows are counted first, so that the plan has the packs of the examples."""
    stream = make_parts_stream(method=method, lanes=4)
    examples = Counter[tuple[int, int]]()
    for rank in range(num_ranks):
        loader = stream.loader(rank=rank, world_size=num_ranks)
        positions = [position for _ in loader for pack in loader.last_batch_info.positions for position in pack]
        examples.update((position.row, position.part) for position in positions)
    assert examples == Counter(EXAMPLES)
    assert (stream.stats.rows, stream.stats.dropped.total()) == (NUM_ROWS, NUM_DROPPED)


@EPOCHS
@pytest.mark.parametrize("kind", ["indexed", "ranges", "shared", "mixture"])
def test_lanes_resume_exactly(tmp_path: Path, kind: str, epochs: int | None) -> None:
    source = source_of(kind, tmp_path, ROWS[:48])
    streams = [make_parts_stream(**source, lanes=3, epochs=epochs) for _ in range(2)]
    streams_of_loaders = iter([streams[0], *[streams[1]] * 200])
    assert_resumes_exactly(lambda: in_process(next(streams_of_loaders).loader()), num_steps=40)


@METHODS
def test_every_packing_method_resumes_exactly(method: str) -> None:
    streams = [make_parts_stream(ROWS[:48], method=method, lanes=3, epochs=None, batch_size=1) for _ in range(2)]
    streams_of_loaders = iter([streams[0], *[streams[1]] * 200])
    assert_resumes_exactly(lambda: in_process(next(streams_of_loaders).loader()), num_steps=30)


def test_a_state_can_start_in_the_middle_of_a_row() -> None:
    """The cursor is in a row of which some examples are done: the first run of `waiting` is 0 then."""
    loader = make_parts_stream(method="none", lanes=1, epochs=None, batch_size=1).loader()
    waiting = []
    for _ in islice(loader, 40):
        waiting.append(loader.state_dict()["lanes"]["0"]["waiting"])
    assert [0, 1] in waiting
    assert [] in waiting


@EPOCHS
def test_rows_are_counted_when_the_cursor_passes_them(epochs: int | None) -> None:
    """With one example in a pack and one pack in a batch, the cursor is never ahead of the delivered examples."""
    stream = make_parts_stream(method="none", lanes=1, epochs=epochs, batch_size=1, shuffle=False)
    loader = stream.loader()
    for _ in islice(loader, 40):
        [[position]] = loader.last_batch_info.positions
        num_parts = len(ROWS[position.row]["response"].split(" | "))
        is_last = position.part == num_parts - 1
        assert stream.stats.rows == position.row + is_last


def test_dropped_and_skipped_rows_and_rows_without_an_example_are_counted_as_rows() -> None:
    rows = [{"input": "20", "response": "~"}, {"input": "20"}, {"input": "20", "response": "-"}] * 7
    stream = make_parts_stream(
        [*rows, *ROWS], lanes=2, fault_config={"on_bad_row": "skip", "max_bad_rows": 100}, shuffle=False
    )
    list(stream)
    assert stream.stats.rows == NUM_ROWS + len(rows)
    assert stream.stats.skipped == {"missing_field": 7}
    assert stream.stats.dropped.total() == NUM_DROPPED + 7


@pytest.mark.parametrize("weight_by", ["rows", "tokens"])
def test_a_mixture_by_rows_draws_rows_in_proportion_and_not_examples(tmp_path: Path, weight_by: str) -> None:
    """Rows of child `many` have three examples, rows of child `one` have one."""
    sources = {}
    for name, response in (("many", "11 | 12 | 13"), ("one", "14")):
        rows = [{"input": "20", "response": response}] * 40
        sources[name] = source_of("shared", tmp_path / name, rows)["source_config"]
    kwargs = {"sources": sources, "weight_by": weight_by}
    config = {"method": "mixture", "kwargs": kwargs}
    stream = make_parts_stream(source_config=config, lanes=2, epochs=None)
    for _ in islice(stream.loader(), 150):
        pass
    children = stream.stats.children
    many, one = children["many"], children["one"]
    if weight_by == "rows":
        assert many.rows == pytest.approx(one.rows, abs=20)
        assert many.examples == pytest.approx(3 * one.examples, rel=0.1)
    else:
        assert many.examples == pytest.approx(one.examples, rel=0.1)
        assert 3 * many.rows == pytest.approx(one.rows, rel=0.2)
