"""Columns of rows: templates name them, structs contain them, and conversions make them texts."""

import json
from collections.abc import Callable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, ClassVar

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from samsum_stream import ConfigError, Message, Prompt, RowError, SFTStream, SourceError
from samsum_stream.tokenization import load_tokenizer
from tests.config.test_configs_folder import TOP
from tests.streams import write_lines

QUESTIONS = [{"question": f"Which is {n}?", "options": f"A {n}, B {n + 1}", "answer": f"A {n}"} for n in range(8)]
TWO_COLUMNS = {"input_template": "{question}\nOptions: {options}", "response_template": "Answer: {text}"}

Make = Callable[..., SFTStream]


def stream_of(rows: object = None, *, columns: Mapping[str, Any] = {}, **kwargs: Any) -> SFTStream:
    source = kwargs.pop("source", {})
    config = {
        "source_config": {**source, "columns": dict(columns)},
        "prompt_config": {"kwargs": kwargs.pop("prompt", TWO_COLUMNS)},
        "shuffle": False,
        **kwargs,
    }
    return SFTStream.from_config(config, rows=rows, tokenizer=load_tokenizer(str(TOP / "examples/data/tokenizer")))


def texts_of(stream: SFTStream) -> list[str]:
    """The texts of all examples, without bos and eos."""
    decode = stream.tokenizer.decode
    return [decode(example.input_ids, skip_special_tokens=True) for pack in stream for example in pack.examples]


def trained_of(stream: SFTStream) -> list[str]:
    examples = [example for pack in stream for example in pack.examples]
    return [stream.tokenizer.decode(example.labels[example.labels >= 0]) for example in examples]


def sources_of(rows: list[dict[str, Any]], folder: Path) -> dict[str, dict[str, Any]]:
    """The rows in each kind of source, as arguments of `stream_of`."""
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    lines = write_lines(folder / "rows.jsonl", rows)
    return {
        "list": {"rows": rows},
        "callable": {"rows": lambda: iter(rows)},
        "dataset": {"rows": datasets.Dataset.from_list(rows)},
        "transformed": {"rows": datasets.Dataset.from_list(rows).with_transform(dict)},
        "streaming": {"rows": datasets.Dataset.from_list(rows).to_iterable_dataset()},
        "jsonl": {"source": {"method": "jsonl", "kwargs": {"path": str(lines)}}},
        "parquet": {"source": {"method": "parquet", "kwargs": {"path": str(folder / "rows.parquet")}}},
    }


KINDS = ["list", "callable", "dataset", "transformed", "streaming", "jsonl", "parquet"]


