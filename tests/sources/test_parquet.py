"""Parquet files: each row group is a shard that is read from any row on; a broken file is an error."""

import random
from itertools import chain
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream import RowError, SourceError
from samsum_stream.sources import SequentialSource, Source, as_source
from samsum_stream.sources.parquet_files import parquet
from samsum_stream.values.rows import Rows
from tests.resuming import assert_resumes_exactly
from tests.streams import make_rows, make_stream, rows_of_one_lane, rows_of_packs

ROWS = [
    {
        "input": f"question {number} ☕",
        "response": f"answer {number}",
        "contexts": ["a", "b"][: number % 3],
        "extra": number,
    }
    for number in range(100)
]


def write(path: Path, rows: list[dict[str, Any]] = ROWS, *, group: int = 30, **kwargs: Any) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group, **kwargs)
    return path


def open_source(path: object, **columns: str) -> SequentialSource:
    source = as_source(parquet(path), name="rows", columns=columns)
    assert isinstance(source, SequentialSource)
    return source


def taken(source: SequentialSource, shard: int, *, num_rows: int = 7, start: int = 0) -> list[Rows]:
    blocks = source.blocks(shard, num_rows=num_rows, start=start)
    return [block.take(np.arange(block.num_rows)) for block in blocks]


def inputs(source: SequentialSource) -> list[str]:
    return [
        text for shard in range(len(source.shards)) for rows in taken(source, shard) for text in rows.content.inputs
    ]


def positions(source: Source, rows: Rows) -> list[str]:
    return [str(source.position(shard, row, 0)) for shard, row in zip(rows.shards, rows.rows, strict=True)]


def test_a_shard_is_a_row_group_with_its_count(tmp_path: Path) -> None:
    source = open_source([str(write(tmp_path / "a.parquet")), str(write(tmp_path / "b.parquet", group=200))])
    assert [tuple(shard) for shard in source.shards] == [
        ("a.parquet#0", 30), ("a.parquet#1", 30), ("a.parquet#2", 30), ("a.parquet#3", 10), ("b.parquet", 100)
    ]  # fmt: skip
    assert source.num_rows == 200
    assert inputs(source) == [row["input"] for row in ROWS] * 2


def test_rows_have_their_fields_and_positions(tmp_path: Path) -> None:
    source = open_source(str(write(tmp_path / "a.parquet")))
    rows = taken(source, 1, start=4)[0]
    assert rows.content.responses == [f"answer {number}" for number in range(34, 41)]
    assert rows.content.contexts == [row["contexts"] for row in ROWS[34:41]]
    assert positions(source, rows)[0] == "rows/a.parquet#1:4 (epoch 0)"


@given(start=st.integers(0, 100), num_rows=st.integers(1, 120), page=st.sampled_from([64, 1 << 20]))
def test_a_shard_is_read_from_any_row_in_blocks_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, start: int, num_rows: int, page: int
) -> None:
    """Batches of Arrow end at pages, and blocks do not."""
    path = tmp_path_factory.mktemp("rows") / "a.parquet"
    source = open_source(str(write(path, group=100, data_page_size=page, write_batch_size=8, use_dictionary=False)))
    blocks = taken(source, 0, num_rows=num_rows, start=start)
    assert [text for rows in blocks for text in rows.content.inputs] == [row["input"] for row in ROWS[start:]]
    assert all(len(rows) == num_rows for rows in blocks[:-1])


def test_only_the_needed_columns_are_read(tmp_path: Path) -> None:
    rows = [{**row, "unread": {"a": object.__name__}} for row in ROWS]
    source = open_source(str(write(tmp_path / "a.parquet", rows)), input="response", response="input")
    assert inputs(source) == [row["response"] for row in ROWS]


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_stream_reads_every_row_once(tmp_path: Path, shuffle: bool) -> None:
    write(tmp_path / "a.parquet", make_rows(90), group=13)
    source = {"method": "parquet", "kwargs": {"path": str(tmp_path / "*.parquet")}}
    stream = make_stream(source_config=source, lanes=4, shuffle=shuffle)
    loader = stream.loader()
    read = [str(position) for _ in loader for pack in loader.last_batch_info.positions for position in pack]
    assert sorted(read) == sorted(f"{position}" for pack in stream for position in [e.position for e in pack.examples])
    assert len(set(read)) == 90
    assert loader.stats.rows_passed_over == 0
    assert len(rows_of_packs(stream)) == 90


def test_empty_row_groups_are_skipped(tmp_path: Path) -> None:
    empty = pa.Table.from_pylist(ROWS).slice(0, 0)
    pq.write_table(empty, tmp_path / "a.parquet")
    write(tmp_path / "b.parquet")
    source = open_source(str(tmp_path / "*.parquet"))
    assert source.first_block(3).num_rows == 3
    assert inputs(source) == [row["input"] for row in ROWS]


def test_a_lane_resumes_at_the_end_of_a_row_group(tmp_path: Path) -> None:
    """The size of the group is a multiple of the block size, so that no row is pending."""
    write(tmp_path / "a.parquet", make_rows(96), group=32)
    with mock.patch("samsum_stream.lanes.order.SHUFFLED_BLOCK", 16):
        source = {"method": "parquet", "kwargs": {"path": str(tmp_path / "a.parquet")}}
        changes = {"lanes": 1, "batch_size": 8, "collator_config": {"method": "padded"}}
        stream = make_stream(source_config=source, **changes)
        assert_resumes_exactly(stream.loader, num_steps=12)


