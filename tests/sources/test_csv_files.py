"""CSV and TSV with a header: every cell is a text, and a row of another width is bad."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samsum_stream import ConfigError, RowError, SourceError
from samsum_stream.sources import SOURCES, IndexedSource, as_source
from samsum_stream.sources.faults import SKIP
from tests.sources.formats import EXPECTED, ROWS, pairs_of, table_of


def open_table(
    path: Path | list[str], method: str = "csv", *, columns: dict[str, str] | None = None, **kwargs: Any
) -> IndexedSource:
    source = as_source(
        SOURCES[method](path=path if isinstance(path, list) else str(path), **kwargs),
        name="rows",
        columns=columns or {},
    )
    assert isinstance(source, IndexedSource)
    return source


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_rows_of_several_files_have_their_positions_and_lines(tmp_path: Path) -> None:
    files = [written(tmp_path / f"{number}.csv", table_of(ROWS)) for number in range(2)]
    source = open_table([str(file) for file in files])
    assert source.shards == (("0.csv", 20), ("1.csv", 20))
    assert pairs_of(source) == EXPECTED * 2
    order = np.array([25, 3, 39, 0])
    assert source.take(order).content.responses == [(EXPECTED * 2)[index][1] for index in order]
    assert source.take(order).rows.tolist() == [5, 3, 19, 0]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_any_line_end_and_unicode_encoding_is_read(tmp_path: Path, end: str, encoding: str) -> None:
    """Excel writes CSV with a byte order mark, and Unicode text as UTF-16."""
    content = table_of(ROWS, end=end).decode().encode(encoding)
    assert pairs_of(open_table(written(tmp_path / "a.csv", content))) == EXPECTED


def test_cells_stay_texts(tmp_path: Path) -> None:
    cells = [("0012", "1e5"), ("NULL", "nan"), ("true", "2020-01-01"), ("", " x "), ("a,b", 'c"d'), ("e\nf", "x\r\ny")]
    content = table_of([{"input": first, "response": second} for first, second in cells])
    assert pairs_of(open_table(written(tmp_path / "a.csv", content))) == cells


def test_a_cell_longer_than_the_limit_of_the_csv_module_is_read(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    text = "x" * 300_000
    assert pairs_of(open_table(written(tmp_path / "a.csv", f"input,response\na,{text}\n".encode()))) == [("a", text)]
    assert csv.field_size_limit() == limit


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    content = b"\n\ninput,response\n\na,b\n\n\nc,d\n\n"
    assert pairs_of(open_table(written(tmp_path / "a.csv", content))) == [("a", "b"), ("c", "d")]


@pytest.mark.parametrize(
    ("row", "problem", "reason"),
    [
        (b"a,b,c", "the row has 3 cells, and the header has 2", "not_a_row"),
        (b"a", "the row has 1 cells, and the header has 2", "not_a_row"),
        (b"\xe9,b", "a text is not UTF-8", "not_utf8"),
        (b"a,  ", "field 'response' must be a str that is not blank", "empty_response"),
    ],
)
def test_a_bad_row_has_its_position_and_can_be_skipped(tmp_path: Path, row: bytes, problem: str, reason: str) -> None:
    content = b'input,response\n"x\ny",z\n' + row + b"\nu,v\n"
    source = open_table(written(tmp_path / "a.csv", content))
    with pytest.raises(RowError) as caught:
        source.take(np.arange(3))
    assert str(caught.value).startswith("rows/a.csv:1 (epoch 0): line 4: ")
    assert problem in str(caught.value)
    assert caught.value.reason == reason
    rows = SKIP.take(source.take, np.arange(3))
    assert (rows.content.inputs, len(rows.skipped)) == (["x\ny", "u"], 1)


@pytest.mark.parametrize("cut", [b'a,"b', b'a,"b\nc,d\ne,f'])
def test_a_cell_that_was_cut_is_an_error(tmp_path: Path, cut: bytes) -> None:
    with pytest.raises(SourceError, match=r"a\.csv cannot be read as a table \(line \d: unexpected end of data\)"):
        open_table(written(tmp_path / "a.csv", b"input,response\nx,y\n" + cut))


def test_a_last_line_without_an_end_is_read_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = open_table(written(tmp_path / "a.csv", b"input,response\nx,y\na,b"))
    assert pairs_of(source) == [("x", "y"), ("a", "b")]
    assert f"the last line of {tmp_path / 'a.csv'} has no end, so the file may be cut" in caplog.text


def test_double_quotes_in_the_text_need_a_key(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", b'input\tresponse\n"Hi" he said\tb\na\t"b\n')
    with pytest.raises(SourceError, match=r"\(line 2: .*quotes that are part of the text: .*`quotes: false`"):
        open_table(path, "tsv")
    assert pairs_of(open_table(path, "tsv", quotes=False)) == [('"Hi" he said', "b"), ("a", '"b')]


@pytest.mark.parametrize(
    ("delimiter", "remedy"), [(";", 'delimiter: ";"'), ("\t", "`method: tsv`"), ("|", 'delimiter: "|"')]
)
def test_another_delimiter_is_an_error_that_names_it(tmp_path: Path, delimiter: str, remedy: str) -> None:
    path = written(tmp_path / "a.csv", table_of([{"input": "a", "response": "b"}], delimiter=delimiter))
    with pytest.raises(SourceError, match="the header is one cell") as caught:
        open_table(path)
    assert remedy in str(caught.value)
    assert pairs_of(open_table(path, delimiter=delimiter)) == [("a", "b")]


@pytest.mark.parametrize("delimiter", ["", ", ", 5])
def test_a_delimiter_is_one_character(tmp_path: Path, delimiter: Any) -> None:
    with pytest.raises(ConfigError, match="`delimiter` must be one character"):
        open_table(written(tmp_path / "a.csv", table_of(ROWS)), delimiter=delimiter)


def test_columns_are_matched_in_each_file(tmp_path: Path) -> None:
    one = written(tmp_path / "a.csv", b"q,a,id\nx,y,1\n")
    two = written(tmp_path / "b.csv", b"id,a,q\n2,v,u\n")
    names = {"input": "q", "response": "a"}
    assert pairs_of(open_table([str(one), str(two)], columns=names)) == [("x", "y"), ("u", "v")]
    with pytest.raises(SourceError, match="field 'input' has no column 'question' to come from; known: q, a, id"):
        open_table(one, columns={"input": "question"})
    written(two, b"q,a,a\n1,2,3\n")
    with pytest.raises(SourceError, match=r"b\.csv: 2 columns are named 'a'"):
        open_table([str(one), str(two)], columns=names)
    written(two, b"q,b\n1,2\n")
    with pytest.raises(SourceError, match=r"b\.csv: field 'response' has no column 'a'"):
        open_table([str(one), str(two)], columns=names)


def test_a_header_without_columns_of_a_form_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="field 'input' has no column 'input' to come from; known: x, y"):
        open_table(written(tmp_path / "a.csv", b"x,y\n1,2\n"))
