"""Children of a mixture with tasks of their own: each child gives the examples of a stream over this child alone."""

import copy
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from samsum_stream import ConfigError, SamsumStreamError, SFTStream, StateError, parse_config
from samsum_stream.cli import app
from samsum_stream.inspection.bench.bench import measure
from samsum_stream.loader.loader import StreamLoader
from tests.conftest import SMALL_TOKENIZER
from tests.resuming import assert_resumes_exactly, in_process
from tests.streams import write_lines

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

NUM_ROWS = 40
TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}"
    "{% if message.role == 'assistant' %}<|eos|>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
SHARED = {
    "base_model": str(SMALL_TOKENIZER),
    "prompt_config": {"kwargs": {"system_message": "Summarize.", "response_template": "Summary: {text}"}},
    "prompt_format_config": {"method": "UserAssistantFormat"},
    "truncation_config": {"method": "drop"},
    "packing_config": {"kwargs": {"max_length": 64}},
    "lanes": 2,
    "batch_size": 2,
    "epochs": 1,
}
OWN: dict[str, dict[str, Any]] = {
    "summaries": {},
    "quiz": {
        "columns": {"input": "question", "response": "answer"},
        "prompt_config": {"kwargs": {"input_template": "{text} ({topic})", "response_template": "Answer: {text}"}},
        "prompt_format_config": {"method": "DollyFormat"},
        "truncation_config": {"method": "right"},
    },
    "chats": {
        "prompt_format_config": {"method": "ChatTemplate", "kwargs": {"template": TEMPLATE}},
        "conversation_config": {"roles": {"customer": "user", "agent": "assistant"}},
        "loss_config": {"turns": "last"},
        "truncation_config": {"method": "turns"},
    },
    "texts": {"columns": {"text": "text"}, "truncation_config": {"method": "split"}},
    "code": {
        "prompt_config": {"kwargs": {"strip": False, "response_template": "{text}"}},
        "loss_config": {"prompts": True},
    },
}


def words(number: int, row: int) -> str:
    return " ".join(f"{row}x{index}" for index in range(number))


def rows_of(child: str) -> list[dict[str, Any]]:
    return [_row(child, row) for row in range(NUM_ROWS)]


