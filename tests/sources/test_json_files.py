"""JSON files that are read as a whole: arrays, arrays in an object, and objects one after another."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samsum_stream import RowError, SourceError
from samsum_stream.sources import SOURCES, IndexedSource, as_source
from samsum_stream.sources.faults import SKIP
from tests.sources.formats import EXPECTED, ROWS, lines_of, pairs_of


def open_json(path: object, **kwargs: Any) -> IndexedSource:
    source = as_source(SOURCES["json"](path=path, **kwargs), name="rows", columns={})
    assert isinstance(source, IndexedSource)
    return source


def written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


FORMS = {
    "array": json.dumps(ROWS),
    "indented array": json.dumps(ROWS, indent=4, ensure_ascii=False),
    "array with a row per line": "[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n",
    "objects over several lines": "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "lines": lines_of(ROWS).decode(),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(tmp_path: Path, form: str, encoding: str) -> None:
    assert pairs_of(open_json(written(tmp_path / "a.json", FORMS[form].encode(encoding)))) == EXPECTED


def test_a_field_names_the_array_in_an_object(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", json.dumps({"version": 1, "data": ROWS}).encode())
    assert pairs_of(open_json(path, field="data")) == EXPECTED
    with pytest.raises(SourceError, match='`field: dta` must name an array in one object; .*did you mean "data"'):
        open_json(path, field="dta")
    with pytest.raises(SourceError, match="`field: version` must name an array"):
        open_json(path, field="version")
    with pytest.raises(SourceError, match="`field: data` must name an array"):
        open_json(written(tmp_path / "b.json", FORMS["array"].encode()), field="data")


def test_rows_of_several_files_have_their_positions(tmp_path: Path) -> None:
    files = [written(tmp_path / f"{number}.json", FORMS["array"].encode()) for number in range(2)]
    source = open_json(files)
    assert source.shards == (("0.json", 20), ("1.json", 20))
    order = np.array([25, 3, 39, 0])
    rows = source.take(order)
    assert rows.content.responses == [(EXPECTED * 2)[index][1] for index in order]
    assert (rows.shards.tolist(), rows.rows.tolist()) == ([1, 0, 1, 0], [5, 3, 19, 0])
    assert pairs_of(pickle.loads(pickle.dumps(source))) == EXPECTED * 2


@pytest.mark.parametrize(
    ("element", "message", "reason"),
    [
        (b'["a"]', "a row must map column names to values, got list", "not_a_row"),
        (b"null", "a row must map column names to values, got NoneType", "not_a_row"),
        (b'{"input": "a"}', "field 'response' has no column 'response'", "missing_field"),
        (b'{"input": "a", "response": "\xff"}', "the line is not UTF-8", "not_utf8"),
        (rb'{"input": "a", "response": "\ud800"}', "text without lone surrogates", "not_unicode"),
        (b'{"input": "a", "response": 5}', "field 'response' must be a str, got int: 5", "wrong_type"),
    ],
)
def test_a_bad_element_has_its_position_and_can_be_skipped(
    tmp_path: Path, element: bytes, message: str, reason: str
) -> None:
    good = json.dumps(ROWS[0]).encode()
    source = open_json(written(tmp_path / "a.json", b"[" + b",".join([good, element, good]) + b"]"))
    with pytest.raises(RowError) as caught:
        source.take(np.arange(3))
    assert str(caught.value).startswith("rows/a.json:1 (epoch 0): ")
    assert message in str(caught.value)
    assert caught.value.reason == reason
    rows = SKIP.take(source.take, np.arange(3))
    assert (len(rows), len(rows.skipped)) == (2, 1)


def test_a_cut_anywhere_is_an_error(tmp_path: Path) -> None:
    whole = FORMS["indented array"].encode()
    for size in range(1, len(whole), 3):
        with pytest.raises(SourceError, match=r"a\.json is not JSON, or is cut"):
            open_json(written(tmp_path / "a.json", whole[:size]))


@pytest.mark.parametrize("end", [b"]", b"x", b", {}"])
def test_more_after_an_array_is_an_error(tmp_path: Path, end: bytes) -> None:
    with pytest.raises(SourceError, match="is not JSON, or is cut"):
        open_json(written(tmp_path / "a.json", FORMS["array"].encode() + end))
