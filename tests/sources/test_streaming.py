"""Streaming datasets: each shard is read on its own from any row on; no row is lost, repeated or sharded again."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from samsum_stream import SFTStream, SourceError, StateError
from samsum_stream.sources import SequentialSource, as_source
from samsum_stream.values.rows import Rows
from tests.resuming import assert_resumes_exactly, awkward_rows
from tests.streams import make_rows, make_stream, workers_that_end_at_once, write_lines

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]

Change = Callable[[datasets.IterableDataset], datasets.IterableDataset]

NUM_FILES = 8
"""Enough for two lanes to get whole files."""
NUM_ROWS = 60


def write(folder: Path, rows: list[dict[str, Any]], *, kind: str) -> dict[str, Any]:
    """Write files of different sizes; returns the arguments of `load_dataset` that read them."""
    ends = [len(rows) * number * (number + 1) // (NUM_FILES * (NUM_FILES + 1)) for number in range(NUM_FILES + 1)]
    paths = [folder / f"part-{number}.{kind}" for number in range(NUM_FILES)]
    for path, (start, end) in zip(paths, itertools.pairwise(ends), strict=True):
        if kind == "json":
            write_lines(path, rows[start:end])
        else:
            pq.write_table(pa.Table.from_pylist(rows).slice(start, end - start), path, row_group_size=7)
    return {"path": kind, "data_files": list(map(str, paths)), "split": "train", "streaming": True}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, datasets.IterableDataset]:
    rows = [{"input": f"question {number}", "response": f"answer {number}"} for number in range(NUM_ROWS)]
    kinds = ("json", "parquet")
    return {kind: datasets.load_dataset(**write(tmp_path_factory.mktemp(kind), rows, kind=kind)) for kind in kinds}


def sequential(rows: object, **columns: str) -> SequentialSource:
    source = as_source(rows, name="rows", columns=columns)
    assert isinstance(source, SequentialSource)
    return source


def taken(source: SequentialSource, shard: int, *, start: int = 0) -> Iterator[Rows]:
    for block in source.blocks(shard, num_rows=7, start=start):
        yield block.take(np.arange(block.num_rows))


def inputs(source: SequentialSource, shard: int, *, start: int = 0) -> list[str]:
    return [text for rows in taken(source, shard, start=start) for text in rows.content.inputs]


def shout(row: dict[str, Any]) -> dict[str, Any]:
    return {"input": row["input"].upper()}


def is_odd(row: dict[str, Any]) -> bool:
    """It removes all rows of the first file."""
    return int(row["input"].split()[-1]) % 2 == 1


def is_short(row: dict[str, Any]) -> bool:
    return len(row["response"]) < 20


def is_even_number(row: dict[str, Any], number: int) -> bool:
    return number % 2 == 0


def in_pairs(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Two rows become one, and the last odd row is lost: other batches give other rows."""
    return {
        "input": [f"{one} {other}" for one, other in zip(rows["input"][::2], rows["input"][1::2], strict=False)],
        "response": rows["response"][1::2],
    }


ROW_BY_ROW: dict[str, Change] = {
    "unchanged": lambda rows: rows,
    "map": lambda rows: rows.map(shout),
    "filter": lambda rows: rows.filter(is_odd),
    "filter and map": lambda rows: rows.filter(is_short).map(shout),
    "rename": lambda rows: rows.rename_columns({"input": "x"}).rename_columns({"x": "input"}),
    "select": lambda rows: rows.select_columns(["input", "response"]),
    "a format": lambda rows: rows.with_format("arrow"),
    "concatenated": lambda rows: datasets.concatenate_datasets([rows, rows.map(shout)]),
}
"""Pipelines with the same rows if each shard is read on its own."""

