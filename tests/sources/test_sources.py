"""Every kind of source yields rows with positions, and reports bad rows and bad sources."""

import gzip
import json
import multiprocessing
import pickle
import re
import zipfile
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
import datasets.distributed
import fsspec
import numpy as np
import pyarrow as pa
import pytest
from torch.utils.data import DataLoader, IterableDataset

from samsum_stream.errors import ConfigError, RowError, SamsumStreamError, SourceError, TrustError
from samsum_stream.sources import SOURCES, Block, IndexedSource, SequentialSource, Source, as_source, default_name
from samsum_stream.sources.huggingface import arrow
from samsum_stream.sources.json_lines import lines
from samsum_stream.values.rows import Rows
from tests.streams import workers_that_end_at_once

NUM_ROWS = 25
ROWS = [
    {"id": str(i), "input": f"Ann: café {i}\r\nBob: no\nthanks" if i != 3 else "", "response": f"Summary {i} – ok ☕"}
    for i in range(NUM_ROWS)
]
ORDER = np.array([24, 0, 7, 7, 3, 13, 1], dtype=np.int64)


def indexed(rows: object, **columns: str) -> IndexedSource:
    source = as_source(rows, name="samsum", columns=columns)
    assert isinstance(source, IndexedSource)
    return source


def sequential(rows: object, **columns: str) -> SequentialSource:
    source = as_source(rows, name="samsum", columns=columns)
    assert isinstance(source, SequentialSource)
    return source


def read_all(source: Source, num_rows: int = 4) -> list[tuple[str, str, list[str] | None, str]]:
    """Every row with its position, for both kinds of source."""
    chunks = [source.take(np.arange(source.num_rows))] if isinstance(source, IndexedSource) else read(source, num_rows)
    return [row for rows in chunks for row in entries(source, rows)]


def read(source: SequentialSource, num_rows: int) -> Iterator[Rows]:
    """The rows of every block of every shard."""
    blocks = (block for shard in range(len(source.shards)) for block in source.blocks(shard, num_rows=num_rows))
    return (block.take(np.arange(block.num_rows)) for block in blocks)


def taken(source: Source, block: Block) -> list[tuple[str, str, list[str] | None, str]]:
    """All rows of a block."""
    return entries(source, block.take(np.arange(block.num_rows)))


def entries(source: Source, block: Rows) -> list[tuple[str, str, list[str] | None, str]]:
    contexts = block.content.contexts or [None] * len(block)
    positions = [str(source.position(shard, row, 0)) for shard, row in zip(block.shards, block.rows, strict=True)]
    return list(zip(block.content.inputs, block.content.responses, contexts, positions, strict=True))


def texts(rows: list[tuple[str, str, list[str] | None, str]]) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in rows]


EXPECTED = [(row["input"], row["response"]) for row in ROWS]


def write_lines(path: Path, rows: list[Any], *, end: str = "\n", tail: str = "\n", ascii_only: bool = False) -> Path:
    text = end.join(json.dumps(row, ensure_ascii=ascii_only) for row in rows) + tail
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def read_jsonl(path: object, **columns: str) -> Source:
    return as_source(
        SOURCES["jsonl"](path=path if isinstance(path, list) else str(path)), name="samsum", columns=columns
    )


class TestIndexedSources:
    @pytest.fixture(
        params=["list", "tuple", "dataset", "mapped", "on_disk", "many_chunks", "formatted", "jsonl", "decoded"]
    )
    def source(self, request: pytest.FixtureRequest, tmp_path: Path) -> IndexedSource:
        dataset = datasets.Dataset.from_list(ROWS)
        if request.param == "on_disk":
            dataset.save_to_disk(tmp_path / "saved")
        pieces = [pa.Table.from_pylist(ROWS).slice(a, b - a) for a, b in ((0, 1), (1, 1), (1, 20), (20, 25))]
        make_rows: dict[str, Callable[[], object]] = {
            "list": lambda: ROWS,
            "tuple": lambda: tuple(ROWS),
            "dataset": lambda: dataset,
            "mapped": lambda: datasets.Dataset.from_list(ROWS[::-1]).select(list(range(NUM_ROWS))[::-1]),
            "on_disk": lambda: SOURCES["load_from_disk"](dataset_path=str(tmp_path / "saved")),
            "many_chunks": lambda: datasets.Dataset(pa.concat_tables(pieces)),
            "formatted": lambda: dataset.with_format("numpy", columns=["id"]),
            "jsonl": lambda: SOURCES["jsonl"](path=str(write_lines(tmp_path / "train.jsonl", ROWS))),
            "decoded": lambda: dataset.with_transform(dict),
        }
        return indexed(make_rows[request.param]())

    def test_rows_come_in_the_order_of_the_indices(self, source: IndexedSource) -> None:
        rows = source.take(ORDER)
        assert [(a, b) for a, b in zip(rows.content.inputs, rows.content.responses, strict=True)] == [
            EXPECTED[i] for i in ORDER
        ]
        assert rows.content.contexts is None
        assert rows.rows.tolist() == ORDER.tolist()
        assert (rows.rows.dtype, rows.shards.dtype, rows.shards.tolist()) == (np.int64, np.int32, [0] * len(ORDER))

    def test_every_row_has_its_text_and_position(self, source: IndexedSource) -> None:
        assert source.num_rows == NUM_ROWS
        assert [shard.num_rows for shard in source.shards] == [NUM_ROWS]
        assert texts(read_all(source)) == EXPECTED

    def test_a_chunk_without_rows_is_empty(self, source: IndexedSource) -> None:
        assert len(source.take(np.empty(0, dtype=np.int64))) == 0

    def test_it_pickles(self, source: IndexedSource) -> None:
        source.take(ORDER)
        copied = pickle.loads(pickle.dumps(source))
        assert entries(copied, copied.take(ORDER)) == entries(source, source.take(ORDER))

    def test_large_columns_are_read_without_a_copy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rows = [{"input": f"i{i}", "response": f"r{i}", "contexts": [str(i)] * (i % 3)} for i in range(100)]
        pieces = [pa.Table.from_pylist(rows[start : start + 30]) for start in range(0, 100, 30)]
        monkeypatch.setattr(arrow, "MAX_COPIED_BYTES", 0)
        source = indexed(datasets.Dataset(pa.concat_tables(pieces)))
        for indices in (np.arange(100), np.random.default_rng(0).permutation(100)):
            taken = source.take(indices)
            assert taken.content.inputs == [rows[i]["input"] for i in indices]
            assert taken.content.contexts == [rows[i]["contexts"] for i in indices]