class TestTemplates:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_template_names_columns_of_every_source(self, kind: str, tmp_path: Path) -> None:
        stream = stream_of(**sources_of(QUESTIONS, tmp_path)[kind], columns={"response": "answer"})
        expected = [f"{row['question']}\nOptions: {row['options']}\nAnswer: {row['answer']}" for row in QUESTIONS]
        assert texts_of(stream) == expected
        assert [text.strip() for text in trained_of(stream)] == [
            row["answer"] + stream.tokenizer.eos_token for row in QUESTIONS
        ]

    def test_the_model_gets_the_columns_at_inference(self) -> None:
        stream = stream_of(QUESTIONS, columns={"response": "answer"})
        row = {"question": "Q", "options": "O"}
        assert stream.inference_prompt(row) == "Q\nOptions: O\nAnswer:"
        assert stream.inference_ids(row) == stream.tokenizer("Q\nOptions: O\nAnswer:")["input_ids"]
        assert stream.render({**row, "answer": "X"}) == "Q\nOptions: O\nAnswer: X"
        assert stream.render({**row, "response": "X"}) == "Q\nOptions: O\nAnswer: X"
        with pytest.raises(RowError, match="'{options}' has no column 'options'") as error:
            stream.inference_prompt({"question": "Q"})
        assert error.value.field == "options"

    def test_text_and_columns_stand_together_also_blank_and_repeated(self) -> None:
        rows = [{"input": f"i{n}", "topic": topic, "response": "r"} for n, topic in enumerate(["a", "", " ", "b"])]
        stream = stream_of(
            rows, prompt={"input_template": "{topic}: {text} ({topic})", "response_template": "= {text}"}
        )
        assert [stream.render(row) for row in rows] == [
            "a: i0 (a)\n= r",
            ": i1 ()\n= r",
            ": i2 ( )\n= r",
            "b: i3 (b)\n= r",
        ]
        assert texts_of(stream) == [*map(stream.render, rows)]

    def test_the_response_starts_at_its_first_column(self) -> None:
        """The model writes the reason, so that no prompt needs it."""
        prompt = {"response_template": "Reason: {reason}\nAnswer: {text}"}
        stream = stream_of([{"input": "q", "reason": "because", "response": "yes"}], prompt=prompt)
        assert stream.inference_prompt({"input": "q"}) == "q\nReason:"
        assert trained_of(stream) == [f" because\nAnswer: yes{stream.tokenizer.eos_token}"]

    def test_contexts_have_columns_and_their_number(self) -> None:
        prompt = {"context_template": "[{index}] {source}: {text}"}
        row = {"input": "q", "contexts": ["x", "y"], "source": "wiki", "response": "r"}
        assert stream_of([row], prompt=prompt).render(row) == "[0] wiki: x\n[1] wiki: y\nq\nr"

    def test_a_chat_template_gets_the_columns(self) -> None:
        template = (
            "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"
            "{% if add_generation_prompt %}<assistant>{% endif %}"
        )
        chat = {"method": "ChatTemplate", "kwargs": {"template": template}}
        stream = stream_of(QUESTIONS, columns={"response": "answer"}, prompt_format_config=chat)
        assert stream.inference_prompt(QUESTIONS[0]).endswith(
            "<user>Which is 0?\nOptions: A 0, B 1<|eos|><assistant>Answer:"
        )

    def test_special_tokens_of_a_column_are_text(self) -> None:
        stream = stream_of([{"question": "<|eos|>", "options": "O", "answer": "A"}], columns={"response": "answer"})
        (example,) = [example for pack in stream for example in pack.examples]
        assert np.count_nonzero(example.input_ids == stream.tokenizer.eos_token_id) == 1
        assert stream.stats.special_tokens_in_rows == 1

    def test_few_shot_examples_have_the_columns(self) -> None:
        example = {"input": "", "response": "A", "columns": {"question": "Q0", "options": "O0"}}
        stream = stream_of(QUESTIONS, columns={"response": "answer"}, prompt={**TWO_COLUMNS, "examples": [example]})
        assert stream.inference_prompt(QUESTIONS[0]).startswith("Q0\nOptions: O0\nAnswer: A\nWhich is 0?")
        with pytest.raises(ConfigError, match="{options}, and the message has no such column; known: question"):
            Prompt(examples=[Message("", "A", columns={"question": "Q"})], **TWO_COLUMNS)

    def test_truncation_shortens_the_input_and_no_column(self) -> None:
        prompt = {"input_template": "{text} {topic}"}
        rows = [
            {"input": "word " * 50, "topic": "kept", "response": "r"},
            {"input": "a", "topic": "b " * 99, "response": "r"},
        ]
        stream = stream_of(
            rows, prompt=prompt, truncation_config={"method": "input"}, packing_config={"kwargs": {"max_length": 20}}
        )
        (text,) = texts_of(stream)
        assert "kept" in text
        assert text.startswith("word word")
        assert stream.stats.dropped == {"longer_than_max_length": 1}


