"""Compressed files are known by their content; one that is cut or changed is an error and never fewer rows."""

import random
from pathlib import Path

import pytest

from samsum_stream import RowError, SourceError
from samsum_stream.sources import IndexedSource, SequentialSource
from tests.sources.formats import COMPRESS, EXPECTED, FORMATS, ROWS, lines_of, open_source, pairs_of, tar_of

each_compression = pytest.mark.parametrize("compression", COMPRESS)
each_method = pytest.mark.parametrize("method", ["jsonl", "webdataset"])
each_of_all = pytest.mark.parametrize("method", ["jsonl", "json", "csv", "tsv", "webdataset"])


@each_of_all
@each_compression
@pytest.mark.parametrize("suffix", [".gz", ".zst", ".xz", ".tgz", ".data", ""])
def test_the_content_and_not_the_suffix_tells_the_compression(
    tmp_path: Path, method: str, compression: str, suffix: str
) -> None:
    (tmp_path / f"rows{suffix}").write_bytes(COMPRESS[compression](FORMATS[method][1](ROWS)))
    assert pairs_of(open_source(method, tmp_path / f"rows{suffix}")) == EXPECTED


@each_of_all
def test_a_plain_file_with_the_suffix_of_a_compressed_one_is_read(tmp_path: Path, method: str) -> None:
    """A web server may have decompressed the file on its way."""
    (tmp_path / "rows.gz").write_bytes(FORMATS[method][1](ROWS))
    assert pairs_of(open_source(method, tmp_path / "rows.gz")) == EXPECTED


def test_plain_and_compressed_files_can_be_read_together(tmp_path: Path) -> None:
    (tmp_path / "0.jsonl").write_bytes(lines_of(ROWS))
    for number, compress in enumerate(COMPRESS.values(), start=1):
        (tmp_path / f"{number}.jsonl").write_bytes(compress(lines_of(ROWS)))
    source = open_source("jsonl", tmp_path / "*.jsonl")
    assert isinstance(source, SequentialSource)
    assert pairs_of(source) == EXPECTED * 5
    assert isinstance(open_source("jsonl", tmp_path / "0.jsonl"), IndexedSource)


@each_method
@each_compression
def test_a_shard_is_read_from_any_row(tmp_path: Path, method: str, compression: str) -> None:
    (tmp_path / "rows").write_bytes(COMPRESS[compression](FORMATS[method][1](ROWS)))
    source = open_source(method, tmp_path / "rows")
    assert isinstance(source, SequentialSource)
    for start in (0, 1, 13, 19, 20):
        assert sum(block.num_rows for block in source.blocks(0, num_rows=6, start=start)) == 20 - start


@each_compression
def test_a_file_larger_than_the_buffers_is_read(tmp_path: Path, compression: str) -> None:
    draw = random.Random(0)
    rows = [{"input": f"{draw.getrandbits(50_000):x}", "response": str(number)} for number in range(100)]
    (tmp_path / "rows").write_bytes(COMPRESS[compression](lines_of(rows)))
    assert pairs_of(open_source("jsonl", tmp_path / "rows")) == [(row["input"], row["response"]) for row in rows]
    (tmp_path / "rows").write_bytes(COMPRESS[compression](tar_of(rows)))
    assert pairs_of(open_source("webdataset", tmp_path / "rows")) == [(r["input"], r["response"]) for r in rows]


class TestDamage:
    @each_compression
    def test_several_streams_are_read_one_after_another(self, tmp_path: Path, compression: str) -> None:
        compress = COMPRESS[compression]
        (tmp_path / "rows").write_bytes(compress(lines_of(ROWS[:9])) + compress(b"") + compress(lines_of(ROWS[9:])))
        assert pairs_of(open_source("jsonl", tmp_path / "rows")) == EXPECTED

    @each_of_all
    @each_compression
    def test_a_cut_anywhere_is_an_error(self, tmp_path: Path, method: str, compression: str) -> None:
        path = tmp_path / f"rows.{compression}"
        compress, content = COMPRESS[compression], FORMATS[method][1](ROWS)
        whole = compress(content[:700]) + compress(content[700:])
        border = len(compress(content[:700]))
        for size in range(len(whole)):
            if size == border and method in ("jsonl", "csv", "tsv"):
                continue  # may look complete
            path.write_bytes(whole[:size])
            with pytest.raises(SourceError, match=rf"rows\.{compression} (is|cannot)") as caught:
                pairs_of(open_source(method, path))
            assert not isinstance(caught.value, RowError), size

    @each_of_all
    @each_compression
    def test_a_changed_start_is_an_error_and_no_bad_row(self, tmp_path: Path, method: str, compression: str) -> None:
        """Otherwise the bytes would be lines that are no rows, which can be skipped."""
        whole = bytearray(COMPRESS[compression](FORMATS[method][1](ROWS)))
        whole[1] ^= 0x10
        (tmp_path / f"rows.{compression}").write_bytes(bytes(whole))
        with pytest.raises(SourceError) as caught:
            pairs_of(open_source(method, tmp_path / f"rows.{compression}"))
        assert not isinstance(caught.value, RowError)

    @each_compression
    @pytest.mark.parametrize("garbage", [b"x", b"garbage after the last stream", lines_of(ROWS)])
    def test_bytes_after_the_last_stream_are_an_error(self, tmp_path: Path, compression: str, garbage: bytes) -> None:
        (tmp_path / "rows").write_bytes(COMPRESS[compression](lines_of(ROWS)) + garbage)
        with pytest.raises(SourceError, match="rows cannot be read|rows is cut short"):
            pairs_of(open_source("jsonl", tmp_path / "rows"))

    @pytest.mark.parametrize("compression", ["gz", "bz2", "xz"])  # checksums are an option of zstd
    def test_a_changed_bit_changes_no_row(self, tmp_path: Path, compression: str) -> None:
        whole, num_unchanged = COMPRESS[compression](lines_of(ROWS)), 0
        for offset in range(12, len(whole), 7):
            changed = bytearray(whole)
            changed[offset] ^= 0x10
            (tmp_path / "rows").write_bytes(bytes(changed))
            try:
                assert pairs_of(open_source("jsonl", tmp_path / "rows")) == EXPECTED
                num_unchanged += 1
            except SourceError:
                pass
        assert num_unchanged < 3, "only bits that fill up the last byte"

    @each_of_all
    @each_compression
    def test_a_file_of_no_bytes_is_cut(self, tmp_path: Path, method: str, compression: str) -> None:
        (tmp_path / f"rows.{compression}").touch()
        with pytest.raises(SourceError, match=r"is empty \(0 bytes\), and its format has an end"):
            open_source(method, tmp_path / f"rows.{compression}")
