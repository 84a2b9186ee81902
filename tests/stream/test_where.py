"""`where`: a stream trains on exactly the rows that match, whatever their source is and whoever reads them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samsum_stream import ConfigError, RowError, SFTStream, SourceError, StateError
from samsum_stream.stream.stream import load_config
from tests.resuming import SOURCES, assert_resumes_exactly, in_process, make_source, take
from tests.start_methods import START_METHODS
from tests.streams import make_rows, make_stream, rows_of_batches, rows_of_packs, write_lines

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

NUM_ROWS = 120
WHERE = {"topic": ["a", "b"], "meta.depth": {"not": 3}, "score": {"min": 10, "max": 100}}
FILES = ("json", "csv", "saved", "pandas", "trusted function")
KINDS = (*SOURCES, *FILES)


def rows_with_columns(count: int = NUM_ROWS) -> list[dict[str, Any]]:
    extra = ({"topic": "abc"[i % 3], "score": i, "meta": {"depth": i % 5}} for i in range(count))
    return [{**row, **columns} for row, columns in zip(make_rows(count), extra, strict=True)]


def is_kept(row: dict[str, Any]) -> bool:
    return row["topic"] in ("a", "b") and row["meta"]["depth"] != 3 and 10 <= row["score"] <= 100


def kept_rows(rows: list[dict[str, Any]]) -> list[int]:
    return [index for index, row in enumerate(rows) if is_kept(row)]


def rows_of_this_module() -> list[dict[str, Any]]:
    return rows_with_columns()


def source_of(kind: str, folder: Path, where: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `make_stream` for 120 rows of which `where` keeps some."""
    rows = rows_with_columns()
    if kind in FILES:
        return _file(kind, rows, folder, where)
    source = make_source(kind, rows, folder)
    section = source.pop("source_config", {})
    if kind == "mixture":
        section["kwargs"]["stopping_strategy"] = "all_exhausted"
        children = section["kwargs"]["sources"]
        for child in (children["parquet"], *children["inner"]["kwargs"]["sources"].values()):
            child["where"] = where
        return {"source_config": section}
    return {**source, "source_config": {**section, "where": where}}


def _file(kind: str, rows: list[dict[str, Any]], folder: Path, where: dict[str, Any]) -> dict[str, Any]:
    if kind == "pandas":
        return {"rows": pd.DataFrame(rows), "source_config": {"where": where}}
    if kind == "trusted function":
        section = {"method": "tests.stream.test_where::rows_of_this_module"}
        return {"source_config": {**section, "where": where}, "trust": ["tests.stream.test_where"]}
    if kind == "saved":
        datasets.Dataset.from_list(rows).save_to_disk(str(folder / "saved"))
        section = {"method": "load_from_disk", "kwargs": {"dataset_path": str(folder / "saved")}}
    elif kind == "json":
        (folder / "rows.json").write_text(json.dumps(rows))
        section = {"method": "json", "kwargs": {"path": str(folder / "rows.json")}}
    else:  # every cell of a table of text is a text, and a name with a dot is a column
        flat = [{**row, "meta.depth": row["meta"]["depth"], "score": f"{row['score']:03}"} for row in rows]
        pd.DataFrame(flat).drop(columns="meta").to_csv(folder / "rows.csv", index=False)
        section = {"method": "csv", "kwargs": {"path": str(folder / "rows.csv")}}
        where = {"topic": ["a", "b"], "meta.depth": {"not": "3"}, "score": {"min": "010", "max": "100"}}
    return {"source_config": {**section, "where": where}}


def where_stream(kind: str, folder: Path, **changes: Any) -> SFTStream:
    source = source_of(kind, folder, WHERE)
    prompt = {"kwargs": {"response_template": "{text}"}}
    return make_stream(**source, **{"prompt_config": prompt, "lanes": 1, **changes})