class TestNames:
    def test_an_index_is_a_number_only_in_contexts(self) -> None:
        row = {"input": "q", "index": "seven", "contexts": ["x"], "response": "r"}
        prompt = {"input_template": "{index} {text}", "context_template": "{index} {text}"}
        assert stream_of([row], prompt=prompt).render(row) == "0 x\nseven q\nr"

    @pytest.mark.parametrize("kind", KINDS)
    def test_an_unknown_name_is_an_error_with_the_known_ones(self, kind: str, tmp_path: Path) -> None:
        prompt = {"input_template": "{question}\n{optoins}"}
        with pytest.raises(SourceError, match=r"names \{optoins\}.*known: .*did you mean \"options\"\?") as error:
            stream_of(**sources_of(QUESTIONS, tmp_path)[kind], columns={"response": "answer"}, prompt=prompt)
        assert "`columns: {optoins: options}`" in str(error.value)

    @pytest.mark.parametrize(
        ("template", "columns", "rendered"),
        [
            ("{question}\n{options}", {}, "Which is 0?\nA 0, B 1\n"),
            ("{question}\n{{optoins}}", {}, "Which is 0?\n{optoins}\n"),
            ("{question}\n{optoins}", {"optoins": "options"}, "Which is 0?\nA 0, B 1\n"),
        ],
    )
    def test_each_remedy_works(self, template: str, columns: dict[str, str], rendered: str) -> None:
        stream = stream_of(QUESTIONS, columns={"response": "answer", **columns}, prompt={"input_template": template})
        assert stream.inference_prompt(QUESTIONS[0]) == rendered

    def test_one_row_without_the_column_is_bad(self) -> None:
        rows = [*QUESTIONS, {"question": "q", "answer": "a"}]
        with pytest.raises(RowError, match=":8 ") as error:
            texts_of(stream_of(rows, columns={"response": "answer"}))
        assert (error.value.field, error.value.reason) == ("options", "missing_field")
        skips = stream_of(rows, columns={"response": "answer"}, fault_config={"on_bad_row": "skip", "max_bad_rows": 1})
        assert len(texts_of(skips)) == len(QUESTIONS)
        assert skips.stats.skipped == {"missing_field": 1}

    def test_a_key_of_columns_needs_a_field_or_a_template(self) -> None:
        with pytest.raises(
            ConfigError, match='columns.optoins: unknown column; .*question, options, text; did you mean "options"'
        ):
            stream_of(QUESTIONS, columns={"response": "answer", "optoins": "options"})
        with pytest.raises(ConfigError, match="nothing reads the input, because the input_template has no {text}"):
            stream_of(QUESTIONS, columns={"response": "answer", "input": "question"})

    def test_conversations_have_no_columns_and_say_so(self) -> None:
        turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
        plain = {"method": "VicunaFormat"}
        prompt = {"input_template": "{topic}: {text}"}
        with pytest.raises(
            ConfigError, match="names {topic}, and conversations have no other columns; write {text} alone"
        ):
            stream_of([{"messages": turns, "topic": "t"}], prompt=prompt, prompt_format_config=plain)
        with pytest.raises(ConfigError, match="rows with history.* become conversations"):
            stream_of([{"input": "q", "response": "a", "history": []}], prompt=prompt, columns={"history": "history"})
        rows = [{"prompt": "q", "completion": "a", "topic": "t"}]
        with pytest.raises(ConfigError, match="write `columns: {input: prompt, response: completion}`"):
            stream_of(rows, prompt=prompt, prompt_format_config=plain)
        remedied = stream_of(rows, prompt=prompt, columns={"input": "prompt", "response": "completion"})
        assert remedied.inference_prompt({"prompt": "q", "topic": "t"}) == "t: q\n"