class TestDatasets:
    def test_a_dict_of_splits_lists_them(self) -> None:
        splits = datasets.DatasetDict(train=datasets.Dataset.from_list(ROWS), test=datasets.Dataset.from_list(ROWS))
        with pytest.raises(SourceError, match="samsum: `split` is missing; splits known: train, test; pick one"):
            as_source(splits, name="samsum", columns={})

    def test_an_empty_dataset_is_an_error(self) -> None:
        empty = datasets.Dataset.from_list(ROWS).select([])
        with pytest.raises(SourceError, match="samsum: the dataset has no rows"):
            indexed(empty)

    def test_a_missing_column_is_an_error_when_opened(self) -> None:
        dataset = datasets.Dataset.from_list([{"dialogue": "a", "summary": "b"}])
        with pytest.raises(SourceError) as caught:
            indexed(dataset, input="dialog", response="summary")
        message = str(caught.value)
        assert "samsum: field 'input' has no column 'dialog'" in message
        assert 'known: dialogue, summary; did you mean "dialogue"?' in message
        assert "columns: {input: dialogue}" in message

    def test_if_no_column_has_the_name_of_a_field_the_error_has_a_line_to_paste(self) -> None:
        with pytest.raises(SourceError, match=r"`columns: \{input: dialogue, response: summary\}`"):
            indexed(datasets.Dataset.from_list([{"dialogue": "a", "summary": "b"}]))

    def test_a_misspelt_contexts_column_is_an_error_and_not_no_contexts(self) -> None:
        with pytest.raises(SourceError, match="field 'contexts' has no column 'passage' to come from"):
            indexed(datasets.Dataset.from_list(ROWS), contexts="passage")

    def test_a_transform_runs_on_every_chunk(self) -> None:
        raw = datasets.Dataset.from_list([{"text": "a|b"}, {"text": "c|d"}])
        dataset = raw.with_transform(lambda batch: dict(zip(("input", "response"), _split_texts(batch), strict=True)))
        assert texts(read_all(indexed(dataset))) == [("a", "b"), ("c", "d")]

    def test_columns_that_need_decoding_are_decoded(self) -> None:
        features = datasets.Features(
            {"input": datasets.Value("string"), "response": datasets.Value("string"), "contexts": datasets.Json()}
        )
        rows = [
            {"input": "a", "response": "b", "contexts": ["x", "y"]},
            {"input": "a", "response": "b", "contexts": "z"},
        ]
        dataset = datasets.Dataset.from_list(rows, features=features)
        assert indexed(dataset).take(np.arange(2)).content.contexts == [["x", "y"], ["z"]]

    def test_the_split_names_the_shard(self) -> None:
        dataset = datasets.Dataset.from_list(ROWS, split="train")
        assert str(indexed(dataset).position(0, 1234, 2)) == "samsum/train:1234 (epoch 2)"

    def test_the_error_for_a_null_names_its_type(self) -> None:
        with pytest.raises(RowError, match=r"samsum:0 .*'response' must be a str, got NoneType: None"):
            read_all(indexed(datasets.Dataset.from_dict({"input": ["a"], "response": [None]})))

    def test_bytes_that_are_not_utf8_are_an_error_with_their_row(self) -> None:
        raw = pa.array([b"a", b"b", b"\xff\xfe", b"d"])
        column = pa.StringArray.from_buffers(len(raw), raw.buffers()[1], raw.buffers()[2])
        source = indexed(datasets.Dataset(pa.table({"input": column, "response": ["r"] * 4})))
        assert source.take(np.array([3, 0])).content.inputs == ["d", "a"]
        with pytest.raises(RowError, match=r"^samsum:2 \(epoch 0\): a text is not UTF-8"):
            source.take(np.array([3, 2]))

    def test_the_error_for_a_label_names_its_type(self) -> None:
        labels = datasets.Features({"input": datasets.Value("string"), "response": datasets.ClassLabel(names=["no"])})
        with pytest.raises(RowError, match="'response' must be a str, got int: 0"):
            read_all(indexed(datasets.Dataset.from_dict({"input": ["a"], "response": [0]}, features=labels)))


def _split_texts(batch: Mapping[str, list[str]]) -> list[list[str]]:
    return [[text.split("|")[part] for text in batch["text"]] for part in (0, 1)]


class TestContexts:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (["x", "y"], ["x", "y"]),
            (("x", "y"), ["x", "y"]),
            (np.array(["x", "y"]), ["x", "y"]),
            (np.array(["x", "y"], dtype=object), ["x", "y"]),
            ("one", ["one"]),
            ("", []),
            (None, []),
            ([], []),
        ],
    )
    @pytest.mark.parametrize("key", ["contexts", "context"])
    def test_what_counts_as_contexts(self, key: str, value: Any, expected: list[str]) -> None:
        rows = [{"input": "a", "response": "b", key: value}, {"input": "a", "response": "b", key: ["z"]}]
        assert indexed(rows).take(np.arange(2)).content.contexts == [expected, ["z"]]

    @pytest.mark.parametrize("value", [None, "", []])
    def test_no_contexts_at_all_is_none(self, value: Any) -> None:
        assert indexed([{"input": "a", "response": "b", "contexts": value}]).take(np.arange(1)).content.contexts is None

    @pytest.mark.parametrize("value", [5, {"text": "x"}, ["x", None], ["x", 5], [["x"]], np.array([1, 2]), b"x"])
    def test_anything_else_is_an_error(self, value: Any) -> None:
        rows = [
            {"input": "a", "response": "b", "passages": ["fine"]},
            {"input": "a", "response": "b", "passages": value},
        ]
        with pytest.raises(
            RowError, match=r"^samsum:1 \(epoch 0\): field 'contexts' \(column 'passages'\) must be a li"
        ):
            read_all(indexed(rows, contexts="passages"))

    def test_each_row_can_have_either_name(self) -> None:
        either = [
            {"input": "a", "response": "b", "contexts": ["x"], "context": None},
            {"input": "a", "response": "b", "contexts": None, "context": "y"},
            {"input": "a", "response": "b", "contexts": [], "context": "z"},
            {"input": "a", "response": "b", "contexts": ["same"], "context": ["same"]},
        ]
        expected = [["x"], ["y"], ["z"], ["same"]]
        assert indexed(either).take(np.arange(4)).content.contexts == expected

    def test_a_row_with_both_names_is_bad_until_one_is_named(self) -> None:
        both = [
            {"input": "a", "response": "b", "contexts": ["x"], "context": None},
            {"input": "a", "response": "b", "contexts": ["x"], "context": "y"},
        ]
        for rows in (both, datasets.Dataset.from_list(both), lambda: iter(both)):
            message = r":1 .*'contexts', 'context', which are one field.*{contexts: contexts}"
            with pytest.raises(RowError, match=message):
                read_all(as_source(rows, name="rows", columns={}))
        named = indexed(both[1:], contexts="contexts").take(np.arange(1))
        assert named.content.contexts == [["x"]]

    def test_a_renamed_column_is_the_only_one(self) -> None:
        rows = [{"input": "a", "response": "b", "contexts": ["x"], "passages": ["p"]}]
        assert indexed(rows, contexts="passages").take(np.arange(1)).content.contexts == [["p"]]