@pytest.mark.parametrize("kind", KINDS)
class TestEverySource:
    def test_trains_on_the_rows_that_match(self, kind: str, tmp_path: Path) -> None:
        stream = where_stream(kind, tmp_path)
        batches = rows_of_batches(stream.loader())
        expected = kept_rows(rows_with_columns())
        assert set(batches) == set(expected)
        if kind != "mixture":
            assert sorted(batches) == expected
            assert stream.stats.rows == NUM_ROWS
            assert stream.stats.dropped == {"where": NUM_ROWS - len(expected)}
        assert stream.stats.skipped == {}

    def test_a_misspelt_column_is_an_error(self, kind: str, tmp_path: Path) -> None:
        source = source_of(kind, tmp_path, WHERE)
        text = json.dumps(source["source_config"]).replace('"topic"', '"topics"')
        source["source_config"] = json.loads(text)
        with pytest.raises(SourceError, match=r"where.*'topics', and there is no such column.*mean \"topic\"\?"):
            make_stream(**source)

    def test_resumes_exactly(self, kind: str, tmp_path: Path) -> None:
        def loader() -> Any:
            return where_stream(kind, tmp_path, lanes=2, epochs=None, buffer_size=5).loader()

        assert_resumes_exactly(loader, num_steps=14)

    def test_every_topology_gives_the_same_batches(self, kind: str, tmp_path: Path) -> None:
        def batches(ranks: int, workers: int) -> list[Any]:
            stream = where_stream(kind, tmp_path, lanes=4, epochs=None)
            loaders = [in_process(stream.loader(rank=r, world_size=ranks, num_workers=workers)) for r in range(ranks)]
            parts = [[batch["input_ids"].tolist() for batch in take(loader, 12 // ranks)] for loader in loaders]
            return [batch for step in zip(*parts, strict=True) for batch in step]

        assert batches(1, 0) == batches(2, 1) == batches(2, 2) == batches(1, 4)


@pytest.mark.parametrize("epochs", [1, None])
@pytest.mark.parametrize("kind", ["list", "gzip jsonl", "parquet", "mixture"])
def test_resumes_exactly_with_workers(kind: str, epochs: int | None, tmp_path: Path) -> None:
    def loader() -> Any:
        stream = where_stream(kind, tmp_path, lanes=4, epochs=epochs, buffer_size=5)
        return in_process(stream.loader(num_workers=2))

    assert_resumes_exactly(loader, num_steps=12)


@START_METHODS
def test_processes_select_the_same_rows(method: str, tmp_path: Path) -> None:
    stream = where_stream("gzip jsonl", tmp_path, lanes=4)
    loader = stream.loader(num_workers=2, multiprocessing_context=method)
    assert sorted(rows_of_batches(loader)) == kept_rows(rows_with_columns())
    assert stream.stats.dropped["where"] == NUM_ROWS - len(kept_rows(rows_with_columns()))


VALUES = {"topic": st.sampled_from("abc"), "score": st.integers(0, 40), "meta.depth": st.integers(0, 4)}


@st.composite
def some_where(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True, min_size=1))
    of_name: Callable[[str], st.SearchStrategy[Any]] = lambda name: st.one_of(  # noqa: E731
        VALUES[name],
        st.lists(VALUES[name], min_size=1, max_size=3),
        VALUES[name].map(lambda value: {"min": value}),
        VALUES[name].map(lambda value: {"max": value}),
        VALUES[name].map(lambda value: {"not": value}),
    )
    return {name: draw(of_name(name)) for name in names}


def matches(row: dict[str, Any], where: dict[str, Any]) -> bool:
    values = {"topic": row["topic"], "score": row["score"], "meta.depth": row["meta"]["depth"]}
    for name, condition in where.items():
        value = values[name]
        if not isinstance(condition, dict):
            is_match = value in (condition if isinstance(condition, list) else [condition])
        else:
            bounds = value >= condition.get("min", value) and value <= condition.get("max", value)
            is_match = bounds and value != condition.get("not")
        if not is_match:
            return False
    return True


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(some_where(), st.sampled_from(["list", "dataset"]), st.integers(1, 3))
def test_the_rows_are_those_of_a_python_filter(where: dict[str, Any], kind: str, lanes: int) -> None:
    rows = rows_with_columns(41)
    expected = [index for index, row in enumerate(rows) if matches(row, where)]
    source = rows if kind == "list" else datasets.Dataset.from_list(rows)
    config: dict[str, Any] = {"source_config": {"where": where}, "lanes": 1, "shuffle": lanes == 3}
    if not expected:
        with pytest.raises(SourceError, match=r"no row to train on: its last 41 rows were all left out \(41 where\)"):
            make_stream(source, **config)
        return
    assert sorted(rows_of_packs(make_stream(source, **config))) == expected


class TestRowsWithoutTheColumn:
    def test_null_and_a_missing_column_do_not_match(self) -> None:
        rows = rows_with_columns(9)
        rows[1]["topic"] = None
        del rows[3]["topic"]
        del rows[4]["meta"]
        rows[5]["meta"] = None
        rows[6]["meta"] = {}
        where = {"topic": {"not": "zzz"}, "meta.depth": {"min": 0}}
        assert sorted(rows_of_packs(make_stream(rows, source_config={"where": where}, lanes=1))) == [0, 2, 7, 8]

    def test_a_column_that_none_of_the_first_rows_has(self) -> None:
        rows = rows_with_columns(80)
        message = r"source_config.where.meta.dept: rows: `where` names 'meta.dept'.*\(in all of the first 64 rows\)"
        with pytest.raises(SourceError, match=message):
            make_stream(rows, source_config={"where": {"meta.dept": 3}})
        with pytest.raises(SourceError, match=message):
            make_stream(rows, source_config={"where": {"topic": "a", "meta.dept": 3}})

    def test_a_field_of_a_struct_of_parquet(self, tmp_path: Path) -> None:
        source = make_source("parquet", rows_with_columns(), tmp_path)["source_config"]
        with pytest.raises(SourceError, match=r"source_config.where.meta.dept: .* names 'meta.dept'"):
            make_stream(source_config={**source, "where": {"meta.dept": 3}})


MIXED_ROWS = [{**row, "score": "7" if i == 7 else i} for i, row in enumerate(make_rows(20))]


class TestBadRows:
    def test_a_value_of_another_type_ends_the_stream(self) -> None:
        message = (
            r"rows:7 \(epoch 0\): column 'score' must be a number, which `where` compares it with \(\{min: 3\}\), got "
            r"str: '7'; fix the row or leave it out, skip bad rows by fault_config, .*`filter: path.to.module::name`"
        )
        with pytest.raises(RowError, match=message) as caught:
            make_stream(MIXED_ROWS, source_config={"where": {"score": {"min": 3}}})
        assert (caught.value.field, caught.value.reason) == ("score", "wrong_type")

    def test_it_is_skipped_if_the_config_says_so(self) -> None:
        faults = {"on_bad_row": "skip", "max_bad_rows": 1}
        config = {"source_config": {"where": {"score": {"min": 3}}}, "fault_config": faults, "lanes": 1}
        stream = make_stream(MIXED_ROWS, **config)
        assert sorted(rows_of_packs(stream)) == [3, 4, 5, 6, *range(8, 20)]
        assert stream.stats.skipped == {"wrong_type": 1}
        assert stream.stats.dropped == {"where": 3}
        assert [bad.position.row for bad in stream.stats.quarantine] == [7]

    def test_a_row_that_an_earlier_condition_leaves_out_is_not_compared(self) -> None:
        where = {"input": {"not": "17"}, "score": {"min": 3}}
        assert len(rows_of_packs(make_stream(MIXED_ROWS, source_config={"where": where}, lanes=1))) == 16

    def test_a_row_that_is_left_out_need_not_be_valid(self) -> None:
        rows = rows_with_columns(30)
        rows[4] |= {"response": None}
        rows[5] |= {"input": 3}
        stream = make_stream(rows, source_config={"where": {"score": {"min": 6}}}, lanes=1)
        assert sorted(rows_of_packs(stream)) == [*range(6, 30)]

    def test_a_whole_column_of_another_type(self) -> None:
        rows = [{**row, "score": str(i)} for i, row in enumerate(make_rows(20))]
        with pytest.raises(RowError, match=r"got str: '0' \(in all of the first 20 rows\); write the condition for"):
            make_stream(rows, source_config={"where": {"score": {"min": 3}}})

    def test_a_row_that_is_no_mapping(self) -> None:
        with pytest.raises(RowError, match=r"rows:3 .*a row must map column names to values, got int: 5"):
            make_stream([*rows_with_columns(3), 5], source_config={"where": {"topic": "a"}})


class TestFirstRows:
    @pytest.mark.parametrize("kind", ["list", "gzip jsonl", "tars", "parquet", "generator from a callable"])
    def test_all_first_rows_may_be_left_out(self, kind: str, tmp_path: Path) -> None:
        source = make_source(kind, rows_with_columns(), tmp_path)
        section = {**source.pop("source_config", {}), "where": {"score": {"min": 100}}}
        stream = make_stream(**source, source_config=section, lanes=1)
        assert sorted(rows_of_batches(stream.loader())) == [*range(100, 120)]

    def test_the_form_of_the_rows_is_that_of_the_selected_rows(self) -> None:
        chats = [{"messages": [{"role": "user", "content": "20"}, {"role": "assistant", "content": "21"}], "score": 1}]
        rows = [*({**row, "score": 0} for row in make_rows(200)), *chats]
        config = {"prompt_format_config": {"method": "ChatMLFormat"}, "source_config": {"where": {"score": 1}}}
        (pack,) = make_stream(rows, **config, lanes=1)
        assert [example.position.row for example in pack.examples] == [200]

    def test_an_iterator_is_not_consumed(self) -> None:
        stream = make_stream(iter(rows_with_columns()), source_config={"where": {"score": {"min": 100}}}, lanes=1)
        assert sorted(rows_of_packs(stream)) == [*range(100, 120)]

    @pytest.mark.parametrize("kind", SOURCES)
    def test_no_row_is_selected(self, kind: str, tmp_path: Path) -> None:
        source = source_of(kind, tmp_path, {"score": {"min": 500}})
        with pytest.raises(
            SourceError, match=r"no row to train on.* were all left out \(\d+ where\); check `where` and"
        ):
            make_stream(**source)


class TestWithOtherKeys:
    def test_rows_are_counted_before_the_selection(self) -> None:
        section = {"slice": [20, 80], "max_rows": 30, "where": {"topic": "a"}}
        stream = make_stream(rows_with_columns(), source_config=section, lanes=1)
        assert sorted(rows_of_packs(stream)) == [*range(21, 50, 3)]
        assert stream.stats.rows == 30

    @pytest.mark.parametrize("kind", ["list", "gzip jsonl", "parquet", "mixture"])
    def test_the_held_out_rows_are_selected_too(self, kind: str, tmp_path: Path) -> None:
        stream = where_stream(kind, tmp_path, holdout=0.3)
        held_out, training = rows_of_packs(stream.holdout()), rows_of_packs(stream)
        if kind == "mixture":
            return
        both = [*rows_of_batches(stream.holdout().loader()), *rows_of_batches(stream.loader())]
        assert sorted(both) == kept_rows(rows_with_columns())
        assert held_out
        assert training

    def test_a_holdout_with_settings_keeps_the_conditions(self) -> None:
        config = {"source_config": {"where": {"score": {"min": 10}}}, "holdout": 0.5, "lanes": 1}
        stream = make_stream(rows_with_columns(40), **config)
        assert min(rows_of_packs(stream.holdout(packing_config={"kwargs": {"max_length": 64}}))) >= 10

    def test_the_shares_of_a_mixture_are_those_of_kept_rows(self, tmp_path: Path) -> None:
        path = write_lines(tmp_path / "rows.jsonl", rows_with_columns())
        child = {"method": "jsonl", "kwargs": {"path": str(path)}}
        sources = {"some": {**child, "where": {"topic": "a"}}, "all": child}
        section = {"method": "mixture", "kwargs": {"sources": sources}}
        stream = make_stream(source_config=section, epochs=None, lanes=1)
        list(take(stream.loader(), 20))
        children = stream.stats.children
        assert abs(children["some"].examples - children["all"].examples) <= 3
        assert children["some"].rows > 2 * children["all"].rows

    def test_a_lane_without_a_selected_row_is_an_error(self) -> None:
        stream = make_stream(rows_with_columns(), source_config={"where": {"score": [3, 50, 77]}}, lanes=8)
        with pytest.raises(SourceError, match="a lane has 0 examples in an epoch.*lower lanes"):
            next(iter(stream.loader()))


class TestTables:
    def test_class_labels_by_name_and_number(self, tmp_path: Path) -> None:
        features = datasets.Features(
            {"input": datasets.Value("string"), "response": datasets.Value("string")}
            | {"label": datasets.ClassLabel(names=["no", "yes"])}
        )
        table = datasets.Dataset.from_list([{**r, "label": i % 2} for i, r in enumerate(make_rows(20))], features)
        table.to_parquet(tmp_path / "rows.parquet")
        parquet = {"method": "parquet", "kwargs": {"path": str(tmp_path / "rows.parquet")}}
        for label in ("yes", 1, {"not": ["no"]}):
            for config in ({"rows": table}, {"rows": table.to_iterable_dataset()}, {"source_config": parquet}):
                section = {**config.pop("source_config", {}), "where": {"label": label}}
                stream = make_stream(**config, source_config=section, lanes=1)
                assert sorted(rows_of_batches(stream.loader())) == [*range(1, 20, 2)]
        with pytest.raises(SourceError, match=r"where.label: no class label is named \"yess\".*did you mean"):
            make_stream(table, source_config={"where": {"label": "yess"}})

    def test_dates_of_parquet(self, tmp_path: Path) -> None:
        days = pd.date_range("2026-01-01", periods=20, freq="D").date
        pq.write_table(
            pa.Table.from_pylist([{**row, "day": day} for row, day in zip(make_rows(20), days, strict=True)]),
            tmp_path / "rows.parquet",
        )
        section = {"method": "parquet", "kwargs": {"path": str(tmp_path / "rows.parquet")}}
        where = {"day": {"min": "2026-01-05", "max": "2026-01-08"}}
        stream = make_stream(source_config={**section, "where": where}, lanes=1)
        assert sorted(rows_of_batches(stream.loader())) == [4, 5, 6, 7]

    def test_a_condition_may_read_a_column_of_the_fields(self) -> None:
        stream = make_stream(
            datasets.Dataset.from_list(make_rows(20)), source_config={"where": {"input": "15"}}, lanes=1
        )
        assert rows_of_packs(stream) == [5]


class TestErrors:
    @pytest.mark.parametrize("given", [None, [], [None], {}, {"min": 3, "max": 2}, {"min": "a", "max": 2}, [[1]]])
    def test_a_condition_is_checked(self, given: object) -> None:
        with pytest.raises(ConfigError, match=r"config: source_config.where.topic: (must be|a condition|no value|min)"):
            make_stream(make_rows(9), source_config={"where": {"topic": given}})

    def test_unknown_keys_of_a_condition(self) -> None:
        with pytest.raises(ConfigError, match=r'source_config.where.topic.mn: unknown key; .*did you mean "min"\?'):
            make_stream(make_rows(9), source_config={"where": {"topic": {"mn": 3}}})

    def test_an_unquoted_date(self, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        path.write_text("source_config: {method: jsonl, where: {day: {min: 2026-01-01}}}")
        with pytest.raises(
            ConfigError, match=r"source_config.where.day.min: .*as a date; write \"2026-01-01\" in quotes"
        ):
            load_config(path)

    @pytest.mark.parametrize("key", ["where", "map", "filter"])
    def test_a_mixture_has_no_selection_of_its_own(self, key: str, tmp_path: Path) -> None:
        child = {"method": "jsonl", "kwargs": {"path": str(write_lines(tmp_path / "a.jsonl", make_rows(9)))}}
        section = {"method": "mixture", "kwargs": {"sources": {"a": child}}}
        value = {"topic": "a"} if key == "where" else "a::b"
        with pytest.raises(
            ConfigError, match=f"a mixture has no {key} of its own; write {key} beside the method of each"
        ):
            make_stream(source_config={**section, key: value})

    @pytest.mark.parametrize("where", [{"topic": "a"}, {"topic": ["a", "b"]}, {"score": {"min": 1}}])
    def test_a_state_of_other_conditions_names_the_key(self, where: dict[str, Any]) -> None:
        state = make_stream(rows_with_columns()).loader().state_dict()
        with pytest.raises(StateError, match=r"where was None and is (topic|score)="):
            make_stream(rows_with_columns(), source_config={"where": where}).loader().load_state_dict(state)