class TestStructs:
    ROWS: ClassVar[list[dict[str, Any]]] = [
        {"meta": {"prompt": {"text": f"q{n}"}, "id": n}, "answer": f"a{n}"} for n in range(5)
    ]
    COLUMNS: ClassVar[dict[str, Any]] = {"input": "meta.prompt.text", "response": "answer"}
    PROMPT: ClassVar[dict[str, Any]] = {"input_template": "{text} ({meta.id})"}

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_column_lies_in_structs(self, kind: str, tmp_path: Path) -> None:
        stream = stream_of(**sources_of(self.ROWS, tmp_path)[kind], columns=self.COLUMNS, prompt=self.PROMPT)
        rendered = [f"q{n} ({n})\na{n}" for n in range(5)]
        assert texts_of(stream) == rendered
        assert stream.inference_prompt(self.ROWS[1]) == "q1 (1)\n"

    def test_a_column_whose_name_has_dots_comes_first(self) -> None:
        rows = [{"a.b": "whole", "a": {"b": "part"}, "response": "r"}]
        assert stream_of(rows, columns={"input": "a.b"}, prompt={}).render(rows[0]) == "whole\nr"

    @pytest.mark.parametrize("kind", ["list", "dataset", "jsonl", "parquet"])
    def test_a_missing_field_names_the_known_ones(self, kind: str, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match=r"'meta.promt.text'.*known: .*did you mean \"meta.prompt.text\"\?"):
            stream_of(
                **sources_of(self.ROWS, tmp_path)[kind], columns={**self.COLUMNS, "input": "meta.promt.text"}, prompt={}
            )

    def test_a_null_struct_is_a_bad_row(self) -> None:
        with pytest.raises(RowError, match="'input'.* must be a str, got NoneType") as error:
            stream_of([*self.ROWS, {"meta": None, "answer": "a"}], columns=self.COLUMNS, prompt={})
        assert error.value.position.row == 5


