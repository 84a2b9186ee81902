"""`map` and `filter`: functions of the user change and select rows, and an error names them and the row."""

import csv
import importlib
import json
import linecache
import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from samsum_stream import ConfigError, RowError, SFTStream, SourceError, StateError, TrustError
from tests import row_functions
from tests.resuming import SOURCES, assert_resumes_exactly, in_process, take
from tests.start_methods import START_METHODS
from tests.stream.test_where import FILES, rows_with_columns, source_of
from tests.streams import EOS, make_rows, make_stream, rows_of_batches, rows_of_packs

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

MODULE = "tests.row_functions"
COLUMNS = {"input": "question", "response": "answer"}
MAPPED = {"map": f"{MODULE}::renamed", "columns": COLUMNS}


def name(function: str) -> str:
    return f"{MODULE}::{function}"


def section_stream(rows: object = None, *, trust: list[str] | None = None, **section: Any) -> SFTStream:
    rows = rows_with_columns(30) if rows is None else rows
    config = {"fault_config": section.pop("fault_config", {}), "lanes": 1}
    return make_stream(rows, source_config=section, trust=[MODULE] if trust is None else trust, **config)


def function_stream(kind: str, folder: Path, keys: dict[str, Any], **changes: Any) -> SFTStream:
    """A stream over a kind of source, with `keys` in the section of each of its sources."""
    config = source_of(kind, folder, {})
    section = config["source_config"]
    sections = [section]
    if kind == "mixture":
        children = section["kwargs"]["sources"]
        sections = [children["parquet"], *children["inner"]["kwargs"]["sources"].values()]
    for each in sections:
        each.pop("where")
        each.update(keys)
    trust = [MODULE, *config.pop("trust", [])]
    return make_stream(**config, **{"trust": trust, "lanes": 1, **changes})


def ids_of(stream: SFTStream) -> list[list[int]]:
    return [example.input_ids.tolist() for pack in stream for example in pack.examples]