AS_A_WHOLE: dict[str, Change] = {
    "skip": lambda rows: rows.skip(11),
    "take": lambda rows: rows.take(41),
    "take after a concatenation": lambda rows: datasets.concatenate_datasets([rows, rows]).take(99),
    "repeat": lambda rows: rows.repeat(2),
    "batches": lambda rows: rows.map(in_pairs, batched=True, batch_size=5),
    "row numbers": lambda rows: rows.filter(is_even_number, with_indices=True),
    "a column": lambda rows: rows.remove_columns("input").add_column("input", list(map(str, range(NUM_ROWS)))),
    "in turn": lambda rows: datasets.interleave_datasets([rows, rows.map(shout)]),
    "at random": lambda rows: datasets.interleave_datasets([rows, rows.map(shout)], probabilities=[0.7, 0.3], seed=1),
}
"""Pipelines with other rows if each shard were read on its own."""

PIPELINES = pytest.mark.parametrize(
    ("kind", "change"),
    [
        pytest.param(kind, change, id=f"{kind}, {name}")
        for name, change in (ROW_BY_ROW | AS_A_WHOLE).items()
        # For interleaved parquet files, the library waits five seconds at the end of each pass.
        for kind in (("json",) if name in ("in turn", "at random") else ("json", "parquet"))
    ],
)


@PIPELINES
def test_every_row_is_read_once_and_row_by_row_pipelines_keep_their_shards(
    files: dict[str, datasets.IterableDataset], kind: str, change: Change
) -> None:
    dataset = change(files[kind]).with_format(None)
    source = sequential(change(files[kind]))
    num_shards = dataset.num_shards if change in ROW_BY_ROW.values() else 1
    assert len(source.shards) == num_shards
    texts = [text for shard in range(num_shards) for text in inputs(source, shard)]
    assert texts == [row["input"] for row in dataset]


@PIPELINES
def test_a_shard_is_read_from_any_row_on(files: dict[str, datasets.IterableDataset], kind: str, change: Change) -> None:
    source = sequential(change(files[kind]))
    last = len(source.shards) - 1
    whole = inputs(source, last)
    for start in (1, 7, 12, len(whole)):
        assert inputs(source, last, start=start) == whole[start:]