class TestConversions:
    @pytest.mark.parametrize(
        ("kind", "value", "text"),
        [
            ("text", "a", "a"),
            ("text", 3, "3"),
            ("text", np.int64(3), "3"),
            ("text", 0.5, "0.5"),
            ("text", True, "true"),
            ("text", date(2026, 1, 31), "2026-01-31"),
            ("text", datetime(2026, 1, 31, 8, 30), "2026-01-31T08:30:00"),
            ("json", ["ä", 1, None], '["ä", 1, null]'),
            ("json", {"at": date(2026, 1, 31)}, '{"at": "2026-01-31"}'),
            ("json", np.array([1, 2]), "[1, 2]"),
            ("json", "a", '"a"'),
        ],
    )
    def test_values_become_texts(self, kind: str, value: object, text: str) -> None:
        rows = [{"input": "i", "response": value}]
        stream = stream_of(rows, columns={"response": {"from": "response", "as": kind}}, prompt={})
        assert stream.render(rows[0]) == f"i\n{text}"

    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            ("text", None),
            ("text", float("nan")),
            ("text", [1]),
            ("json", None),
            ("json", {1, 2}),
            ("json", float("inf")),
        ],
    )
    def test_other_values_are_bad_rows(self, kind: str, value: object) -> None:
        rows = [{"input": "i", "response": "x"}, {"input": "i", "response": value}]
        with pytest.raises(RowError, match="field 'response' must be a ") as error:
            stream_of(rows, columns={"response": {"from": "response", "as": kind}}, prompt={})
        assert (error.value.position.row, error.value.field, error.value.reason) == (1, "response", "wrong_type")

    def test_numbers_in_a_template_are_text_and_lists_need_json(self) -> None:
        rows = [{"n": n, "ok": n > 1, "options": ["a", "b"], "response": "r"} for n in range(3)]
        assert stream_of(rows, prompt={"input_template": "{n} {ok}"}).inference_prompt(rows[2]) == "2 true\n"
        prompt = {"input_template": "{options}"}
        with pytest.raises(RowError, match=r"all of the first 3 rows\); read it as JSON by `columns: ") as error:
            stream_of(rows, prompt=prompt)
        assert "{options: {from: options, as: json}}" in str(error.value)
        columns = {"options": {"from": "options", "as": "json"}}
        assert stream_of(rows, prompt=prompt, columns=columns).inference_prompt(rows[0]) == '["a", "b"]\n'

    def test_a_name_of_a_field_needs_another_name_to_be_converted(self) -> None:
        rows = [{"q": "q", "input": ["a"], "response": "r"}] * 2
        columns = {"input": "q"}
        with pytest.raises(
            RowError, match="write {input_column} in the template and `columns: {input_column: "
        ) as error:
            stream_of(rows, prompt={"input_template": "{text} {input}"}, columns=columns)
        assert "{input_column: {from: input, as: json}}" in str(error.value)
        columns |= {"input_column": {"from": "input", "as": "json"}}
        stream = stream_of(rows, prompt={"input_template": "{text} {input_column}"}, columns=columns)
        assert stream.inference_prompt(rows[0]) == 'q ["a"]\n'

    def test_dates_of_a_template_come_from_parquet(self, tmp_path: Path) -> None:
        days, times = [date(2026, 1, 31)] * 2, [datetime(2026, 1, 31, 8, 30)] * 2
        table = {"day": days, "at": pa.array(times, pa.timestamp("us")), "response": ["r"] * 2}
        pq.write_table(pa.table(table), tmp_path / "rows.parquet")
        source = {"method": "parquet", "kwargs": {"path": str(tmp_path / "rows.parquet")}}
        assert (
            texts_of(stream_of(source=source, prompt={"input_template": "{day} {at}"}))
            == ["2026-01-31 2026-01-31T08:30:00\nr"] * 2
        )

    def test_a_date_that_python_does_not_have_is_a_bad_row(self, tmp_path: Path) -> None:
        table = {"at": pa.array([0, 10**18], pa.timestamp("us")), "response": ["r"] * 2}
        pq.write_table(pa.table(table), tmp_path / "rows.parquet")
        source = {"method": "parquet", "kwargs": {"path": str(tmp_path / "rows.parquet")}}
        with pytest.raises(RowError, match=":1 .*a value cannot be read"):
            stream_of(source=source, prompt={"input_template": "{at}"})

    def test_a_response_of_numbers_names_remedies_that_work(self) -> None:
        rows = [{"input": "i", "response": n} for n in range(3)]
        with pytest.raises(RowError, match="must be a str, got int: 0 .in all of the first 3 rows") as error:
            stream_of(rows, prompt={})
        assert "fix the row" not in str(error.value)
        assert "`columns: {response: {from: response, as: text}}`" in str(error.value)
        stream = stream_of(rows, prompt={}, columns={"response": {"from": "response", "as": "text"}})
        assert stream.render(rows[2]) == "i\n2"

    def test_contexts_are_converted_one_by_one(self) -> None:
        rows = [{"input": "i", "contexts": [1, 2], "response": "r"}, {"input": "i", "contexts": None, "response": "r"}]
        stream = stream_of(rows, columns={"contexts": {"from": "contexts", "as": "text"}}, prompt={})
        assert texts_of(stream) == ["1\n2\ni\nr", "i\nr"]

    def test_only_texts_are_converted(self) -> None:
        with pytest.raises(ConfigError, match="columns.messages: only texts are converted"):
            stream_of([{"messages": []}], columns={"messages": {"from": "messages", "as": "json"}}, prompt={})

    def test_a_conversion_is_checked_with_the_config(self) -> None:
        for column, message in {
            "jsn": 'columns.response.as: must be "text" or "json" or "class_name", or null; got "jsn"',
            "from": "columns.response.from: this key is missing",
            "frm": "columns.response.frm: unknown key; known: from, as",
        }.items():
            written = {"jsn": {"from": "r", "as": "jsn"}, "from": {"as": "text"}, "frm": {"from": "r", "frm": 1}}[
                column
            ]
            with pytest.raises(ConfigError) as error:
                stream_of(QUESTIONS, columns={"response": written})
            assert message in str(error.value)


