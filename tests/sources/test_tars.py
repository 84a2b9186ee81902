"""Tar shards: samples have the names of webdataset, and a cut shard is an error."""

import gzip
import io
import json
import random
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from webdataset import TarWriter

from samsum_stream import RowError, SamsumStreamError, SourceError
from samsum_stream.sources import SequentialSource, as_source
from samsum_stream.sources.json_lines.indexed import jsonl
from samsum_stream.sources.tars.samples import webdataset
from tests.streams import make_rows, make_stream

NUM_SAMPLES = 20
SAMPLE = 4 * tarfile.BLOCKSIZE
"""Bytes of a sample of `ROWS` in a shard: a header with its extension, and a block of data."""
ROWS = [{"input": f"question {number}", "response": f"answer {number}"} for number in range(NUM_SAMPLES)]


def write(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    """Write a shard with the writer of webdataset."""
    with TarWriter(str(path)) as writer:
        for number, row in enumerate(rows):
            writer.write({"__key__": f"{number:06d}", "json": row})
    return path


def tar_of(members: list[tuple[str, bytes]], **kwargs: Any) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", **kwargs) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def open_source(urls: object, **columns: str) -> SequentialSource:
    source = as_source(webdataset(urls), name="rows", columns=columns)
    assert isinstance(source, SequentialSource)
    return source


def read(source: SequentialSource, *, num_rows: int = 6, start: int = 0) -> list[tuple[str, str, Any]]:
    texts = []
    for shard in range(len(source.shards)):
        for block in source.blocks(shard, num_rows=num_rows, start=start):
            rows = block.take(np.arange(block.num_rows))
            texts += zip(
                rows.content.inputs, rows.content.responses, rows.content.contexts or [None] * len(rows), strict=True
            )
    return texts


EXPECTED = [(row["input"], row["response"], None) for row in ROWS]


def test_braces_name_shards_and_their_samples_are_read_in_order(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"shard-{number:02d}.tar")
    source = open_source(str(tmp_path / "shard-{00..02}.tar"))
    assert [shard.name for shard in source.shards] == ["shard-00.tar", "shard-01.tar", "shard-02.tar"]
    assert read(source) == EXPECTED * 3


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
@pytest.mark.parametrize("start", [0, 1, 7, NUM_SAMPLES])
def test_a_shard_is_read_from_any_sample(tmp_path: Path, suffix: str, start: int) -> None:
    assert read(open_source(str(write(tmp_path / f"a{suffix}"))), start=start) == EXPECTED[start:]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_later_pass_starts_at_any_row(tmp_path: Path, form: int) -> None:
    """Names that are too long for a header are in a separate member before it."""
    members = [(f"{number:0120d}.json", json.dumps(row).encode()) for number, row in enumerate(ROWS)]
    (tmp_path / "a.tar").write_bytes(tar_of(members, format=form))
    source = open_source(str(tmp_path / "a.tar"))
    for start in (0, 6, 7, 12, 18, 3, NUM_SAMPLES):
        assert read(source, start=start) == EXPECTED[start:]


def test_a_member_can_be_a_column(tmp_path: Path) -> None:
    members = [
        ("a/000.input.txt", "déjà".encode()), ("a/000.response.txt", b"yes"), ("a/000.contexts.json", b'["x", "y"]'),
        ("a/000.photo.jpg", b"\xff\xd8"), ("__meta.json__", b"{}"), ("a/001.response.txt", b"no"),
        ("a/001.input.txt", b"vu"), ("a/001.txt", b"a caption"), ("__b/2.json", b'{"input": "x", "response": "y"}'),
    ]  # fmt: skip
    (tmp_path / "a.tar").write_bytes(tar_of(members))
    assert read(open_source(str(tmp_path / "a.tar"))) == [("déjà", "yes", ["x", "y"]), ("vu", "no", []), ("x", "y", [])]


def test_columns_rename_the_columns_of_samples(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", [{"dialogue": "d", "summary": "s"}])
    assert read(open_source(str(path), input="dialogue", response="summary")) == [("d", "s", None)]


class TestCut:
    @pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
    def test_a_shard_that_was_cut_is_an_error_or_has_every_sample(self, tmp_path: Path, suffix: str) -> None:
        """Cuts at block borders and at random bytes; only the zeros that pad the last record may be missing."""
        path = write(tmp_path / f"a{suffix}")
        content = path.read_bytes()
        plain = gzip.decompress(content) if suffix == ".tar.gz" else content
        last_byte = len(plain.rstrip(b"\0"))
        needed = -(-last_byte // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE
        cuts = {*range(0, len(content), tarfile.BLOCKSIZE), *random.Random(0).sample(range(len(content)), 200)} - {0}
        for cut in sorted(cuts):
            path.write_bytes(content[:cut])
            if suffix == ".tar" and cut >= needed:
                assert read(open_source(str(path))) == EXPECTED
                continue
            with pytest.raises(SourceError, match=rf"rows/a{suffix}:\d+: .*a{suffix} is cut or broken after byte"):
                read(open_source(str(path)))

    def test_a_gzip_shard_that_was_cut_between_two_gzip_members(self, tmp_path: Path) -> None:
        content = write(tmp_path / "a.tar").read_bytes()
        border = 3 * SAMPLE
        path = tmp_path / "b.tar.gz"
        path.write_bytes(gzip.compress(content[:border]) + gzip.compress(content[border:]))
        assert read(open_source(str(path))) == EXPECTED
        path.write_bytes(gzip.compress(content[:border]))
        with pytest.raises(SourceError, match="the two blocks of zeros at the end of an archive are missing"):
            read(open_source(str(path)))

    def test_a_header_that_was_overwritten(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tar")
        content = bytearray(path.read_bytes())
        content[2 * SAMPLE : 2 * SAMPLE + 100] = b"x" * 100
        path.write_bytes(bytes(content))
        with pytest.raises(SourceError, match=r"rows/a\.tar:1: .* is cut or broken after byte 2,048"):
            read(open_source(str(path)))


class TestForged:
    """Archives that Python's own reader accepts with other files than were written, or reads forever."""

    NAME = "p" * 120 + ".json"

    def archive(self, form: int) -> bytes:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=form) as archive:
            for number in range(2):
                info = tarfile.TarInfo(f"{number}{self.NAME}")
                info.size = len(json.dumps(ROWS[number]))
                archive.addfile(info, io.BytesIO(json.dumps(ROWS[number]).encode()))
        return file.getvalue()

    def assert_broken(self, path: Path, content: bytes, message: str) -> None:
        path.write_bytes(content)
        with pytest.raises(SourceError, match=rf"rows/a\.tar:\d+: .*a\.tar is cut or broken after byte .*{message}"):
            read(open_source(str(path)))

    @pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    def test_long_names_are_read(self, tmp_path: Path, form: int) -> None:
        (tmp_path / "a.tar").write_bytes(self.archive(form))
        assert read(open_source(str(tmp_path / "a.tar"))) == EXPECTED[:2]

    @pytest.mark.parametrize(
        "record", [b"135 path=", b"137 path=", b"000 path=", b"x36 path=", b"136 path:", b"136path=="]
    )
    def test_a_record_that_is_broken(self, tmp_path: Path, record: bytes) -> None:
        """With Python's reader, the file would have a cut name without a suffix, and would be skipped."""
        content = self.archive(tarfile.PAX_FORMAT).replace(b"136 path=", record, 1)
        self.assert_broken(tmp_path / "a.tar", content, "(the record at byte 0 of an extension header|invalid literal)")

    @pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    def test_a_file_that_is_missing_between_two_headers(self, tmp_path: Path, form: int) -> None:
        content, block = self.archive(form), tarfile.BLOCKSIZE
        self.assert_broken(tmp_path / "a.tar", content[: 2 * block] + content[4 * block :], "two headers in a row")
        self.assert_broken(tmp_path / "a.tar", content[: 6 * block] + bytes(2 * block), "extends a missing file")

    @pytest.mark.parametrize("name", ["0.json", "0.jpg", "no_extension"])
    @pytest.mark.parametrize(
        ("size", "message"),
        [
            (-1024, "size of -1024 bytes"),
            (1 << 62, "size of 4611"),
            (1 << 40, "(bytes of a member|zeros at the end of an archive) are missing"),
        ],
    )
    def test_an_impossible_size(self, tmp_path: Path, name: str, size: int, message: str) -> None:
        info = tarfile.TarInfo(name)
        info.size = size
        self.assert_broken(tmp_path / "a.tar", info.tobuf(tarfile.GNU_FORMAT) + tar_of([("1.json", b"{}")]), message)

    def test_a_sparse_file(self, tmp_path: Path) -> None:
        """A few bytes would be read as terabytes of zeros."""
        file = io.BytesIO()
        headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 45)}
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            info = tarfile.TarInfo("0.json")
            info.pax_headers = headers
            archive.addfile(info)
        self.assert_broken(tmp_path / "a.tar", file.getvalue(), "'0.json' is not a file")

    @pytest.mark.parametrize("key", ["path", "size", "GNU.sparse.map"])
    def test_a_global_header_that_sets_names_or_sizes(self, tmp_path: Path, key: str) -> None:
        """A reader that starts after the header would not know them."""
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, pax_headers={key: "7"}) as archive:
            archive.addfile(tarfile.TarInfo("0.json"))
        self.assert_broken(tmp_path / "a.tar", file.getvalue(), f"a global header sets the {key} of all files after it")