class TestBroken:
    """Each fault is an error that names the file; no row is lost silently."""

    def test_a_footer(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.parquet")
        content = path.read_bytes()
        for size in (0, 3, 100, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:size])
            with pytest.raises(SourceError, match=r"a\.parquet (cannot be read as parquet|is empty)"):
                open_source(str(path))

    def test_a_page(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.parquet", compression="none", write_page_checksum=True, use_dictionary=False)
        content = bytearray(path.read_bytes())
        start = content.index(b"answer 42")
        content[start : start + 9] = b"answer 43"
        path.write_bytes(bytes(content))
        source = open_source(str(path))
        assert len(inputs(open_source(str(path), response="input"))) == 100, "the other columns are whole"
        with pytest.raises(SourceError, match=r"rows/a\.parquet#1:0: the row group cannot be read .*CRC"):
            inputs(source)

    def test_a_byte_anywhere_changes_no_row_silently(self, tmp_path: Path) -> None:
        """Pages have checksums here, a footer has none; `columns:` names the contexts, so a new name is an error."""
        path = write(tmp_path / "a.parquet", ROWS[:40], group=20, write_page_checksum=True)
        content, draw, errors = path.read_bytes(), random.Random(0), list[str]()
        for offset in draw.sample(range(len(content)), 300):
            byte = bytes([content[offset] ^ draw.randrange(1, 256)])
            path.write_bytes(content[:offset] + byte + content[offset + 1 :])
            try:
                source = open_source(str(path), contexts="contexts")
                pairs = [
                    (*zip(rows.content.inputs, rows.content.contexts or [], strict=True),)
                    for rows in rows_of_one_lane(source)
                ]
                assert list(chain(*pairs)) == [(row["input"], row["contexts"]) for row in ROWS[:40]]
            except SourceError as error:
                errors.append(str(error))
        assert len(errors) > 200
        assert all("a.parquet" in error for error in errors)

    def test_a_footer_that_shortens_a_row_group(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.parquet", ROWS[:40], group=20)
        content = bytearray(path.read_bytes())
        start = content.rindex(b"\x16\x28", 0, -8)  # 20 as a zigzag number of the thrift type i64
        content[start + 1] = 10
        path.write_bytes(bytes(content))
        with pytest.raises(
            SourceError, match=r"a\.parquet cannot be read .*the footer promises 40 rows, and .* groups have 25"
        ):
            open_source(str(path))

    def test_a_letter_in_a_page_without_a_checksum_is_another_letter(self, tmp_path: Path) -> None:
        """Nothing in the file shows the change; writers add checksums only on request."""
        path = write(tmp_path / "a.parquet", compression="none", use_dictionary=False)
        path.write_bytes(path.read_bytes().replace(b"question 42 ", b"question 43 "))
        assert inputs(open_source(str(path)))[42] == ROWS[43]["input"]

    def test_text_that_is_not_utf8(self, tmp_path: Path) -> None:
        table = pa.table(
            {"input": pa.array([b"a", b"\xff", b"c"]).cast(pa.string(), safe=False), "response": ["x"] * 3}
        )
        pq.write_table(table, tmp_path / "a.parquet")
        with pytest.raises(RowError, match=r"rows/a\.parquet:1 \(epoch 0\): a text is not UTF-8") as caught:
            inputs(open_source(str(tmp_path / "a.parquet")))
        assert caught.value.reason == "not_utf8"

    def test_a_column_of_another_type(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.parquet", [{"input": {"role": "user"}, "response": "x"}])
        with pytest.raises(SourceError, match=r"column 'input' holds struct<.*, which is neither text"):
            open_source(str(path))

    def test_a_column_of_times_that_python_cannot_represent(self, tmp_path: Path) -> None:
        table = pa.table({"input": pa.array([2**62], pa.timestamp("us")), "response": ["x"]})
        pq.write_table(table, tmp_path / "a.parquet")
        with pytest.raises(SourceError, match=r"column 'input' holds timestamp\[us\], which is neither text"):
            open_source(str(tmp_path / "a.parquet"))

    def test_two_columns_of_one_name(self, tmp_path: Path) -> None:
        table = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["input", "response", "input"])
        pq.write_table(table, tmp_path / "a.parquet")
        with pytest.raises(SourceError, match=r"a\.parquet: 2 columns are named 'input'"):
            open_source(str(tmp_path / "a.parquet"))
        with pytest.raises(RowError, match="field 'input' must be a str, got int: 3"):
            inputs(open_source(str(write(tmp_path / "b.parquet", [{"input": 3, "response": "x"}]))))

    def test_files_that_differ_in_their_columns(self, tmp_path: Path) -> None:
        one, other = write(tmp_path / "a.parquet"), write(tmp_path / "b.parquet", [{"input": "x", "response": "y"}])
        with pytest.raises(
            SourceError, match=r"b\.parquet and .*a\.parquet must have the same columns of optional fields"
        ):
            open_source([str(one), str(other)])
        with pytest.raises(SourceError, match=r"rows: .*a\.parquet: field 'input' has no column 'question'"):
            open_source(str(one), input="question")

    def test_files_without_rows(self, tmp_path: Path) -> None:
        table = pa.Table.from_pylist(ROWS).slice(0, 0)
        pq.write_table(table, tmp_path / "a.parquet")
        with pytest.raises(SourceError, match="rows: the files hold no rows"):
            open_source(str(tmp_path / "a.parquet"))