class TestBadRows:
    GOOD: Mapping[str, Any] = {"input": "a", "response": "b"}

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ({"input": "a"}, "field 'response' has no column 'response' to come from; known: input"),
            ({"response": "b"}, "field 'input' has no column 'input' to come from"),
            ({"input": None, "response": "b"}, "field 'input' must be a str, got NoneType: None"),
            ({"input": 7, "response": "b"}, "field 'input' must be a str, got int: 7"),
            ({"input": "a", "response": ""}, "field 'response' must be a str that is not blank, got str: ''"),
            ({"input": "a", "response": " \n"}, "field 'response' must be a str that is not blank"),
            ({"input": "a", "response": ["b"]}, "field 'response' must be a str, got list: ['b']"),
            ({"input": "a\ud800", "response": "b"}, "field 'input' must be text without lone surrogates"),
            ({"input": "a", "response": "\udc00"}, "field 'response' must be text without lone surrogates"),
            (
                {"input": "a", "response": "b", "contexts": ["\udc00"]},
                "'contexts' must be text without lone surrogates",
            ),
            (["a", "b"], "a row must map column names to values, got list: ['a', 'b']"),
            ("text", "a row must map column names to values, got str: 'text'"),
            (None, "a row must map column names to values, got NoneType: None"),
        ],
    )
    @pytest.mark.parametrize("kind", ["list", "callable", "jsonl", "gzip"])
    def test_the_error_starts_with_the_position(self, kind: str, row: Any, message: str, tmp_path: Path) -> None:
        rows = [self.GOOD, self.GOOD, row, self.GOOD]
        opened: dict[str, Callable[[], Source]] = {
            "list": lambda: indexed(rows),
            "callable": lambda: sequential(lambda: iter(rows)),
            "jsonl": lambda: read_jsonl(write_lines(tmp_path / "a.jsonl", rows, ascii_only=True)),
            "gzip": lambda: read_jsonl(write_lines(tmp_path / "a.jsonl.gz", rows, ascii_only=True)),
        }
        shard = {"jsonl": "/a.jsonl", "gzip": "/a.jsonl.gz"}.get(kind, "")
        with pytest.raises(RowError) as caught:
            read_all(opened[kind]())
        assert str(caught.value).startswith(f"samsum{shard}:2 (epoch 0): ")
        assert message in str(caught.value)

    @pytest.mark.parametrize("open_rows", [indexed, lambda rows: sequential(lambda: iter(rows))])
    def test_a_row_that_cannot_be_read_is_a_bad_row(self, open_rows: Callable[[list[Any]], Source]) -> None:
        class Lazy(UserDict[str, str]):
            def __getitem__(self, key: str) -> str:
                raise ValueError(f"no {key} today")

        with pytest.raises(RowError, match=r"^samsum:2 \(epoch 0\): reading the row failed: ValueError: no ") as caught:
            read_all(open_rows([self.GOOD, self.GOOD, Lazy(self.GOOD), self.GOOD]))
        assert (caught.value.position.row, caught.value.reason) == (2, "not_a_row")

    def test_a_long_value_is_shortened(self) -> None:
        with pytest.raises(RowError) as caught:
            read_all(indexed([{"input": b"x" * 10_000, "response": "b"}]))
        assert len(str(caught.value)) < 400

    def test_a_number_that_python_cannot_print_is_a_bad_row(self) -> None:
        with pytest.raises(RowError, match="must be a str, got int: a number of 16,610 bits"):
            read_all(indexed([{"input": 10**5000, "response": "b"}]))

    def test_subclasses_of_str_become_plain_texts(self) -> None:
        rows = indexed([{"input": np.str_("a"), "response": np.str_("b")}]).take(np.arange(1))
        assert {type(rows.content.inputs[0]), type(rows.content.responses[0])} == {str}

    def test_good_rows_around_a_bad_one_can_still_be_read(self) -> None:
        source = indexed([self.GOOD, {"input": "a"}, self.GOOD])
        assert source.take(np.array([0, 2])).content.responses == ["b", "b"]