class TestTrust:
    """Neither a URL nor a member runs code."""

    def test_pipes_and_other_schemes_are_refused(self, tmp_path: Path) -> None:
        witness = tmp_path / "witness"
        for url in (f"pipe:touch {witness}", f"pipe://touch {witness}", f"ssh://host/{witness}", "reference://a"):
            with pytest.raises(SamsumStreamError):
                open_source(url)
        assert not witness.exists()

    def test_a_pickle_is_not_part_of_a_row(self, tmp_path: Path) -> None:
        class Bomb:
            def __reduce__(self) -> tuple[Any, ...]:
                return subprocess.run, (["touch", str(tmp_path / "witness")],)

        import pickle

        members = [("0.json", json.dumps(ROWS[0]).encode())]
        members += [(f"0.{end}", pickle.dumps(Bomb())) for end in ("pyd", "pickle", "pkl", "pth", "npy", "input.pyd")]
        (tmp_path / "a.tar").write_bytes(tar_of(members))
        assert read(open_source(str(tmp_path / "a.tar"))) == EXPECTED[:1]
        assert not (tmp_path / "witness").exists()

    def test_a_link_is_not_followed(self, tmp_path: Path) -> None:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            info = tarfile.TarInfo("0.json")
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(info)
        (tmp_path / "a.tar").write_bytes(file.getvalue())
        with pytest.raises(SourceError, match="'0.json' is not a file: links and devices are not followed"):
            read(open_source(str(tmp_path / "a.tar")))

    @pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
    def test_a_second_archive_in_one_file_is_an_error(self, tmp_path: Path, suffix: str) -> None:
        one = write(tmp_path / f"a{suffix}").read_bytes()
        (tmp_path / f"b{suffix}").write_bytes(one + one)
        with pytest.raises(SourceError, match="data follows the end of the archive"):
            read(open_source(str(tmp_path / f"b{suffix}")))


