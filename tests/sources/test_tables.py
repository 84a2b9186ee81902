"""Tables of other libraries as `rows=`, and the types of columns that their writers choose for text."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, Image, Value

from samsum_stream import RowError, SourceError
from samsum_stream.sources import as_source
from samsum_stream.sources.parquet_files import parquet
from tests.resuming import assert_resumes_exactly
from tests.sources.formats import EXPECTED, ROWS, pairs_of, rows_of
from tests.streams import make_rows, make_stream, rows_of_batches

TABLE = pa.Table.from_pylist(ROWS)
INPUTS, RESPONSES = ([row[field] for row in ROWS] for field in ("input", "response"))


def as_type(values: list[Any], kind: pa.DataType) -> pa.Array:
    """An array of texts, or of lists of texts, with a type of Arrow."""
    is_bytes = "binary" in str(kind)

    def stored(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: stored(item) for key, item in value.items()}
        if isinstance(value, list):
            return [stored(item) for item in value]
        return value.encode() if is_bytes and isinstance(value, str) else value

    return pa.array([stored(value) for value in values], kind)


def dictionary_of(kind: pa.DataType) -> pa.DataType:
    return pa.dictionary(pa.int32(), kind)


TEXTS = {
    "string": pa.string(), "large_string": pa.large_string(), "string_view": pa.string_view(),
    "binary": pa.binary(), "large_binary": pa.large_binary(), "binary_view": pa.binary_view(),
    "dictionary": dictionary_of(pa.string()), "large dictionary": dictionary_of(pa.large_string()),
    "dictionary of binary": dictionary_of(pa.binary()),
}  # fmt: skip
LISTS = {
    "list": pa.list_, "large list": pa.large_list, "fixed list": lambda kind: pa.list_(kind, 2),
}  # fmt: skip
each_text = pytest.mark.parametrize("text", TEXTS)


def sources_of(table: pa.Table, folder: Path) -> dict[str, Any]:
    """The table as rows, as a dataset, in several chunks, and as a Parquet file if Arrow can write it."""
    rows = {
        "table": table,
        "dataset": Dataset(table),
        "chunks": pa.concat_tables([table.slice(0, 5), table.slice(5)]),
    }
    if "view" not in str(table.schema.field(0).type) or not pa.types.is_nested(table.schema.field(0).type):
        pq.write_table(table, folder / "rows.parquet")
        rows["parquet"] = parquet(str(folder / "rows.parquet"))
    return {name: as_source(value, name="rows", columns={}) for name, value in rows.items()}


@each_text
def test_every_type_of_text_is_read(tmp_path: Path, text: str) -> None:
    table = pa.table({"input": as_type(INPUTS, TEXTS[text]), "response": as_type(RESPONSES, TEXTS[text])})
    for source in sources_of(table, tmp_path).values():
        assert pairs_of(source) == EXPECTED


@each_text
@pytest.mark.parametrize("of", LISTS)
def test_every_type_of_a_list_of_texts_is_read(tmp_path: Path, text: str, of: str) -> None:
    contexts = [[f"one {number}", "déjà"] for number in range(20)]
    table = TABLE.append_column("contexts", as_type(contexts, LISTS[of](TEXTS[text])))
    for source in sources_of(table, tmp_path).values():
        assert [texts for rows in rows_of(source) for texts in rows.content.contexts or []] == contexts


@each_text
def test_every_type_of_a_list_of_structs_is_read(tmp_path: Path, text: str) -> None:
    if "dictionary" in text:
        pytest.skip("Arrow makes no dictionaries in structs from Python values")
    turns = [[{"role": "user", "content": x}, {"role": "assistant", "content": y}] for x, y in EXPECTED]
    kind = pa.list_(pa.struct([("role", TEXTS[text]), ("content", TEXTS[text])]))
    for source in sources_of(pa.table({"messages": as_type(turns, kind)}), tmp_path).values():
        conversations = [conversation for rows in rows_of(source) for conversation in rows.content.conversations]
        assert [tuple(message["content"] for message in c.messages) for c in conversations] == EXPECTED


def test_bytes_that_are_not_text_are_a_bad_row(tmp_path: Path) -> None:
    table = pa.table({"input": pa.array([b"a", b"\xff", b"c"]), "response": ["x"] * 3})
    for source in sources_of(table, tmp_path).values():
        assert source.first_block(3).take(np.array([0, 2])).content.inputs == ["a", "c"]
        with pytest.raises(RowError, match=r":1 \(epoch 0\): a text is not UTF-8") as caught:
            source.first_block(3).take(np.arange(3))
        assert caught.value.reason == "not_utf8"


def test_the_bytes_of_an_image_are_no_text() -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    file = io.BytesIO()
    image.new("L", (1, 1)).save(file, "png")
    table = pa.table({"input": pa.array([{"bytes": file.getvalue(), "path": None}]), "response": ["x"]})
    dataset = Dataset(table).cast(Features({"input": Image(), "response": Value("string")}))
    with pytest.raises(RowError, match="field 'input' must be a str, got PngImageFile"):
        pairs_of(as_source(dataset, name="rows", columns={}))


def test_lists_as_views_keep_their_texts(tmp_path: Path) -> None:
    contexts = [["a", "b"], ["c"]] * 10
    table = TABLE.append_column("contexts", pa.array(contexts, pa.list_view(pa.string())))
    source = as_source(table, name="rows", columns={})
    assert source.first_block(20).take(np.arange(20)).content.contexts == contexts
    views = table.set_column(2, "contexts", pa.array(contexts, pa.list_view(pa.string_view())))
    with pytest.raises(SourceError, match="column 'contexts' holds list_view<"):
        as_source(views, name="rows", columns={})


def pandas_frame() -> Any:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    return pandas.DataFrame({"response": RESPONSES, "any": [object()] * 20, "input": INPUTS}, index=range(100, 120))


def polars_frame() -> Any:
    polars = pytest.importorskip("polars", reason="polars is not installed")
    return polars.DataFrame({"input": polars.Series(INPUTS, dtype=polars.Categorical), "response": RESPONSES})


def duckdb_relation() -> Any:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    return duckdb.from_arrow(TABLE)


FRAMES = {
    "pyarrow": lambda: TABLE,
    "batch": lambda: TABLE.to_batches()[0],
    "reader": lambda: TABLE.to_reader(),
    "pandas": pandas_frame,
    "polars": polars_frame,
    "duckdb": duckdb_relation,
}


@pytest.mark.parametrize("library", FRAMES)
def test_a_table_is_a_source_of_rows(library: str) -> None:
    source = as_source(FRAMES[library](), name="rows", columns={})
    assert source.num_rows == 20
    assert pairs_of(source) == EXPECTED
    assert str(source.position(0, 7, 0)) == "rows:7 (epoch 0)"


@pytest.mark.parametrize("library", ["pyarrow", "pandas"])
def test_a_function_can_return_a_table(library: str) -> None:
    assert pairs_of(as_source(FRAMES[library], name="rows", columns={})) == EXPECTED


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stream_over_a_table_resumes_exactly(num_workers: int) -> None:
    table = pa.Table.from_pylist(make_rows(60))
    stream = make_stream(rows=table, lanes=4, epochs=1)
    assert_resumes_exactly(lambda: stream.loader(num_workers=num_workers), num_steps=12)
    assert sorted(rows_of_batches(stream.loader(num_workers=num_workers))) == list(range(60))


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        (TABLE, {"input": "question"}, "field 'input' has no column 'question' .*known: input, response"),
        (TABLE.slice(0, 0), {}, "the table has no rows"),
        (pa.table({"input": [1.5], "response": [b"x"]}).select(["response"]), {}, "known: response"),
        (pa.table({"input": [{"a": "x"}], "response": ["x"]}), {}, "column 'input' holds struct<"),
        (pa.table([["a"], ["b"], ["c"]], names=["input", "response", "input"]), {}, "2 columns are named 'input'"),
        (pa.array(["x"]), {}, "Arrow cannot read the StringArray"),
    ],
)
def test_a_table_that_cannot_be_read_is_an_error(rows: Any, columns: dict[str, str], message: str) -> None:
    with pytest.raises(SourceError, match=f"rows: .*{message}"):
        as_source(rows, name="rows", columns=columns)


def test_a_frame_with_values_of_several_types_is_an_error() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame({"input": ["a", 1], "response": ["x", "y"]})
    with pytest.raises(SourceError, match="Arrow cannot read the DataFrame .*give each column values of one type"):
        as_source(frame, name="rows", columns={})
    missing = pandas.DataFrame({"input": ["a", None], "response": ["x", "y"]})
    with pytest.raises(RowError, match="rows:1 .*field 'input' must be a str, got NoneType"):
        pairs_of(as_source(missing, name="rows", columns={}))


def test_a_lazy_frame_says_how_to_compute_it() -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed")
    with pytest.raises(SourceError, match=r"must not be a LazyFrame, which is not computed; pass `\.collect\(\)`"):
        as_source(polars.LazyFrame(ROWS), name="rows", columns={})


def test_a_dataset_is_read_by_its_own_source() -> None:
    assert type(as_source(Dataset.from_list(ROWS), name="rows", columns={})).__name__ == "TableSource"


def test_a_table_in_a_worker_of_its_own_is_a_copy() -> None:
    source = pickle.loads(pickle.dumps(as_source(TABLE, name="rows", columns={})))
    assert pairs_of(source) == EXPECTED