class TestColumns:
    def test_columns_rename(self) -> None:
        rows = [{"dialogue": "a", "summary": "b"}]
        assert texts(read_all(indexed(rows, input="dialogue", response="summary"))) == [("a", "b")]

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"inputs": "x"}, "columns: 'inputs' is not a field of a row; .*did you mean \"input\""),
            ({"input": 5}, "columns.input must be the name of a column, got int: 5"),
            ({"context": "a", "contexts": "b"}, "are one field, got both"),
        ],
    )
    def test_bad_columns_are_config_errors(self, columns: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            as_source(ROWS, name="samsum", columns=columns)


class TestOtherRows:
    @pytest.mark.parametrize("rows", [5, None, "text", b"bytes", {"input": ["a"], "response": ["b"]}])
    def test_an_object_without_rows_is_refused(self, rows: object) -> None:
        with pytest.raises(SourceError, match="samsum: rows must be a"):
            as_source(rows, name="samsum", columns={})

    def test_an_empty_list_is_an_error(self) -> None:
        with pytest.raises(SourceError, match="samsum: there are no rows"):
            indexed([])

    def test_rows_that_cannot_be_read_are_an_error_with_the_row_number(self) -> None:
        class Broken(list[Any]):
            def __getitem__(self, index: Any) -> Any:
                return ROWS[index] if index != 3 else {}["hf_0123456789"]

        with pytest.raises(SourceError, match=r"samsum: reading row 3 failed: KeyError: 'hf_\*\*\*'; fix the code"):
            read_all(indexed(Broken(ROWS)))

    def test_a_transform_that_fails_is_an_error(self) -> None:
        def broken(batch: Any) -> Any:
            return batch if len(batch["input"]) == 1 else {}["text"]

        with pytest.raises(SourceError, match="samsum: reading rows failed: KeyError: 'text'; fix the code"):
            read_all(indexed(datasets.Dataset.from_list(ROWS).with_transform(broken)))

    def test_a_ready_source_is_returned_and_takes_no_columns(self) -> None:
        ready = indexed(ROWS)
        assert as_source(ready, name="other", columns={}) is ready
        with pytest.raises(ConfigError, match="leave `columns:` out"):
            as_source(ready, name="other", columns={"input": "dialogue"})

    @pytest.mark.parametrize("make", [list, tuple, datasets.Dataset.from_list])
    def test_a_callable_may_return_rows_with_an_index(self, make: Callable[[Any], object]) -> None:
        assert texts(read_all(indexed(lambda: make(ROWS)))) == EXPECTED


class Restarting:
    def __iter__(self) -> Iterator[dict[str, str]]:
        return iter(ROWS)


class Rewinding:
    """Returns the same iterator each time, rewound to its start."""

    def __init__(self) -> None:
        self.rows = RewindingItself()

    def __iter__(self) -> Iterator[dict[str, str]]:
        return iter(self.rows)


class RewindingItself:
    def __init__(self) -> None:
        self.index = NUM_ROWS

    def __iter__(self) -> Iterator[dict[str, str]]:
        self.index = 0
        return self

    def __next__(self) -> dict[str, str]:
        if self.index == NUM_ROWS:
            raise StopIteration
        self.index += 1
        return ROWS[self.index - 1]


class OneShot:
    """An iterable that is not an iterator, but can be read only once."""

    def __init__(self) -> None:
        self.rows = make_generator()

    def __iter__(self) -> Iterator[dict[str, str]]:
        return self.rows


def one_iterator_for_all_calls() -> Callable[[], Iterator[dict[str, str]]]:
    rows = make_generator()
    return lambda: rows


READ_ONCE = "an iterator can be read only once; pass a callable that returns a new one, or a list"


class TestSequentialSources:
    @pytest.fixture(params=["generator", "callable", "iterable", "called_iterable"])
    def once(self, request: pytest.FixtureRequest) -> object:
        """All kinds of rows that can be read only once."""
        shot = OneShot()
        make_rows: dict[str, Callable[[], object]] = {
            "generator": make_generator,
            "callable": one_iterator_for_all_calls,
            "iterable": OneShot,
            "called_iterable": lambda: lambda: shot,
        }
        return make_rows[request.param]()

    @pytest.fixture(params=["callable", "iterable", "stream", "generator_stream", "gzip", "mixed"])
    def source(self, request: pytest.FixtureRequest, tmp_path: Path) -> SequentialSource:
        make_rows: dict[str, Callable[[], object]] = {
            "callable": lambda: make_generator,
            "iterable": Restarting,
            "stream": lambda: datasets.Dataset.from_list(ROWS).to_iterable_dataset(num_shards=3),
            "generator_stream": lambda: datasets.IterableDataset.from_generator(make_generator),
            "gzip": lambda: SOURCES["jsonl"](path=str(write_lines(tmp_path / "a.jsonl.gz", ROWS))),
            "mixed": lambda: SOURCES["jsonl"](
                path=[
                    str(write_lines(tmp_path / "b.jsonl.gz", ROWS[:9])),
                    str(write_lines(tmp_path / "a.jsonl", ROWS[9:])),
                ]
            ),
        }
        return sequential(make_rows[request.param]())

    @pytest.mark.parametrize("num_rows", [1, 4, 25, 1000])
    def test_every_pass_has_all_rows_in_order(self, source: SequentialSource, num_rows: int) -> None:
        for _ in range(2):
            blocks = list(read(source, num_rows))
            assert [pair for block in blocks for pair in texts(entries(source, block))] == EXPECTED
            assert all(0 < len(block) <= num_rows for block in blocks)

    def test_rows_count_from_zero_in_their_shard(self, source: SequentialSource) -> None:
        numbers = [
            (shard, row) for block in read(source, 4) for shard, row in zip(block.shards, block.rows, strict=True)
        ]
        sizes = {1: [25], 2: [9, 16], 3: [9, 8, 8]}[len(source.shards)]
        assert numbers == [(shard, row) for shard, size in enumerate(sizes) for row in range(size)]

    @pytest.mark.parametrize("num_rows", [1, 4, 8, 25, 1000])
    @pytest.mark.parametrize("first", [0, 1, 3, 100])
    def test_a_pass_can_start_at_any_block(self, source: SequentialSource, num_rows: int, first: int) -> None:
        for shard in range(len(source.shards)):
            whole = [taken(source, block) for block in source.blocks(shard, num_rows=num_rows)]
            rest = [taken(source, block) for block in source.blocks(shard, num_rows=num_rows, start=first * num_rows)]
            assert rest == whole[first:]

    def test_a_block_returns_rows_in_the_order_of_the_indices_with_repeats(self, source: SequentialSource) -> None:
        blocks = list(source.blocks(0, num_rows=4))
        for block in reversed(blocks):
            order = np.array([block.num_rows - 1, 0, 0])
            assert entries(source, block.take(order)) == [taken(source, block)[index] for index in order]
        assert len(blocks[0].take(np.arange(0))) == 0

    def test_the_first_rows_are_those_of_the_first_block(self, source: SequentialSource) -> None:
        assert taken(source, source.first_block(6)) == taken(source, next(source.blocks(0, num_rows=6)))

    def test_it_pickles(self, source: SequentialSource) -> None:
        assert read_all(pickle.loads(pickle.dumps(source))) == read_all(source)

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_each_worker_of_a_loader_reads_all_rows(self, source: SequentialSource) -> None:
        loader = DataLoader(_Reads(source), batch_size=None, num_workers=2)
        rows = [list(texts_of_row) for texts_of_row in loader]
        assert sorted(rows) == sorted([list(pair) for pair in EXPECTED] * 2)

    def test_a_generator_is_read_only_once(self) -> None:
        source = sequential(make_generator())
        assert texts(read_all(source)) == EXPECTED
        with pytest.raises(SourceError, match="read only once; pass a callable that returns a new one, or a list"):
            read_all(source)

    def test_a_generator_does_not_pickle(self) -> None:
        with pytest.raises(SourceError, match=r"a generator cannot be sent to a process; .* pass a callable"):
            pickle.dumps(sequential(make_generator()))

    def test_a_callable_that_returns_the_same_generator_again_is_an_error(self) -> None:
        generator = make_generator()
        source = sequential(lambda: generator)
        read_all(source)
        with pytest.raises(SourceError, match=READ_ONCE):
            read_all(source)

    @pytest.mark.parametrize("num_rows", [1, 7, NUM_ROWS, 1000])
    def test_the_first_pass_has_the_rows_that_were_peeked_at(self, once: object, num_rows: int) -> None:
        source = sequential(once)
        for _ in range(2):
            assert len(taken(source, source.first_block(num_rows))) == min(num_rows, NUM_ROWS)
        assert texts(read_all(source)) == EXPECTED
        with pytest.raises(SourceError, match=READ_ONCE):
            read_all(source)
        with pytest.raises(SourceError, match=READ_ONCE):
            source.first_block(num_rows)

    def test_an_iterator_that_was_partly_read_is_an_error(self, once: object) -> None:
        source = sequential(once)
        next(source.blocks(0, num_rows=4))
        with pytest.raises(SourceError, match=READ_ONCE):
            read_all(source)

    @pytest.mark.parametrize("make", [Restarting, Rewinding, RewindingItself, lambda: make_generator])
    def test_rows_that_start_again_can_be_peeked_at_at_any_time(self, make: Callable[[], object]) -> None:
        source = sequential(make())
        for _ in range(3):
            assert source.first_block(7).num_rows == 7
            assert texts(read_all(source)) == EXPECTED

    def test_a_callable_is_called_once_a_pass(self) -> None:
        calls = 0

        def rows() -> Iterator[dict[str, str]]:
            nonlocal calls
            calls += 1
            return make_generator()

        source = sequential(rows)
        source.first_block(7)
        for _ in range(2):
            before = calls
            read_all(source)
        assert calls == before + 1 == 3

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    @pytest.mark.parametrize("num_workers", [1, 2])
    @pytest.mark.parametrize("peeked", [0, 7])
    def test_workers_do_not_read_copies_of_one_iterator(self, once: object, num_workers: int, peeked: int) -> None:
        source = sequential(once)
        if peeked:
            source.first_block(peeked)
        only_a_copy = f"samsum: a worker process has only a copy of the iterator; {READ_ONCE}"
        with workers_that_end_at_once(), pytest.raises(SourceError, match=only_a_copy):
            list(DataLoader(_Reads(source), batch_size=None, num_workers=num_workers))

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_workers_start_again_after_the_parent_has_peeked(self, tmp_path: Path) -> None:
        """A suspended generator shares its open file with the forked workers."""
        path = write_lines(tmp_path / "a.jsonl", [{**row, "filler": "x" * 10_000} for row in ROWS])

        def rows() -> Iterator[dict[str, str]]:
            with path.open() as file:
                yield from map(json.loads, file)

        source = sequential(rows)
        source.first_block(2)
        loader = DataLoader(_Reads(source), batch_size=None, num_workers=2)
        for _ in range(2):
            assert sorted(map(tuple, loader)) == sorted(EXPECTED * 2)

    @pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: lambda: rows()])
    def test_an_error_in_the_users_iterator_names_the_row(self, wrap: Callable[[Any], Any]) -> None:
        with pytest.raises(SourceError, match="^samsum: reading row 2 failed: OSError: .*; fix the code") as caught:
            read_all(sequential(wrap(break_after_two)))
        assert "abc123" not in str(caught.value)
        assert isinstance(caught.value.__cause__, OSError)

    def test_a_failed_peek_is_not_the_end_of_the_rows(self) -> None:
        source = sequential(break_after_two)
        for _ in range(2):
            with pytest.raises(SourceError, match="reading row 2 failed"):
                source.first_block(7)
        with pytest.raises(SourceError, match="reading row 2 failed"):
            read_all(source)

    def test_a_callable_that_fails_or_returns_no_rows_is_an_error(self) -> None:
        with pytest.raises(SourceError, match="^samsum: calling the function .* failed: ZeroDivisionError"):
            sequential(lambda: 1 / 0)
        results: list[object] = [make_generator(), make_generator(), None]
        source = sequential(lambda: results.pop(0))
        read_all(source)
        with pytest.raises(SourceError, match="^samsum: starting to read the rows failed: TypeError: 'NoneType'"):
            read_all(source)

    @pytest.mark.parametrize("kind", ["callable", "stream", "gzip"])
    def test_only_rows_that_are_taken_are_parsed_and_checked(self, kind: str, tmp_path: Path) -> None:
        rows = [{**row, "response": 5} if number == 2 else row for number, row in enumerate(ROWS)]
        make_rows: dict[str, Callable[[], object]] = {
            "callable": lambda: lambda: iter(rows),
            "stream": lambda: datasets.IterableDataset.from_generator(lambda: iter(rows)),
            "gzip": lambda: SOURCES["jsonl"](path=str(write_lines(tmp_path / "a.jsonl.gz", rows))),
        }
        block = next(sequential(make_rows[kind]()).blocks(0, num_rows=4))
        assert block.take(np.array([3, 0])).rows.tolist() == [3, 0]
        with pytest.raises(RowError, match=r":2 \(epoch 0\): .*field 'response' must be a str, got int: 5"):
            block.take(np.array([3, 2]))

    def test_errors_of_this_package_pass_through(self) -> None:
        def refuse() -> Iterator[dict[str, str]]:
            yield from ROWS[:2]
            raise ConfigError("unchanged")

        with pytest.raises(ConfigError, match="^unchanged$"):
            read_all(sequential(refuse))

    @pytest.mark.parametrize("rows", [lambda: iter(()), iter(()), {1} - {1}])
    def test_a_pass_without_rows_is_an_error(self, rows: object) -> None:
        with pytest.raises(SourceError, match="no rows"):
            read_all(sequential(rows))

    def test_an_empty_stream_is_an_error(self) -> None:
        stream = datasets.Dataset.from_list(ROWS).to_iterable_dataset().filter(lambda row: False)
        with pytest.raises(SourceError, match="samsum: there are no rows; check the files, the split and the filters"):
            sequential(stream).first_block(7)

    def test_a_missing_column_of_a_known_stream_is_an_error_when_opened(self) -> None:
        stream = datasets.Dataset.from_list(ROWS).to_iterable_dataset()
        with pytest.raises(SourceError, match="field 'input' has no column 'dialogue'"):
            sequential(stream, input="dialogue")

    def test_a_missing_column_of_an_unknown_stream_is_an_error_at_its_row(self) -> None:
        stream = datasets.IterableDataset.from_generator(make_generator)
        with pytest.raises(RowError, match=r"^samsum/train:0 \(epoch 0\): field 'input' has no column 'dialogue'"):
            read_all(sequential(stream, input="dialogue"))

    def test_a_stream_split_by_node_is_refused(self) -> None:
        stream = datasets.Dataset.from_list(ROWS).to_iterable_dataset()
        node = datasets.distributed.split_dataset_by_node(stream, rank=0, world_size=2)
        with pytest.raises(SourceError, match="already split by `split_dataset_by_node`; pass the whole dataset"):
            sequential(node)

    def test_an_error_in_a_stream_is_reported_without_credentials(self) -> None:
        stream = datasets.IterableDataset.from_generator(break_after_two)
        with pytest.raises(
            SourceError, match=r"^samsum/train:0 \(epoch 0\): reading the stream failed .*: OSError"
        ) as caught:
            read_all(sequential(stream))
        assert "abc123" not in str(caught.value)