class TestBadSamples:
    @pytest.mark.parametrize(
        ("members", "message", "reason"),
        [
            ([("0.json", b"{")], "the member 'json' is not JSON", "not_json"),
            ([("0.json", b'"\xff"')], "the member 'json' is not UTF-8", "not_utf8"),
            ([("0.json", b"[1]")], "the member 'json' must map column names to values", "not_a_row"),
            ([("0.input.txt", b"a")], "field 'response' has no column 'response'", "missing_field"),
            ([("0.json", b'{"input": 1, "response": "x"}')], "field 'input' must be a str", "wrong_type"),
        ],
    )
    def test_the_error_has_the_position(self, tmp_path: Path, members: Any, message: str, reason: str) -> None:
        (tmp_path / "a.tar").write_bytes(tar_of(members))
        with pytest.raises(RowError, match=message) as caught:
            read(open_source(str(tmp_path / "a.tar")))
        assert str(caught.value).startswith("rows/a.tar:0 (epoch 0): ")
        assert caught.value.reason == reason

    def test_two_members_of_one_name_are_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "a.tar").write_bytes(tar_of([("0.json", b"{}"), ("0.json", b"{}")]))
        with pytest.raises(SourceError, match="two members are named '0.json'"):
            read(open_source(str(tmp_path / "a.tar")))

    def test_a_missing_shard_is_an_error(self, tmp_path: Path) -> None:
        write(tmp_path / "shard-0.tar")
        with pytest.raises(SourceError, match=r"there is no file .*shard-1\.tar"):
            open_source(str(tmp_path / "shard-{0..1}.tar"))