class TestClassLabels:
    NAMES: ClassVar[list[str]] = ["bad", "good"]
    COLUMNS: ClassVar[dict[str, Any]] = {"input": "text", "response": {"from": "label", "as": "class_name"}}

    @pytest.fixture
    def films(self) -> datasets.Dataset:
        rows = datasets.Dataset.from_list([{"text": f"film {n}", "label": n % 2} for n in range(6)])
        return rows.cast_column("label", datasets.ClassLabel(names=self.NAMES))

    def test_the_response_is_the_name(self, films: datasets.Dataset, tmp_path: Path) -> None:
        films.to_parquet(tmp_path / "films.parquet")
        films.save_to_disk(tmp_path / "saved")
        places = [
            {"rows": films},
            {"rows": films.to_iterable_dataset()},
            {"rows": films.select([0, 1, 2, 3, 4, 5])},
            {"source": {"method": "parquet", "kwargs": {"path": str(tmp_path / "films.parquet")}}},
            {"source": {"method": "load_from_disk", "kwargs": {"dataset_path": str(tmp_path / "saved")}}},
        ]
        for place in places:
            stream = stream_of(**place, columns=self.COLUMNS, prompt={})
            assert texts_of(stream) == [f"film {n}\n{self.NAMES[n % 2]}" for n in range(6)]
            assert (
                stream.render({"text": "film", "label": 1})
                == stream.render({"text": "film", "label": "good"})
                == "film\ngood"
            )

    def test_a_template_writes_the_name(self, films: datasets.Dataset) -> None:
        stream = stream_of(films, columns={"response": "text"}, prompt={"input_template": "A {label} film."})
        assert texts_of(stream)[1].startswith("A good film.\nfilm 1")
        assert stream.inference_prompt({"label": 0}) == "A bad film.\n"

    def test_without_a_conversion_the_error_names_it(self, films: datasets.Dataset) -> None:
        with pytest.raises(RowError, match="class labels by `columns: {response: {from: label, as: class_name}}`"):
            stream_of(films, columns={"input": "text", "response": "label"}, prompt={})

    def test_a_source_without_labels_and_a_missing_label_are_errors(self, films: datasets.Dataset) -> None:
        rows = [{"text": "film", "label": 1}]
        with pytest.raises(SourceError, match="'label' has no class labels.*write `as: text`"):
            stream_of(rows, columns=self.COLUMNS, prompt={})
        as_text = {**self.COLUMNS, "response": {"from": "label", "as": "text"}}
        assert stream_of(rows, columns=as_text, prompt={}).render(rows[0]) == "film\n1"
        unlabelled = datasets.Dataset.from_list(
            [{"text": "a", "label": 0}, {"text": "b", "label": -1}], features=films.features
        )
        with pytest.raises(RowError, match="the number or the name of a class label, got int: -1"):
            stream_of(unlabelled, columns=self.COLUMNS, prompt={})

    def test_files_with_other_names_are_refused(self, films: datasets.Dataset, tmp_path: Path) -> None:
        films.to_parquet(tmp_path / "a.parquet")
        films.cast_column("label", datasets.ClassLabel(names=["good", "bad"])).to_parquet(tmp_path / "b.parquet")
        source = {"method": "parquet", "kwargs": {"path": str(tmp_path / "*.parquet")}}
        with pytest.raises(SourceError, match="must have the same names of class labels"):
            stream_of(source=source, columns=self.COLUMNS, prompt={})


def test_templates_columns_and_conversions_change_the_fingerprint() -> None:
    rows = [{"input": "i", "a": "x", "b": "x", "response": "r"}]

    def state_of(columns: Mapping[str, Any] = {}, **prompt: Any) -> dict[str, Any]:
        return stream_of(rows, columns=columns, prompt=prompt).loader().state_dict()["fingerprint"]

    columns = [
        {},
        {"response": "a"},
        {"response": {"from": "a", "as": "text"}},
        {"response": {"from": "a", "as": "json"}},
    ]
    states = [state_of(each) for each in columns]
    states += [state_of(input_template="{text} {a}"), state_of(input_template="{text} {b}"), state_of(strip=False)]
    assert len({json.dumps(state) for state in states}) == len(states)


def test_a_repeated_key_is_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"input": "a", "response": "b"}\n{"input": "a", "input": "c", "response": "b"}\n')
    with pytest.raises(RowError, match="line 2: .*the key 'input' occurs twice") as error:
        stream_of(source={"method": "jsonl", "kwargs": {"path": str(path)}}, prompt={})
    assert error.value.reason == "not_json"