@pytest.mark.parametrize("kind", [*SOURCES, *FILES])
class TestEverySource:
    def test_filter_keeps_the_rows_of_a_python_filter(self, kind: str, tmp_path: Path) -> None:
        stream = function_stream(kind, tmp_path, {"filter": name("is_even")})
        rows = rows_of_batches(stream.loader())
        assert set(rows) == {*range(0, 120, 2)}
        if kind != "mixture":
            assert (len(rows), stream.stats.rows, stream.stats.dropped) == (60, 120, {"filter": 60})

    def test_map_gives_the_rows_that_are_validated(self, kind: str, tmp_path: Path) -> None:
        keys = {**MAPPED, "filter": name("has_question")}
        stream = function_stream(kind, tmp_path, keys, packing_config={"method": "none"})
        lengths = {}
        for pack in stream:
            (example,) = pack.examples
            words = example.input_ids[1:-1].tolist()  # the input, the response, and the input again
            assert words == [words[0]] * len(words)
            lengths[words[0] - 10] = len(words)
        assert lengths == {i: 3 + i * 7 % 11 for i in range(0, 120, 2)}

    def test_resumes_exactly(self, kind: str, tmp_path: Path) -> None:
        def loader() -> Any:
            keys = {**MAPPED, "where": {"topic": ["a", "b"]}, "filter": name("has_question")}
            return function_stream(kind, tmp_path, keys, lanes=2, epochs=None, buffer_size=5).loader()

        assert_resumes_exactly(loader, num_steps=8)

    def test_every_topology_gives_the_same_batches(self, kind: str, tmp_path: Path) -> None:
        def batches(ranks: int, workers: int) -> list[Any]:
            stream = function_stream(kind, tmp_path, {"filter": name("is_even")}, lanes=4, epochs=None)
            loaders = [in_process(stream.loader(rank=r, world_size=ranks, num_workers=workers)) for r in range(ranks)]
            parts = [[batch["input_ids"].tolist() for batch in take(loader, 8 // ranks)] for loader in loaders]
            return [batch for step in zip(*parts, strict=True) for batch in step]

        assert batches(1, 0) == batches(2, 1) == batches(2, 2)


@pytest.mark.parametrize("kind", ["list", "gzip jsonl", "parquet"])
def test_resumes_exactly_with_workers(kind: str, tmp_path: Path) -> None:
    def loader() -> Any:
        stream = function_stream(kind, tmp_path, MAPPED, lanes=4, epochs=1, buffer_size=5)
        return in_process(stream.loader(num_workers=2))

    assert_resumes_exactly(loader, num_steps=8)


@START_METHODS
def test_processes_get_the_functions(method: str, tmp_path: Path) -> None:
    stream = function_stream("jsonl", tmp_path, {**MAPPED, "filter": name("has_question")}, lanes=4)
    loader = stream.loader(num_workers=2, multiprocessing_context=method)
    assert sorted(rows_of_batches(loader)) == [*range(0, 120, 2)]


class TestRows:
    @pytest.mark.parametrize("kind", ["list", "dataset", "parquet", "tars", "streaming"])
    def test_a_function_sees_all_columns(self, kind: str, tmp_path: Path) -> None:
        stream = function_stream(kind, tmp_path, {"filter": name("everything")})
        assert len(rows_of_batches(stream.loader())) == 120

    def test_rows_in_memory_do_not_change(self) -> None:
        rows = [{**row, "parts": ["33", "34"]} for row in make_rows(8)]
        before = json.dumps(rows)
        stream = section_stream(rows, map=name("doubled"))
        for _ in range(2):
            assert {tuple(example.input_ids.tolist()[2:-1]) for pack in stream for example in pack.examples} == {
                (33, 34, 33, 34)
            }
        assert json.dumps(rows) == before

    def test_where_sees_the_raw_row(self) -> None:
        stream = section_stream(**MAPPED, where={"score": {"min": 20}}, filter=name("has_question"))
        assert sorted(rows_of_packs(stream)) == [*range(20, 30, 2)]
        assert stream.stats.dropped == {"where": 20, "filter": 5}

    def test_filter_sees_the_row_that_map_returned(self) -> None:
        with pytest.raises(RowError, match="`filter: tests.row_functions::is_even` failed: KeyError: 'score'"):
            section_stream(**MAPPED, filter=name("is_even"))

    def test_map_can_change_the_form_of_the_rows(self) -> None:
        rows = rows_with_columns(12)
        config = {"prompt_format_config": {"method": "ChatMLFormat"}, "trust": [MODULE], "lanes": 1}
        stream = make_stream(rows, source_config={"map": name("as_conversation")}, **config)
        plain = make_stream([row_functions.as_conversation(row) for row in rows], **config)
        assert ids_of(stream) == ids_of(plain)

    def test_files_must_have_the_same_columns(self, tmp_path: Path) -> None:
        rows = rows_with_columns(10)
        for number, part in enumerate(([{**r, "meta": 1} for r in rows], make_rows(10))):
            pq.write_table(pa.Table.from_pylist(part), tmp_path / f"{number}.parquet")
            with (tmp_path / f"{number}.csv").open("w") as file:
                writer = csv.DictWriter(file, part[0])
                writer.writeheader()
                writer.writerows(part)
        for method in ("csv", "parquet"):
            section = {"method": method, "kwargs": {"path": str(tmp_path / f"*.{method}")}}
            make_stream(source_config=section)
            with pytest.raises(SourceError, match=r"the same columns, because a function .* 'meta', 'score', 'topic'"):
                make_stream(source_config={**section, "filter": name("is_even")}, trust=[MODULE])

    def test_class_labels_keep_their_names_after_map(self) -> None:
        features = datasets.Features(
            {"input": datasets.Value("string"), "label": datasets.ClassLabel(names=["33", "34"])}
        )
        table = datasets.Dataset.from_list([{"input": "20", "label": 1}], features)
        section = {"columns": {"response": {"from": "label", "as": "class_name"}}, "filter": name("keeps_label")}
        section |= {"map": name("unchanged")}
        assert ids_of(section_stream(table, **section)) == [[1, 20, 34, EOS]]


class TestInference:
    def test_the_row_of_a_caller_is_mapped(self) -> None:
        stream = section_stream(**MAPPED)
        row = rows_with_columns(30)[12]
        (trained,) = [e for pack in stream for e in pack.examples if e.position.row == 12]
        prompt = stream.inference_ids(row)
        assert trained.input_ids.tolist()[: len(prompt)] == prompt
        assert stream.render(row) == stream.inference_prompt(row) + f"{row['response']} {row['input']}"
        assert stream.inference_prompt({"input": row["input"]}) == stream.inference_prompt(row)

    def test_conditions_and_filters_do_not_matter(self) -> None:
        stream = section_stream(where={"score": {"min": 20}}, filter=name("is_even"))
        assert stream.inference_prompt({"input": "17"}) == "17\n"

    def test_a_row_that_map_cannot_read(self) -> None:
        stream = section_stream(**MAPPED)
        with pytest.raises(RowError, match=r"`map: .*::renamed` failed: KeyError: 'input'.*pass a row"):
            stream.inference_prompt({"question": "17"})

    def test_a_slice_keeps_the_function(self) -> None:
        stream = section_stream(**MAPPED, max_rows=20)
        assert stream.inference_prompt({"input": "17"}) == "17\n"


class TestBadRows:
    @pytest.mark.parametrize(
        ("section", "reason", "message"),
        [
            ({"map": "fails_at_7"}, "map_failed", r"`map: tests.row_functions::fails_at_7` failed: ValueError: seven"),
            (
                {"filter": "keeps_but_fails_at_7"},
                "filter_failed",
                r"`filter: tests.row_functions::keeps_but_fails_at_7` failed: ValueError: seven",
            ),
            ({"map": "blank_at_7"}, "empty_response", r"after `map: .*::blank_at_7`, field 'response' must be a str"),
        ],
    )
    def test_a_function_fails_for_a_row(self, section: dict[str, str], reason: str, message: str) -> None:
        section = {key: name(function) for key, function in section.items()}
        expected = rf"rows:7 \(epoch 0\): {message}.*; fix .*skip bad rows by fault_config"
        with pytest.raises(RowError, match=expected) as e:
            section_stream(**section)
        assert e.value.reason == reason
        stream = section_stream(**section, fault_config={"on_bad_row": "skip", "max_bad_rows": 1})
        assert sorted(rows_of_packs(stream)) == [*range(7), *range(8, 30)]
        assert stream.stats.skipped == {reason: 1}
        assert [(bad.position.row, bad.reason) for bad in stream.stats.quarantine] == [(7, reason)]

    @pytest.mark.parametrize(
        ("section", "message"),
        [
            ({"filter": "number"}, r"`filter: .*::number` must return True or False, got int: 0"),
            ({"filter": "nothing"}, r"`filter: .*::nothing` must return True or False, got NoneType: None"),
            ({"map": "number"}, r"`map: .*::number` must return a dict, got int: 0"),
            ({"map": "nothing"}, r"`map: .*::nothing` must return a dict, got NoneType: None"),
        ],
    )
    @pytest.mark.parametrize("faults", [{}, {"on_bad_row": "skip", "max_bad_rows": 0.5}])
    def test_results_of_other_types(self, section: dict[str, str], message: str, faults: dict[str, Any]) -> None:
        section = {key: name(function) for key, function in section.items()}
        with pytest.raises(RowError, match=rf"rows:0 \(epoch 0\): {message}"):
            section_stream(**section, fault_config=faults)

    def test_map_gives_no_field(self) -> None:
        message = r"config: source_config.columns: rows:0 .*: after `map: .*::renamed`, field 'input' has no column"
        with pytest.raises(SourceError, match=message):
            section_stream(map=name("renamed"))

    def test_workers_report_the_row(self, tmp_path: Path) -> None:
        rows = rows_with_columns(80)
        rows[70]["score"] = 7
        rows[7]["score"] = 70
        stream = section_stream(rows, map=name("fails_at_7"))
        with pytest.raises(RowError, match=r"rows:70 \(epoch 0\): `map: .*ValueError: seven"):
            list(stream.loader(num_workers=1))


class TestErrors:
    @pytest.mark.parametrize("key", ["map", "filter"])
    def test_code_of_a_config_must_be_trusted(self, key: str) -> None:
        with pytest.raises(TrustError, match=rf'config: source_config.{key}: "{name("is_even")}" would import'):
            section_stream(**{key: name("is_even")}, trust=[])

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("is_even", r'config: source_config.filter: no function is named "is_even" \(code of your own: path'),
            (f"{MODULE}::is_evenn", r'has no is_evenn; .*did you mean "is_even"'),
            (f"{MODULE}::NOT_A_FUNCTION", "is of type int; name a function"),
            (3, "must be non-empty text, or null; got 3"),
        ],
    )
    def test_names_of_functions(self, given: Any, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            section_stream(filter=given)

    def test_a_ready_source_has_no_columns_to_select(self) -> None:
        source = section_stream().pipeline.source
        for section in ({"filter": name("is_even")}, {"map": name("renamed")}, {"where": {"score": 3}}):
            with pytest.raises(ConfigError, match="a ready source gives validated rows.*leave `where`, `map`"):
                section_stream(source, **section)

    @pytest.mark.parametrize("key", ["map", "filter"])
    def test_a_state_names_the_function(self, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        function = {"map": "unchanged", "filter": "is_even"}[key]
        state = section_stream().loader().state_dict()
        with pytest.raises(StateError, match=rf"{key} was None and is tests.row_functions::{function} [0-9a-f]{{12}}"):
            section_stream(**{key: name(function)}).loader().load_state_dict(state)

    @pytest.mark.parametrize("body", ["return True", "return bool(row)"])
    def test_a_state_of_other_code(self, body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(tmp_path)
        states = []
        for number, text in enumerate((body, body, "return row['score'] >= 0")):
            module = tmp_path / f"changing_{len(body)}.py"
            module.write_text(f"def keep(row):\n    {text}\n" + "\n" * number)
            monkeypatch.delitem(sys.modules, module.stem, raising=False)
            linecache.clearcache()
            importlib.invalidate_caches()
            stream = section_stream(filter=f"{module.stem}::keep", trust=[module.stem])
            loader = stream.loader()
            states.append(loader.state_dict())
            if number < 2:
                loader.load_state_dict(states[0])
            else:
                with pytest.raises(StateError, match=r"filter was changing_\d+::keep .* and is changing_\d+::keep"):
                    loader.load_state_dict(states[0])