def make_generator() -> Iterator[dict[str, str]]:
    yield from ROWS


def break_after_two() -> Iterator[dict[str, str]]:
    yield from ROWS[:2]
    raise OSError("https://me:abc123@host/file.parquet?X-Signature=abc123 went away")


class _Reads(IterableDataset[tuple[str, str]]):
    def __init__(self, source: SequentialSource) -> None:
        self.source = source

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(texts(read_all(self.source)))


class TestLoadDataset:
    @pytest.fixture(params=["json", "csv", "parquet"])
    def kwargs(self, request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
        file = tmp_path / f"train.{request.param}"
        table = datasets.Dataset.from_list(ROWS[4:])
        {"json": table.to_json, "csv": table.to_csv, "parquet": table.to_parquet}[request.param](file)
        cache = str(tmp_path / "cache")
        return {"path": request.param, "data_files": str(file), "split": "train", "cache_dir": cache}

    def test_local_files_are_indexed(self, kwargs: dict[str, Any]) -> None:
        rows = read_all(indexed(SOURCES["load_dataset"](**kwargs)))
        assert texts(rows) == EXPECTED[4:]
        assert rows[5][3] == "samsum/train:5 (epoch 0)"

    def test_streaming_is_sequential(self, kwargs: dict[str, Any]) -> None:
        assert texts(read_all(sequential(SOURCES["load_dataset"](streaming=True, **kwargs)))) == EXPECTED[4:]

    @pytest.mark.parametrize("streaming", [False, True])
    def test_a_missing_split_is_an_error_that_lists_the_splits(self, kwargs: dict[str, Any], streaming: bool) -> None:
        del kwargs["split"]
        with pytest.raises(SourceError, match="`split` is missing; splits known: train; pick one"):
            SOURCES["load_dataset"](streaming=streaming, **kwargs)

    def test_an_unknown_split_is_an_error(self, kwargs: dict[str, Any]) -> None:
        with pytest.raises(SourceError, match=r"load_dataset \w+ failed: ValueError: Unknown split .*train"):
            SOURCES["load_dataset"](**kwargs | {"split": "trian"})

    def test_several_splits_are_an_error(self, kwargs: dict[str, Any]) -> None:
        with pytest.raises(SourceError, match="`split` must name one split"):
            SOURCES["load_dataset"](**kwargs | {"split": ["train", "train"]})

    def test_a_missing_file_is_an_error(self, kwargs: dict[str, Any]) -> None:
        with pytest.raises(SourceError, match=r"FileNotFoundError: .*nothing.json.*; check the path"):
            SOURCES["load_dataset"](**kwargs | {"data_files": "nothing.json"})

    @pytest.mark.parametrize("streaming", [False, True])
    def test_a_glob_that_matches_no_rows_is_an_error(self, streaming: bool, tmp_path: Path) -> None:
        (tmp_path / "empty.json").touch()
        for pattern in (tmp_path / "no" / "*.json", tmp_path / "e*.json"):
            with pytest.raises(
                SourceError, match=rf"no file with rows matches {re.escape(str(pattern))} .*; check the"
            ):
                SOURCES["load_dataset"](
                    path="json",
                    data_files={"train": [str(pattern)]},
                    split="train",
                    streaming=streaming,
                    cache_dir=str(tmp_path / "cache"),
                )

    def test_a_broken_file_names_the_cause(self, tmp_path: Path) -> None:
        broken = tmp_path / "broken.json"
        broken.write_text('{"input": "a", "respo')
        with pytest.raises(SourceError, match=r"load_dataset json failed: .*; caused by "):
            SOURCES["load_dataset"](path="json", data_files=str(broken), split="train", cache_dir=str(tmp_path / "c"))

    @pytest.mark.parametrize(
        ("error", "remedy"),
        [
            (datasets.exceptions.DatasetNotFoundError("no such thing"), "hf auth login"),
            (ConnectionError("offline"), "HF_HUB_OFFLINE"),
            (RuntimeError("whatever"), "check the values under `kwargs:`"),
        ],
    )
    def test_each_failure_has_a_remedy(self, error: Exception, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(datasets, "load_dataset", lambda **kwargs: _raise(error))
        with pytest.raises(SourceError, match="load_dataset knkarthick/samsum failed: ") as caught:
            SOURCES["load_dataset"](path="knkarthick/samsum", split="train")
        assert remedy in str(caught.value)

    def test_credentials_never_show(self, monkeypatch: pytest.MonkeyPatch) -> None:
        secrets = {
            "storage_options": {"key": "KEYKEYKEY", "client": {"secret": "hush-hush"}},
            "token": "hf_abcdefghijkl",
        }
        text = f"cannot use {secrets}; https://host/a.json?sig=SIGNATURE; s3://user:pass@bucket/a"
        monkeypatch.setattr(datasets, "load_dataset", lambda **kwargs: _raise(RuntimeError(text)))
        with pytest.raises(SourceError) as caught:
            SOURCES["load_dataset"](path="https://host/b.json?sig=SIGNATURE", **secrets)
        for secret in ("KEYKEYKEY", "hush-hush", "hf_abcdefghijkl", "SIGNATURE", "user:pass"):
            assert secret not in str(caught.value)
        assert caught.value.__suppress_context__

    def test_code_is_refused(self) -> None:
        with pytest.raises(TrustError):
            SOURCES["load_dataset"](path="x/y", trust_remote_code=True)

    @pytest.mark.parametrize("path", ["pandas", "sql", "spark", "iceberg"])
    def test_builders_that_run_code_or_query_servers_are_refused(self, path: str) -> None:
        with pytest.raises(TrustError, match=f"`path: {path}` .*; use parquet instead, or read it in your own code"):
            SOURCES["load_dataset"](path=path, sql="select 1", con="sqlite://")

    def test_trust_remote_code_false_is_harmless(self, kwargs: dict[str, Any]) -> None:
        assert texts(read_all(indexed(SOURCES["load_dataset"](trust_remote_code=False, **kwargs)))) == EXPECTED[4:]

    @pytest.mark.parametrize("url", ["pipe://cat", "ssh://host/a", "zip://a::ssh://host/b.zip", "reference::s3://b/a"])
    def test_schemes_outside_the_list_are_refused(self, url: str) -> None:
        with pytest.raises(ConfigError, match="data_files: the scheme"):
            SOURCES["load_dataset"](path="json", data_files={"train": [url]})
        with pytest.raises(ConfigError, match="dataset_path: the scheme"):
            SOURCES["load_from_disk"](dataset_path=url)

    @pytest.mark.parametrize(
        "options",
        [
            {"target_protocol": "reference", "target_options": {"fo": {"refs": {"a.jsonl": "a row"}}}},
            {"simplecache": {"target_protocol": "ssh", "target_options": {"host": "host"}}},
            {"target_protocol": "zip", "target_options": {"fo": "github://a.zip"}},
        ],
    )
    def test_options_cannot_name_other_schemes(self, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=r"storage_options\.(target_protocol|fo): the scheme '(ref|ssh|github)"):
            SOURCES["jsonl"](path="simplecache://a.jsonl", storage_options=options)
        with pytest.raises(ConfigError, match="the scheme"):
            SOURCES["load_dataset"](path="json", data_files="simplecache://a.jsonl", storage_options=options)
        with pytest.raises(ConfigError, match="the scheme"):
            SOURCES["load_from_disk"](dataset_path="simplecache://a", storage_options=options)


def _raise(error: Exception) -> None:
    raise error


class TestLoadFromDisk:
    @pytest.fixture(params=["local", "memory"])
    def root(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
        yield str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"
        fsspec.filesystem("memory").store.clear()

    def test_a_saved_dataset(self, root: str) -> None:
        datasets.Dataset.from_list(ROWS).save_to_disk(f"{root}/samsum")
        source = indexed(SOURCES["load_from_disk"](dataset_path=f"{root}/samsum"))
        assert texts(read_all(source)) == EXPECTED

    def test_one_split_of_a_saved_dict(self, root: str) -> None:
        train, test = datasets.Dataset.from_list(ROWS), datasets.Dataset.from_list(ROWS[:3])
        datasets.DatasetDict(train=train, test=test).save_to_disk(f"{root}/samsum")
        source = indexed(SOURCES["load_from_disk"](dataset_path=f"{root}/samsum", split="test"))
        assert texts(read_all(source)) == EXPECTED[:3]
        with pytest.raises(SourceError, match="`split` is missing; splits known: train, test"):
            SOURCES["load_from_disk"](dataset_path=f"{root}/samsum")
        with pytest.raises(SourceError, match="no split 'tests'; splits known: train, test; did you mean \"test\""):
            SOURCES["load_from_disk"](dataset_path=f"{root}/samsum", split="tests")

    def test_a_split_of_a_dataset_without_splits_is_an_error(self, root: str) -> None:
        datasets.Dataset.from_list(ROWS).save_to_disk(f"{root}/samsum")
        with pytest.raises(SourceError, match="the dataset has no splits, got `split: train`; leave `split` out"):
            SOURCES["load_from_disk"](dataset_path=f"{root}/samsum", split="train")

    def test_a_missing_folder_is_an_error(self, root: str) -> None:
        with pytest.raises(
            SourceError, match=r"load_from_disk .*nowhere failed: FileNotFoundError: .*; check the path"
        ):
            SOURCES["load_from_disk"](dataset_path=f"{root}/nowhere")

    def test_storage_options_reach_the_filesystem_but_no_message(self) -> None:
        with pytest.raises(SourceError) as caught:
            SOURCES["load_from_disk"](dataset_path="zip://a::memory://b?sig=SIG", storage_options={"fo": "hush-hush"})
        assert "hush-hush" not in str(caught.value)
        assert "SIG" not in str(caught.value)


class TestJsonl:
    @pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
    @pytest.mark.parametrize(
        "shape",
        [
            {"end": "\n"},
            {"end": "\r\n", "tail": "\r\n"},
            {"tail": ""},
            {"end": "\n\n \t\r\n", "tail": "\n\n  "},
            {"end": "\n  "},
            {"end": "  \n"},
        ],
    )
    def test_line_ends_and_blank_lines(self, suffix: str, shape: dict[str, str], tmp_path: Path) -> None:
        source = read_jsonl(write_lines(tmp_path / f"a.{suffix}", ROWS, **shape))
        assert texts(read_all(source)) == EXPECTED
        assert [row[3] for row in read_all(source)] == [f"samsum/a.{suffix}:{i} (epoch 0)" for i in range(NUM_ROWS)]

    @pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
    @pytest.mark.parametrize("lead", [b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n", b"\n\n", b" \n"])
    def test_a_byte_order_mark_and_leading_blank_lines(self, suffix: str, lead: bytes, tmp_path: Path) -> None:
        text = lead + json.dumps(ROWS[0]).encode() + b"\n" + json.dumps(ROWS[1]).encode()
        file = tmp_path / f"a.{suffix}"
        file.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
        assert texts(read_all(read_jsonl(file))) == EXPECTED[:2]

    def test_line_separators_of_unicode_do_not_end_a_line(self, tmp_path: Path) -> None:
        rows = [{"input": "a\u2028b\x85c\x0bd", "response": "e\u2029f"}] * 2
        assert len(read_all(read_jsonl(write_lines(tmp_path / "a.jsonl", rows)))) == 2

    def test_the_scan_crosses_its_blocks(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = write_lines(tmp_path / "a.jsonl", ROWS, end="\n\n")
        expected = lines.row_lines(file).offsets
        for block in (1, 2, 7, 100):
            monkeypatch.setattr(lines, "_BLOCK", block)
            assert lines.row_lines(file).offsets.tolist() == expected.tolist()

    def test_rows_of_several_files_in_any_order(self, tmp_path: Path) -> None:
        for number, part in enumerate((ROWS[:5], ROWS[5:6], ROWS[6:])):
            write_lines(tmp_path / f"{number}.jsonl", part)
        source = read_jsonl(tmp_path / "*.jsonl")
        assert isinstance(source, IndexedSource)
        assert source.shards == (("0.jsonl", 5), ("1.jsonl", 1), ("2.jsonl", 19))
        rows = source.take(ORDER)
        assert rows.content.responses == [ROWS[i]["response"] for i in ORDER]
        assert rows.shards.tolist() == [2, 0, 2, 2, 0, 2, 0]
        assert rows.rows.tolist() == [18, 0, 1, 1, 3, 7, 1]

    def test_more_files_than_are_kept_open(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("samsum_stream.sources.json_lines.indexed._MAX_OPEN", 2)
        for number, row in enumerate(ROWS):
            write_lines(tmp_path / f"{number:02}.jsonl", [row])
        source = read_jsonl(tmp_path / "*.jsonl")
        assert texts(read_all(source)) == EXPECTED
        assert texts(read_all(source)) == EXPECTED

    def test_files_with_equal_base_names_are_named_with_their_folders(self, tmp_path: Path) -> None:
        for folder in ("a", "b"):
            write_lines(tmp_path / folder / "x.jsonl", ROWS[:1])
        source = read_jsonl(tmp_path / "**" / "*.jsonl")
        assert [shard.name for shard in source.shards] == ["a/x.jsonl", "b/x.jsonl"]

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_a_forked_and_a_spawned_process_read_the_same(self, tmp_path: Path) -> None:
        source = indexed(SOURCES["jsonl"](path=str(write_lines(tmp_path / "a.jsonl", ROWS))))
        expected = entries(source, source.take(ORDER))
        for method in ("fork", "spawn"):
            with multiprocessing.get_context(method).Pool(1) as pool:
                assert entries(source, pool.apply(source.take, (ORDER,))) == expected

    @pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (b'{"input": "a", "response": "\xff"}', "the line is not UTF-8"),
            (b'{"input": "a", "response": "\xed\xa0\x80"}', "the line is not UTF-8"),
            (b'{"input": "a", "response"', "the line is not JSON"),
            (b'{"input": "a", "response": "b"} {}', "the line is not JSON"),
            (b"[" * 100_000, "the line is not JSON"),
            (b'{"input": "a", "response": "b", "n": ' + b"9" * 5000 + b"}", "the line is not JSON"),
            (b'["a", "b"]', "a row must map column names to values, got list: ['a', 'b']"),
            (b'"text"', "a row must map column names to values, got str: 'text'"),
            (rb'{"input": "\ud800", "response": "b"}', "field 'input' must be text without lone surrogates"),
        ],
    )
    def test_a_bad_line_is_an_error_with_its_position(
        self, suffix: str, line: bytes, message: str, tmp_path: Path
    ) -> None:
        good = json.dumps(ROWS[0]).encode()
        text = b"\n".join([good, b"", b" ", good, line, good])
        file = tmp_path / f"a.{suffix}"
        file.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
        with pytest.raises(RowError) as caught:
            read_all(read_jsonl(file))
        assert str(caught.value).startswith(f"samsum/a.{suffix}:2 (epoch 0): line 5: ")
        assert message in str(caught.value)
        assert len(str(caught.value)) < 500

    def test_a_missing_column_names_what_the_row_has(self, tmp_path: Path) -> None:
        file = write_lines(tmp_path / "a.jsonl", [{"dialogue": "a", "summary": "b"}])
        with pytest.raises(RowError, match='known: dialogue, summary; did you mean "summary"'):
            read_all(read_jsonl(file, input="dialogue", response="summry"))

    def test_a_file_that_changed_size_is_an_error(self, tmp_path: Path) -> None:
        file = write_lines(tmp_path / "a.jsonl", ROWS)
        source = read_jsonl(file)
        file.write_bytes(file.read_bytes()[:-10])
        with pytest.raises(SourceError, match=r"a.jsonl had \d+ bytes when opened and has \d+ now"):
            read_all(source)

    def test_a_file_that_was_deleted_is_an_error(self, tmp_path: Path) -> None:
        for suffix in ("jsonl", "jsonl.gz"):
            file = write_lines(tmp_path / f"a.{suffix}", ROWS)
            source = read_jsonl(file)
            file.unlink()
            with pytest.raises(SourceError, match="cannot be read"):
                read_all(source)

    @pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
    def test_a_file_that_cannot_be_opened_is_an_error(self, tmp_path: Path, suffix: str) -> None:
        opener = SOURCES["jsonl"](path=str(write_lines(tmp_path / f"a.{suffix}", ROWS)))
        (tmp_path / f"a.{suffix}").unlink()
        with pytest.raises(SourceError, match=f"a.{suffix} cannot be read"):
            read_all(as_source(opener, name="samsum", columns={}))


class TestJsonlPaths:
    def test_a_missing_file_suggests_a_similar_name(self, tmp_path: Path) -> None:
        write_lines(tmp_path / "train.jsonl", ROWS)
        with pytest.raises(SourceError, match=r"there is no file .*trian.jsonl .*; did you mean train.jsonl\?"):
            read_jsonl(tmp_path / "trian.jsonl")

    def test_a_glob_without_a_match_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="matches no file"):
            read_jsonl(tmp_path / "*.jsonl")

    def test_a_file_named_twice_is_an_error(self, tmp_path: Path) -> None:
        file = str(write_lines(tmp_path / "a.jsonl", ROWS))
        with pytest.raises(SourceError, match="is named 2 times, so its rows would repeat"):
            read_jsonl([file, str(tmp_path / "*.jsonl")])

    @pytest.mark.parametrize("other", ["sub/../a.jsonl", "symbolic.jsonl", "hard.jsonl"])
    def test_a_file_named_twice_by_different_paths_is_an_error(self, tmp_path: Path, other: str) -> None:
        file = write_lines(tmp_path / "a.jsonl", ROWS)
        (tmp_path / "sub").mkdir()
        (tmp_path / "symbolic.jsonl").symlink_to(file)
        (tmp_path / "hard.jsonl").hardlink_to(file)
        with pytest.raises(SourceError, match=f"a.jsonl is named 2 times \\(also as .*{other}\\), so its rows"):
            read_jsonl([str(file), str(tmp_path / other)])

    def test_a_file_named_twice_by_urls_is_an_error(self, tmp_path: Path) -> None:
        file = write_lines(tmp_path / "a.jsonl", ROWS)
        for spellings in ([str(file), f"file://{file}"], [f"file://{file}", f"local://{file}"]):
            with pytest.raises(SourceError, match="is named 2 times .also as .*, so its rows would repeat"):
                read_jsonl(spellings)
        urls = []
        for name in ("a.zip", "b.zip"):
            with zipfile.ZipFile(tmp_path / name, "w") as archive:
                archive.write(file, "a.jsonl")
            urls.append(f"zip://a.jsonl::file://{tmp_path / name}")
        assert len(read_all(read_jsonl(urls))) == 2 * NUM_ROWS

    def test_files_with_equal_content_are_different_files(self, tmp_path: Path) -> None:
        files = [str(write_lines(tmp_path / name, ROWS)) for name in ("a.jsonl", "b.jsonl")]
        assert len(read_all(read_jsonl(files))) == 2 * NUM_ROWS

    def test_a_local_and_a_remote_file_with_one_name_are_named_with_their_folders(self, tmp_path: Path) -> None:
        file = write_lines(tmp_path / "a.jsonl", ROWS)
        fsspec.filesystem("memory").pipe_file("/bucket/a.jsonl", file.read_bytes())
        source = read_jsonl([str(file), "memory://bucket/a.jsonl"])
        assert [shard.name for shard in source.shards[:2]] == [f"{tmp_path}/a.jsonl"[1:], "bucket/a.jsonl@0"]

    def test_an_empty_list_is_an_error(self) -> None:
        with pytest.raises(SourceError, match="`path` is an empty list"):
            read_jsonl([])

    def test_a_path_of_another_type_is_a_config_error(self) -> None:
        with pytest.raises(ConfigError, match="`path` must be a file, a glob or a list of them, got"):
            SOURCES["jsonl"](path=5)

    @pytest.mark.parametrize("path", [{"password": "abc123"}, ["a.jsonl", {"password": "abc123"}]])
    def test_the_error_for_a_path_of_another_type_hides_its_values(self, path: object) -> None:
        with pytest.raises(ConfigError, match="got a mapping") as caught:
            SOURCES["jsonl"](path=path)
        assert "abc123" not in str(caught.value)

    def test_a_url_without_a_file_is_an_error_without_its_secrets(self) -> None:
        with pytest.raises(SourceError, match="there is no file") as caught:
            read_jsonl("memory://me:pw@bucket/a.jsonl?X-Signature=abc")
        assert "abc" not in str(caught.value)
        assert "pw" not in str(caught.value)

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("http:/minio:9000", "Invalid endpoint: http:/minio:9000"),
            ("http:/me:pw12@minio:9000", r"Invalid endpoint: \*\*\*"),
            ("http:/minio:9000?token=pw12", r"Invalid endpoint: \*\*\*"),
        ],
    )
    def test_the_address_of_a_server_shows_without_its_secrets(self, url: str, message: str) -> None:
        options = {"key": "minio9000", "secret": "pw12", "endpoint_url": url}
        with pytest.raises(SourceError, match=message) as caught:
            SOURCES["jsonl"](path="s3://bucket/a.jsonl", storage_options=options)
        assert "pw12" not in str(caught.value)

    @pytest.mark.parametrize(
        ("path", "remedy"),
        [
            ("data/{00..03}.jsonl", "write a glob, as in `path: data/*.jsonl`, or a list of files"),
            (
                "memory://data/{0,1}/a*.jsonl",
                "write a glob, as in `path: memory://data/*/a*.jsonl`, or a list of files",
            ),
            ("memory://data/chat", "there is no file memory://data/chat; check the path, its folder and suffix"),
        ],
    )
    def test_the_error_for_a_path_without_files_gives_a_remedy(self, path: str, remedy: str) -> None:
        with pytest.raises(SourceError, match=re.escape(remedy)):
            read_jsonl(path)

    def test_a_name_with_brackets_is_first_tried_as_a_file(self, tmp_path: Path) -> None:
        assert texts(read_all(read_jsonl(file := write_lines(tmp_path / "a[1].jsonl", ROWS)))) == EXPECTED
        write_lines(tmp_path / "a1.jsonl", ROWS[:3])
        assert texts(read_all(read_jsonl(f"file://{file}"))) == EXPECTED
        assert texts(read_all(read_jsonl(f"file://{tmp_path}/a[0-2].jsonl"))) == EXPECTED[:3]

    @pytest.mark.parametrize("pattern", ["*.jsonl", "sub/../?.jsonl", "**/a.jsonl", "~/*.jsonl"])
    def test_the_working_directory_and_the_home_are_not_part_of_a_glob(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
    ) -> None:
        """As a glob, `run[1]` matches `run1`, which has other rows."""
        (tmp_path / "run[1]/sub").mkdir(parents=True)
        (tmp_path / "run1/sub").mkdir(parents=True)
        write_lines(tmp_path / "run[1]/a.jsonl", ROWS)
        write_lines(tmp_path / "run1/a.jsonl", ROWS[:3])
        monkeypatch.chdir(tmp_path / "run[1]")
        monkeypatch.setenv("HOME", str(tmp_path / "run[1]"))
        assert texts(read_all(read_jsonl(pattern))) == EXPECTED

    def test_a_relative_path_survives_a_change_of_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_lines(tmp_path / "a.jsonl", ROWS)
        monkeypatch.chdir(tmp_path)
        source = read_jsonl("a.jsonl")
        monkeypatch.chdir("/")
        assert texts(read_all(source)) == EXPECTED


class TestCutGzip:
    @pytest.fixture
    def members(self) -> list[bytes]:
        whole = [json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in ROWS]
        return [gzip.compress(b"".join(part)) for part in (whole[:10], whole[10:])]

    def test_a_whole_file_of_two_members_is_read(self, members: list[bytes], tmp_path: Path) -> None:
        (tmp_path / "a.jsonl.gz").write_bytes(b"".join(members))
        assert texts(read_all(read_jsonl(tmp_path / "a.jsonl.gz"))) == EXPECTED

    def test_a_cut_anywhere_inside_a_member_is_an_error(self, members: list[bytes], tmp_path: Path) -> None:
        whole, border = b"".join(members), len(members[0])
        file = tmp_path / "a.jsonl.gz"
        for size in range(1, len(whole)):
            if size != border:
                file.write_bytes(whole[:size])
                with pytest.raises(
                    SourceError, match=r"samsum/a.jsonl.gz:\d+: .*a.jsonl.gz is cut short|cannot be read"
                ):
                    read_all(read_jsonl(file))

    def test_the_error_names_the_row_it_reached(self, tmp_path: Path) -> None:
        data = gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in ROWS), compresslevel=0)
        (tmp_path / "a.jsonl.gz").write_bytes(data[:-4])
        with pytest.raises(SourceError, match=r"a.jsonl.gz:25: .* is cut short after 25 whole rows"):
            read_all(read_jsonl(tmp_path / "a.jsonl.gz"))

    @pytest.mark.parametrize("garbage", [b"x", b"\x1f", b"\x1f\x8b", b"garbage after the last member"])
    def test_garbage_after_a_member_is_an_error(self, garbage: bytes, members: list[bytes], tmp_path: Path) -> None:
        (tmp_path / "a.jsonl.gz").write_bytes(members[0] + garbage)
        with pytest.raises(SourceError, match="after 10 whole rows"):
            read_all(read_jsonl(tmp_path / "a.jsonl.gz"))

    def test_a_flipped_bit_is_an_error(self, members: list[bytes], tmp_path: Path) -> None:
        for offset in range(12, len(members[0]), 37):
            broken = bytearray(members[0])
            broken[offset] ^= 0x10
            (tmp_path / "a.jsonl.gz").write_bytes(bytes(broken))
            with pytest.raises(SourceError):
                read_all(read_jsonl(tmp_path / "a.jsonl.gz"))