def _row(child: str, row: int) -> dict[str, Any]:
    number = row * row % 13 + 1
    if child == "quiz":
        return {"question": words(number, row), "topic": f"topic {row % 3}", "answer": words(number // 2 + 1, row)}
    if child == "chats":
        turns = [("customer", words(2, row)), ("agent", words(number // 3 + 1, row))] * (row % 4 + 1)
        return {"messages": [{"role": role, "content": content} for role, content in turns]}
    if child == "texts":
        return {"text": words(3 * number, row)}
    return {"input": f"  {words(number, row)}\n", "response": f"    {words(2, row)}\n"}


def mixture(folder: Path, *, children: Mapping[str, dict[str, Any]] = OWN, **changes: Any) -> dict[str, Any]:
    sources = {
        child: {"method": "jsonl", "kwargs": {"path": str(path_of(folder, child))}, **own}
        for child, own in children.items()
    }
    kwargs = {"sources": sources, "stopping_strategy": "all_exhausted"}
    return copy.deepcopy({**SHARED, "source_config": {"method": "mixture", "kwargs": kwargs}, **changes})


def run(command: str, folder: Path, *options: str) -> str:
    """The words that a command prints for a mixture."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(mixture(folder, lanes="auto"), sort_keys=False))
    result = CliRunner().invoke(app, [command, str(path), *options])
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def path_of(folder: Path, child: str) -> Path:
    path = folder / f"{child}.jsonl"
    return path if path.exists() else write_lines(path, rows_of(child))


def alone(folder: Path, child: str, **changes: Any) -> dict[str, Any]:
    own = dict(OWN[child])
    columns = {"columns": own.pop("columns")} if "columns" in own else {}
    source = {"method": "jsonl", "kwargs": {"path": str(path_of(folder, child))}, **columns}
    return copy.deepcopy({**SHARED, **own, "source_config": source, **changes})


Example = tuple[int, int, list[int], list[tuple[int, int]]]


def examples(stream: SFTStream) -> dict[str, list[Example]]:
    """The different examples of each source, by row: ids and trained spans."""
    found: dict[str, dict[tuple[int, int], Example]] = {}
    for pack in stream:
        for example in pack.examples:
            position = example.position
            key = position.row, position.part
            spans = [tuple(map(int, span)) for span in example.spans]
            found.setdefault(position.source, {})[key] = (*key, example.input_ids.tolist(), spans)
    return {source: [of_source[key] for key in sorted(of_source)] for source, of_source in found.items()}


@pytest.mark.parametrize("backend", ["hf", "auto"])
def test_each_child_gives_the_examples_of_a_stream_over_it_alone(tmp_path: Path, backend: str) -> None:
    section = {"tokenizer_config": {"backend": backend}}
    together = examples(SFTStream.from_config(mixture(tmp_path, **section)))
    assert together.keys() == OWN.keys()
    for child in OWN:
        (expected,) = examples(SFTStream.from_config(alone(tmp_path, child, **section))).values()
        assert together[child] == expected
        assert len(expected) > NUM_ROWS // 3


def test_the_tasks_give_different_examples(tmp_path: Path) -> None:
    stream = SFTStream.from_config(mixture(tmp_path, epochs=2))
    decode = stream.tokenizer.decode
    first = {child: of_child[1] for child, of_child in examples(stream).items()}
    texts = {child: decode(ids) for child, (_, _, ids, _) in first.items()}
    trained = {child: [decode(ids[a:b]) for a, b in spans] for child, (_, _, ids, spans) in first.items()}
    assert "(topic 1)" in texts["quiz"]
    assert "### Instruction" in texts["quiz"]
    assert "Summarize." in texts["summaries"]
    assert "assistant: " in texts["chats"]
    assert len(trained["chats"]) == 1
    assert len(texts["texts"]) > 0
    assert "Summar" not in texts["texts"]
    assert trained["code"] == [texts["code"]]
    assert "  1x0 1x1\n" in texts["code"]
    assert texts["code"].endswith("    1x0 1x1\n<|eos|>")


def test_the_sections_of_a_mixture_within_a_mixture_are_those_of_its_children(tmp_path: Path) -> None:
    outer = mixture(tmp_path, children={"summaries": {}})
    inner = mixture(tmp_path, children={"quiz": OWN["quiz"], "code": {}})["source_config"]
    inner |= {key: OWN["code"][key] for key in ("prompt_config", "loss_config")}
    outer["source_config"]["kwargs"]["sources"]["inner"] = inner
    stream = SFTStream.from_config(outer)
    together = examples(stream)
    assert together.keys() == {"summaries", "quiz", "code"}
    assert list(stream.tasks) == ["summaries", "inner/quiz", "inner/code"]
    (code,) = examples(SFTStream.from_config(alone(tmp_path, "code"))).values()
    assert together["code"] == code
    own = {**OWN["quiz"], "loss_config": OWN["code"]["loss_config"]}
    columns = own.pop("columns")
    config = alone(tmp_path, "quiz") | own
    config["source_config"]["columns"] = columns
    (quiz,) = examples(SFTStream.from_config(config)).values()
    assert together["quiz"] == quiz


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("layout", ["packed", "padding_free"])
def test_restored_at_every_step(tmp_path: Path, workers: int, layout: str) -> None:
    config = mixture(tmp_path, epochs=None, collator_config={"method": layout})

    def loader() -> StreamLoader:
        return in_process(SFTStream.from_config(config).loader(num_workers=workers))

    assert_resumes_exactly(loader, num_steps=12)


def test_batches_of_worker_processes_are_those_of_this_process(tmp_path: Path) -> None:
    config = mixture(tmp_path)
    one, two = (list(SFTStream.from_config(config).loader(num_workers=workers)) for workers in (0, 2))
    assert len(one) == len(two) > 3
    assert all(np.array_equal(a["input_ids"], b["input_ids"]) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(
    ("child", "section", "field"),
    [
        ("quiz", {"prompt_config": {"kwargs": {"input_template": "{text}: {topic}"}}}, "prompt"),
        ("quiz", {"prompt_format_config": {"method": "VicunaFormat"}}, "format"),
        ("quiz", {"truncation_config": {"method": "input"}}, "truncation"),
        ("chats", {"loss_config": {"turns": "all"}}, "loss"),
        (
            "chats",
            {"conversation_config": {"roles": OWN["chats"]["conversation_config"]["roles"], "system": "drop"}},
            "conversation",
        ),
        (
            "chats",
            {"prompt_format_config": {"method": "ChatTemplate", "kwargs": {"template": TEMPLATE + "{# #}"}}},
            "chat_template",
        ),
        ("texts", {"truncation_config": {"method": "split", "kwargs": {"overlap": 2}}}, "truncation"),
        ("summaries", {"loss_config": {"prompts": True}}, "loss"),
    ],
)
def test_a_state_of_another_task_of_one_child_is_refused(
    tmp_path: Path, child: str, section: dict[str, Any], field: str
) -> None:
    state = SFTStream.from_config(mixture(tmp_path)).loader().state_dict()
    children = {**OWN, child: {**OWN[child], **section}}
    other = SFTStream.from_config(mixture(tmp_path, children=children)).loader()
    with pytest.raises(StateError, match=field):
        other.load_state_dict(state)


def test_a_section_that_repeats_that_of_the_stream_changes_nothing(tmp_path: Path) -> None:
    children = {"summaries": {}, "quiz": OWN["quiz"]}
    repeated = {**children, "summaries": {"prompt_config": SHARED["prompt_config"]}}
    state = SFTStream.from_config(mixture(tmp_path, children=children)).loader().state_dict()
    other = SFTStream.from_config(mixture(tmp_path, children=repeated))
    other.loader().load_state_dict(state)
    assert len({id(task) for task in other.tasks.values()}) == 2


class TestInference:
    @pytest.mark.parametrize("child", [child for child in OWN if child != "texts"])
    def test_the_prompt_of_a_child_is_the_start_of_its_examples(self, tmp_path: Path, child: str) -> None:
        stream = SFTStream.from_config(mixture(tmp_path))
        single = SFTStream.from_config(alone(tmp_path, child))
        for row in rows_of(child)[:5]:
            assert stream.inference_prompt(row, source=child) == single.inference_prompt(row)
            assert stream.inference_ids(row, source=child) == single.inference_ids(row)
            assert stream.render(row, source=child) == single.render(row)

    @pytest.mark.parametrize("call", ["render", "inference_prompt", "inference_ids"])
    def test_a_row_needs_the_name_of_its_child(self, tmp_path: Path, call: str) -> None:
        stream = SFTStream.from_config(mixture(tmp_path))
        method: Callable[..., object] = getattr(stream, call)
        with pytest.raises(ConfigError, match="pass source=.*; known: summaries, quiz, chats, texts, code"):
            method(rows_of("summaries")[0])
        with pytest.raises(ConfigError, match='no source is called "quizz"; .*did you mean "quiz"'):
            method(rows_of("quiz")[0], source="quizz")

    def test_a_stream_without_children_has_no_names(self, tmp_path: Path) -> None:
        stream = SFTStream.from_config(alone(tmp_path, "quiz"))
        with pytest.raises(ConfigError, match="leave source= out"):
            stream.inference_prompt(rows_of("quiz")[0], source="quiz")

    def test_map_of_a_child_is_applied(self, tmp_path: Path) -> None:
        changed = {"map": "tests.row_functions::with_title"}
        config = mixture(tmp_path, children={"summaries": {}, "code": changed})
        stream = SFTStream.from_config(config, trust=["tests.row_functions"])
        row = {**rows_of("code")[0], "title": "The title"}
        assert "The title" in stream.inference_prompt(row, source="code")
        assert "The title" not in stream.inference_prompt(row, source="summaries")
        with pytest.raises(ConfigError, match="pass source="):
            stream.inference_prompt(row)

    def test_children_with_one_task_need_no_name(self, tmp_path: Path) -> None:
        stream = SFTStream.from_config(mixture(tmp_path, children={"summaries": {}, "code": {}}))
        row = rows_of("code")[0]
        assert stream.inference_prompt(row) == stream.inference_prompt(row, source="code")


class TestErrors:
    def test_a_column_that_the_template_of_a_child_does_not_name(self, tmp_path: Path) -> None:
        quiz = {**OWN["quiz"], "columns": {**OWN["quiz"]["columns"], "topics": "topic"}}
        config = mixture(tmp_path, children={"summaries": {}, "quiz": quiz})
        with pytest.raises(ConfigError, match=r"source_config.kwargs.sources.quiz.columns.topics: unknown column"):
            parse_config(config)
        with pytest.raises(ConfigError, match=r"sources.summaries.columns.topic: unknown column"):
            parse_config(mixture(tmp_path, children={"summaries": {"columns": {"topic": "input"}}, "quiz": quiz}))

    @pytest.mark.parametrize(
        ("child", "section", "message"),
        [
            ("quiz", {"prompt_config": {"kwargs": {"input_template": "{text} {topics}"}}}, "topics"),
            ("quiz", {"prompt_config": {"kwargs": {"template": "x"}}}, r"sources.quiz.prompt_config.kwargs"),
            ("quiz", {"prompt_config": {"method": "Promt"}}, r"sources.quiz.prompt_config.method"),
            ("quiz", {"prompt_format_config": {"method": "Chat"}}, r"sources.quiz.prompt_format_config.method"),
            ("quiz", {"truncation_config": {"method": "split"}}, r"sources.quiz.truncation_config.method: only texts"),
            ("texts", {"truncation_config": {"method": "turns"}}, r"sources.texts.truncation_config.method"),
            (
                "texts",
                {"truncation_config": {"method": "split", "kwargs": {"overlap": 64}}},
                r"sources.texts.truncation_config.kwargs.overlap: must be less than max_length",
            ),
            ("chats", {"loss_config": {"turns": "first"}}, r"sources.chats.loss_config.turns"),
            ("chats", {"conversation_config": {"roles": {"a": "b"}}}, r"sources.chats.conversation_config.roles"),
            ("chats", {"packing_config": {"method": "none"}}, r"sources.chats.packing_config"),
        ],
    )
    def test_a_message_names_the_key_of_the_child(
        self, tmp_path: Path, child: str, section: dict[str, Any], message: str
    ) -> None:
        config = mixture(tmp_path, children={**OWN, child: {**OWN[child], **section}})
        with pytest.raises(SamsumStreamError, match=message):
            SFTStream.from_config(config)

    def test_a_source_that_is_no_child_has_no_sections(self, tmp_path: Path) -> None:
        config = alone(tmp_path, "quiz")
        config["source_config"]["prompt_config"] = {"kwargs": {}}
        with pytest.raises(ConfigError, match=r"source_config.prompt_config"):
            parse_config(config)

    def test_warnings_name_the_key_of_the_child(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        plain = {"prompt_config": {"kwargs": {}}, "prompt_format_config": {"method": "PromptFormat"}}
        SFTStream.from_config(mixture(tmp_path, children={**OWN, "code": plain}))
        assert "sources.code.prompt_config: nothing separates the input from the response" in caplog.text
        assert caplog.text.count("nothing separates") == 1


class TestEverythingElse:
    def test_the_held_out_rows_have_the_task_of_their_child(self, tmp_path: Path) -> None:
        whole = examples(SFTStream.from_config(mixture(tmp_path)))
        stream = SFTStream.from_config(mixture(tmp_path, holdout=0.3))
        training, held_out = examples(stream), examples(stream.holdout())
        for child, expected in whole.items():
            assert sorted(training[child] + held_out[child]) == expected
            assert held_out[child]

    def test_a_preview_of_a_child(self, tmp_path: Path) -> None:
        stream = SFTStream.from_config(mixture(tmp_path))
        assert "topic" in str(stream.preview(2, source="quiz"))
        assert "Summarize." in str(stream.preview(2, source="summaries"))

    def test_a_check_says_what_is_of_which_child(self, tmp_path: Path) -> None:
        words = run("check", tmp_path)
        assert "format chats: ChatTemplate (in the config)" in words
        assert "prompt summaries: Prompt in UserAssistantFormat quiz: Prompt in DollyFormat" in words
        assert re.search(r"long_rows: chats: [^>]* which are cut \(turns\)", words)
        assert re.search(r"long_rows: quiz: [^>]* which are cut \(right\)", words)
        assert re.search(r"long_rows: summaries: [^>]* which are dropped", words)
        assert re.search(r"stripped_rows: summaries: ", words)
        assert "stripped_rows: code" not in words

    def test_stats_and_a_report_measure_each_child_with_its_task(self, tmp_path: Path) -> None:
        assert "turns" in run("stats", tmp_path)
        run("report", tmp_path, "--output", str(tmp_path / "report.html"))
        assert "quiz/quiz.jsonl" in (tmp_path / "report.html").read_text()

    def test_a_benchmark_times_the_renderer_of_each_child(self, tmp_path: Path) -> None:
        config = mixture(tmp_path, epochs=None, lanes="auto")
        stages = measure(lambda: SFTStream.from_config(config), num_workers=0, seconds=0.3).stages
        assert all(stages[name].share > 0 for name in ("render", "tokenize", "mask"))

    def test_counts_are_those_of_the_children(self, tmp_path: Path) -> None:
        stream = SFTStream.from_config(mixture(tmp_path))
        list(stream)
        singles = {child: SFTStream.from_config(alone(tmp_path, child)) for child in OWN}
        for child, single in singles.items():
            list(single)
            assert stream.stats.children[child].rows >= single.stats.rows
        assert stream.stats.truncated["turns"] >= singles["chats"].stats.truncated["turns"] > 0
        assert stream.stats.truncated["right"] >= singles["quiz"].stats.truncated["right"] > 0