@PIPELINES
def test_two_passes_at_the_same_time_do_not_affect_each_other(
    files: dict[str, datasets.IterableDataset], kind: str, change: Change
) -> None:
    """Lanes may be an epoch apart, and the library counts the rows that were read in the pipeline."""
    source = sequential(change(files[kind]))
    last = len(source.shards) - 1
    expected = list(map(str, taken(source, last)))
    first_pass, first = taken(source, last), list[str]()
    first += map(str, itertools.islice(first_pass, len(expected) * 2 // 3))
    second = []
    for rows in taken(source, last):
        second.append(str(rows))
        first += map(str, itertools.islice(first_pass, 1))
    assert first == second == expected


def test_a_shard_has_the_name_of_its_split_and_its_number(files: dict[str, datasets.IterableDataset]) -> None:
    assert sequential(files["json"]).shards[3] == ("train#3", None)
    assert sequential(files["json"].take(5)).shards == (("train", None),)


def test_a_shuffle_buffer_and_columns_of_several_datasets_are_refused(
    files: dict[str, datasets.IterableDataset],
) -> None:
    dataset = files["json"]
    shuffled = dataset.filter(is_odd).shuffle(seed=0, buffer_size=100)
    for refused in (shuffled, shuffled.map(shout), datasets.concatenate_datasets([dataset, shuffled])):
        with pytest.raises(
            SourceError, match=r"^rows: the dataset is shuffled by .* pass the dataset without it, .* `shuffle: true`"
        ):
            sequential(refused)
    beside = datasets.concatenate_datasets([dataset, dataset.rename_columns({"input": "a", "response": "b"})], axis=1)
    with pytest.raises(SourceError, match=r"^rows: the dataset has columns of several datasets .*; join the columns"):
        sequential(beside)


# ------------------------------------------------------------------------------------------------------- resume


def stream_of(folder: Path, *, kind: str = "json", change: Change | None = None, **changes: Any) -> SFTStream:
    """Two lanes over eight files; each lane reads its own files."""
    kwargs = write(folder, awkward_rows(240), kind=kind)
    rows: dict[str, Any] = {"source_config": {"method": "load_dataset", "kwargs": kwargs}}
    if change is not None:
        rows = {"rows": change(datasets.load_dataset(**kwargs))}
    return make_stream(**rows, **{"lanes": 2, "batch_size": 5, "max_length": 32, "epochs": None} | changes)


@pytest.mark.parametrize(
    ("kind", "num_workers", "change"),
    [
        ("json", 0, None),
        ("parquet", 2, None),
        ("json", 0, ROW_BY_ROW["filter and map"]),
        ("json", 0, AS_A_WHOLE["at random"]),
    ],
)
def test_it_resumes_exactly(tmp_path: Path, kind: str, num_workers: int, change: Change | None) -> None:
    first, second = (stream_of(tmp_path, kind=kind, change=change) for _ in range(2))
    streams = itertools.chain([first], itertools.repeat(second))
    with workers_that_end_at_once():
        assert_resumes_exactly(
            lambda: next(streams).loader(num_workers=num_workers), num_steps=12 if num_workers else 20
        )


@pytest.mark.parametrize(("change", "num_passed_over"), [(None, 0), (AS_A_WHOLE["take"], 41)])
def test_two_workers_yield_each_row_once_and_count_the_rows_that_they_skip(
    tmp_path: Path, change: Change | None, num_passed_over: int
) -> None:
    stream = stream_of(tmp_path, change=change, epochs=1, max_length=128)
    with workers_that_end_at_once():
        for _ in stream.loader(num_workers=2):
            pass
    assert stream.stats.rows == (240 if change is None else 41)
    assert stream.stats.rows_passed_over == num_passed_over


def test_a_dataset_with_a_new_random_mix_each_time_cannot_be_resumed(tmp_path: Path) -> None:
    def mixed(rows: datasets.IterableDataset) -> datasets.IterableDataset:
        return datasets.interleave_datasets([rows, rows.filter(is_short)], probabilities=[0.5, 0.5])

    state = stream_of(tmp_path, change=mixed).loader().state_dict()
    with pytest.raises(StateError, match="source"):
        stream_of(tmp_path, change=mixed).loader().load_state_dict(state)


# ------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_any_number_of_workers_skips_the_same_bad_rows(tmp_path: Path, kind: str) -> None:
    rows: list[dict[str, Any]] = make_rows(240)
    for number, bad in enumerate([{"input": None}, {"response": None}, {"response": " "}] * 4):
        rows[20 * number + 3] = {**rows[20 * number + 3], **bad}
    kwargs = write(tmp_path, rows, kind=kind)
    quarantines = []
    for num_workers in (0, 2):
        stream = make_stream(
            source_config={"method": "load_dataset", "kwargs": kwargs},
            fault_config={"on_bad_row": "skip", "max_bad_rows": 12},
            lanes=2,
        )
        with workers_that_end_at_once():
            for _ in stream.loader(num_workers=num_workers):
                pass
        assert stream.stats.skipped == {"wrong_type": 8, "empty_response": 4}
        quarantines.append([str(bad.position) for bad in stream.stats.quarantine])
    assert quarantines[0] == quarantines[1]
    assert all("/train#" in position for position in quarantines[0])


def test_a_line_without_a_field_is_a_bad_row(tmp_path: Path) -> None:
    kwargs = write(tmp_path, make_rows(240), kind="json")
    with Path(kwargs["data_files"][5]).open("a") as file:
        file.write(json.dumps({"input": "20"}) + "\n")
    source = sequential(datasets.load_dataset(**kwargs))
    with pytest.raises(
        SourceError, match=r"rows/train#5:\d+ \(epoch 0\): field 'response' must be a str, got NoneType"
    ):
        inputs(source, 5)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_a_broken_file_is_an_error_that_names_its_shard(tmp_path: Path, kind: str, num_workers: int) -> None:
    kwargs = write(tmp_path, make_rows(240), kind=kind)
    path = Path(kwargs["data_files"][5])
    path.write_bytes(path.read_bytes()[:-9])
    stream = make_stream(source_config={"method": "load_dataset", "kwargs": kwargs}, lanes=2, epochs=None)
    with (
        workers_that_end_at_once(),
        pytest.raises(SourceError, match=r"/train#5:0 \(epoch 0\): reading the stream failed within .*; fix its files"),
    ):
        for _ in stream.loader(num_workers=num_workers):
            pass