@pytest.mark.parametrize(
    ("method", "kwargs", "name"),
    [
        ("load_dataset", {"path": "knkarthick/samsum", "split": "train"}, "samsum"),
        ("load_dataset", {"path": "json", "data_files": "data/samsum/train.json"}, "samsum"),
        ("load_dataset", {"path": "json", "data_files": {"train": ["train.json.gz"]}}, "train"),
        ("load_dataset", {"path": "json", "data_files": "https://me:pw@host/samsum/a.json?sig=x"}, "samsum"),
        ("load_from_disk", {"dataset_path": "s3://bucket/samsum/"}, "samsum"),
        ("load_from_disk", {"dataset_path": "s3://me:pw@bucket"}, "bucket"),
        ("jsonl", {"path": "samsum/*.jsonl"}, "samsum"),
        ("jsonl", {"path": ["./samsum/a.jsonl", "b.jsonl"]}, "samsum"),
        ("jsonl", {"path": "train.jsonl.gz"}, "train"),
        ("jsonl", {"path": "*.jsonl"}, "jsonl"),
        ("jsonl", {"path": "http://[::1/a.jsonl"}, "jsonl"),
        ("jsonl", {"path": "s3://bucket[a]/a.jsonl"}, "jsonl"),
        ("my_pkg.data::rows", {}, "rows"),
    ],
)
def test_a_source_without_a_name_gets_a_short_one(method: str, kwargs: dict[str, Any], name: str) -> None:
    assert default_name(method, kwargs) == name


def test_every_error_is_of_this_package() -> None:
    assert issubclass(RowError, SourceError)
    assert issubclass(SourceError, SamsumStreamError)