def test_a_stream_reads_every_row_once(tmp_path: Path) -> None:
    rows = make_rows(60)
    for number in range(6):
        write(tmp_path / f"{number}.tar", rows[10 * number : 10 * number + 10])
    stream = make_stream(source_config={"method": "webdataset", "kwargs": {"urls": str(tmp_path / "{0..5}.tar")}})
    inputs = [int(example.input_ids[1]) for pack in stream for example in pack.examples]
    assert sorted(inputs) == [int(row["input"]) for row in rows]


class TestNames:
    def read_members(self, tmp_path: Path, *members: tuple[str, bytes], **columns: str) -> list[tuple[str, str, Any]]:
        (tmp_path / "a.tar").write_bytes(tar_of(list(members)))
        return read(open_source(str(tmp_path / "a.tar"), **columns))

    def test_the_case_of_a_suffix_does_not_matter(self, tmp_path: Path) -> None:
        members = [("A.Input.TXT", b"q"), ("A.RESPONSE.txt", b"r"), ("b.JSON", b'{"input": "x", "response": "y"}')]
        assert self.read_members(tmp_path, *members) == [("q", "r", None), ("x", "y", None)]

    def test_a_column_can_have_capitals(self, tmp_path: Path) -> None:
        members = [("a.Question.txt", b"q"), ("a.Answer.txt", b"r")]
        expected = [("q", "r", None)]
        assert self.read_members(tmp_path, *members, input="Question", response="Answer") == expected
        assert self.read_members(tmp_path, *members, input="question", response="answer") == expected

    def test_two_members_that_differ_in_case_are_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="two members are named 'a.JSON', without regard to case"):
            self.read_members(tmp_path, ("a.json", b"{}"), ("a.JSON", b"{}"))

    def test_names_of_other_tools_are_passed_over(self, tmp_path: Path) -> None:
        row = b'{"input": "x", "response": "y"}'
        members = [("._a.json", b"\0"), ("./.DS_Store", b"\0"), ("./sub.1/a.json", row), ("LICENSE", b"MIT")]
        assert self.read_members(tmp_path, *members) == [("x", "y", None)]

    @pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
    def test_marks_and_line_ends_of_other_systems_are_no_text(self, tmp_path: Path, mark: bytes) -> None:
        members = [("0.input.txt", mark + b"a\r\nb"), ("0.response.txt", mark + b"c\nd\r\n")]
        in_json = ("1.json", mark + b'{"input": "x\\r\\n",\r\n "response": "y"}\r\n')
        assert self.read_members(tmp_path, *members, in_json) == [("a\nb", "c\nd\n", None), ("x\r\n", "y", None)]

    @pytest.mark.parametrize("name", ["train.jsonl", "data/part.0.JSONL", "a.ndjson"])
    def test_json_lines_in_a_tar_are_named_with_their_method(self, tmp_path: Path, name: str) -> None:
        lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
        with pytest.raises(SourceError, match="contains JSON lines, .* `method: jsonl` with `path: (.*)`") as caught:
            self.read_members(tmp_path, (name, lines))
        path = re.search("`path: (.*)`", str(caught.value)).group(1)
        if name.endswith(".jsonl") and "/" not in name:
            source = as_source(jsonl(path), name="rows", columns={})
            assert sum(len(block.take(np.arange(block.num_rows))) for block in source.blocks(0, num_rows=9)) == 20

    def test_json_lines_beside_a_sample_are_ignored(self, tmp_path: Path) -> None:
        row = b'{"input": "x", "response": "y"}'
        assert self.read_members(tmp_path, ("a.json", row), ("a.log.jsonl", b"{}\n")) == [("x", "y", None)]
