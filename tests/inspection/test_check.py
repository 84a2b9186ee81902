"""`samsum-stream check`: each advice fires on its own config, and no advice fires on the shipped configs."""

import gzip
import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from samsum_stream import StreamConfig, load_config
from samsum_stream.cli import app
from samsum_stream.config import parse_config
from samsum_stream.inspection.check import Facts, Finding, advise, check_config, gather
from samsum_stream.inspection.check.outline import outline
from samsum_stream.tokenization import load_tokenizer
from tests import real_data
from tests.config.test_configs_folder import OFFLINE, TOP
from tests.models import make_model
from tests.streams import make_config, make_rows, word_tokenizer, write_lines

PROMPT = {"method": "Prompt", "kwargs": {"response_template": "11 {text}"}}
"""A prompt with text between the input and the response, in whole words."""

Make = Callable[..., StreamConfig]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A config without a problem over a file of rows; `changes` are those of `make_config`."""

    def make_one(
        rows: list[dict[str, Any]] | None = None, *, gz: bool = False, tokenizer: Any = None, **changes: Any
    ) -> StreamConfig:
        path = write_lines(tmp_path / "rows.jsonl", make_rows(60) if rows is None else rows)
        if gz:
            plain, path = path, tmp_path / "rows.jsonl.gz"
            path.write_bytes(gzip.compress(plain.read_bytes()))
        (tokenizer or word_tokenizer()).save_pretrained(tmp_path / "tokenizer")
        settings = {
            "source_config": {"method": "jsonl", "kwargs": {"path": str(path)}},
            "base_model": str(tmp_path / "tokenizer"),
            "prompt_config": PROMPT,
        }
        return parse_config(make_config(**settings | changes))

    return make_one


def names(facts: Facts) -> list[str]:
    return [finding.name for finding in advise(facts)]


def finding_of(facts: Facts, name: str) -> Finding:
    [finding] = [finding for finding in advise(facts) if finding.name == name]
    assert finding.reason
    assert finding.remedy
    return finding


def test_a_config_without_a_problem_has_no_finding(make: Make) -> None:
    assert names(gather(make())) == []


@pytest.mark.parametrize("path", OFFLINE, ids=lambda path: path.name)
def test_no_advice_on_the_shipped_configs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TOP)
    assert names(gather(load_config(path))) == []


@real_data.needs_real_data
def test_the_advice_on_the_shipped_config_of_the_hub_is_true_of_its_data() -> None:
    path, input_column, _, response_column = real_data.DATASETS["samsum"]
    rows = {"path": str(real_data.FOLDER / "datasets" / path)}
    columns = {"input": input_column, "response": response_column}
    config = load_config(TOP / "configs" / "samsum.yaml").model_copy(
        update={
            "base_model": str(real_data.FOLDER / "tokenizers" / "llama-2"),
            "source_config": parse_config(
                {"source_config": {"method": "jsonl", "kwargs": rows, "columns": columns}}
            ).source_config,
        }
    )
    assert names(gather(config)) == ["stripped_rows", "no_pad_token"]  # some texts of SAMSum end with a space


def long_row(num_words: int) -> dict[str, str]:
    return {"input": "20", "response": " ".join(["20"] * num_words)}


UNEVEN = [long_row(number) for number in (18, 2, 9, 18, 4, 15, 11, 7)] * 12

CASES: list[tuple[str, str, dict[str, Any], dict[str, Any], str]] = [
    ("no_border", "warning", {"prompt_config": {"method": "Prompt"}}, {}, "nothing separates"),
    ("full_attention", "warning", {"collator_config": {"kwargs": {"attention": "full"}}}, {}, "documents before it"),
    (
        "unknown_special_tokens",
        "warning",
        {"prompt_format_config": {"method": "ChatMLFormat"}, "max_length": 99},
        {},
        "<|im_start|>",
    ),
    ("slower_backend", "warning", {"tokenizer_config": {"backend": "auto"}}, {}, "fastokens cannot load"),
    (
        "bad_rows",
        "warning",
        {
            "rows": [*make_rows(59), {"input": "11", "response": ""}],
            "fault_config": {"on_bad_row": "skip", "max_bad_rows": 1},
        },
        {},
        "are bad and will be skipped (1 empty_response), such as FOLDER/rows.jsonl:59",
    ),
    (
        "long_rows",
        "warning",
        {"rows": [*make_rows(40), *[long_row(40)] * 20]},
        {},
        "33% of the rows have examples that are longer than max_length 32, which are dropped; the longest, "
        "FOLDER/rows.jsonl:40, has 44",
    ),
    (
        "long_rows",
        "warning",
        {"rows": [*make_rows(40), *[long_row(40)] * 20], "truncation_config": {"method": "right"}},
        {},
        "are cut (right)",
    ),
    ("poor_packing", "warning", {"rows": UNEVEN, "buffer_size": 1}, {}, "packing with buffer_size 1 fills packs to"),
    ("poor_packing", "warning", {"rows": UNEVEN, "method": "greedy"}, {}, "packing with method greedy fills packs to"),
    (
        "shared_shards",
        "warning",
        {"gz": True},
        {"num_workers": 4},
        "each of 4 readers (ranks × workers) reads its only",
    ),
    ("shared_shards", "warning", {"gz": True}, {"ranks": 8}, "each of 8 readers"),
    ("idle_workers", "warning", {"lanes": 6}, {"num_workers": 4}, "so 3 of each rank will read"),
    (
        "special_tokens_in_rows",
        "warning",
        {
            "rows": [*make_rows(59), {"input": "11", "response": "12 </s> 13"}],
            "tokenizer_config": {"backend": "hf", "special_tokens_in_rows": "parse"},
        },
        {},
        "1.7% of the rows, such as FOLDER/rows.jsonl:59, spell a special token in their own text, which is read as",
    ),
    (
        "special_tokens_in_rows",
        "note",
        {"rows": [*make_rows(59), {"input": "11", "response": "12 </s> 13"}]},
        {},
        "read as ordinary text",
    ),
    ("no_shuffle", "note", {"shuffle": False}, {}, "in the order of their source"),
]


@pytest.mark.parametrize(("name", "level", "changes", "readers", "reason"), CASES, ids=[case[0] for case in CASES])
def test_each_advice_fires_on_its_own_config(
    make: Make, name: str, level: str, changes: dict[str, Any], readers: dict[str, Any], reason: str
) -> None:
    facts = gather(make(**changes), **readers)
    finding = finding_of(facts, name)
    assert finding.level == level
    assert reason.replace("FOLDER", facts.pipeline.source.name) in finding.reason
    assert set(names(facts)) == {name}


def test_a_few_long_rows_are_a_note(make: Make) -> None:
    facts = gather(make([*make_rows(150), long_row(40)]))
    assert names(facts) == ["long_rows"]
    finding = finding_of(facts, "long_rows")
    assert finding.level == "note"
    assert "fits all of them" in finding.remedy


def test_a_tokenizer_without_a_pad_token(make: Make) -> None:
    tokenizer = word_tokenizer()
    tokenizer.pad_token = None
    facts = gather(make(tokenizer=tokenizer))
    assert finding_of(facts, "no_pad_token").level == "note"
    assert names(facts) == ["no_pad_token"]


def test_rows_that_are_too_long_for_the_model(make: Make) -> None:
    tokenizer = word_tokenizer()
    tokenizer.model_max_length = 12
    finding = finding_of(gather(make(tokenizer=tokenizer)), "longer_than_model")
    assert "are kept with more than 12 tokens" in finding.reason


def test_a_count_of_rows_that_takes_long(make: Make) -> None:
    facts = gather(make())
    slow = replace(facts, samples=tuple(sample._replace(seconds=3600.0) for sample in facts.samples))
    assert "all 60 rows are counted before the first batch, which takes about 60 minutes" in (
        finding_of(slow, "long_count").reason
    )
    endless = gather(make(epochs=None))
    assert names(replace(endless, samples=slow.samples)) == []


def test_warnings_of_the_stream_are_findings_and_not_logged(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    gather(make(prompt_config={"method": "Prompt"}))
    assert caplog.records == []
    with caplog.at_level(logging.WARNING):
        logging.getLogger("samsum_stream.stream.build").warning("a later warning is logged")
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("changes", "ranks"), [({"epochs": 1, "lanes": 1}, 1), ({"epochs": 2, "lanes": 4}, 1), ({"epochs": 1}, 3)]
)
def test_the_number_of_batches_is_that_of_the_loader(make: Make, changes: dict[str, Any], ranks: int) -> None:
    facts = gather(make(**changes), ranks=ranks)
    loader = facts.stream.loader(rank=0, world_size=ranks)
    assert facts.epoch is not None
    assert facts.epoch.is_exact
    assert facts.epoch.num_batches == len(loader) * ranks / changes["epochs"]


def test_the_number_of_batches_is_an_estimate_from_a_sample(make: Make) -> None:
    rows = make_rows(600) * 5
    facts = gather(make(rows, epochs=1, lanes=1, batch_size=1))
    assert facts.measured.num_rows == 512
    assert facts.epoch is not None
    assert not facts.epoch.is_exact
    assert facts.epoch.num_batches == pytest.approx(len(facts.stream.loader()), rel=0.05)
    assert f"1 epoch of about {facts.epoch.num_batches} batches" in dict(outline(facts))["batches"]


def test_the_size_of_a_sample_does_not_depend_on_row_groups(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(make_rows(900)), path, row_group_size=7)
    source = {"source_config": {"method": "parquet", "kwargs": {"path": str(path)}}}
    facts = gather(make().model_copy(update={"source_config": parse_config(source).source_config}))
    assert 512 <= facts.measured.num_rows < 512 + 7


def test_padding_of_an_epoch_is_in_the_outline(make: Make) -> None:
    facts = gather(make(epochs=1, lanes=4, batch_size=3))
    assert facts.epoch is not None
    share = facts.epoch.num_packs / (3 * facts.epoch.num_batches)
    assert facts.epoch.share_filled == share
    assert f"packs fill {share:.1%} of the slots" in dict(outline(facts))["batches"]
    assert "filled" not in dict(outline(gather(make(epochs=None))))["batches"]


def test_the_outline(make: Make) -> None:
    lines = dict(outline(gather(make(epochs=1, lanes=12), ranks=2, num_workers=3)))
    assert lines["rows"].endswith(": 60 rows, shuffled as a whole")
    assert lines["lanes"] == "12; a run can resume with 1, 2, 3, 4, 6 or 12 readers (ranks × workers)"
    assert lines["tokenizer"] == "backend hf; border proven, responses encoded directly; adds <s> at the start"
    assert lines["resume"].startswith("seeks to its row")
    assert "cache" not in lines
    compressed = dict(outline(gather(make(gz=True))))
    assert compressed["resume"] == "reads its only shard from the start"
    assert compressed["rows"].endswith("an unknown number of rows, in 1 shard, shuffled in blocks")


def test_the_outline_says_that_a_chat_template_writes_its_own_start(make: Make) -> None:
    tokenizer = word_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.content ~ (eos_token if m.role == 'assistant' else ' ') }}{% endfor %}"
    )
    config = make(tokenizer=tokenizer, prompt_format_config={"method": "ChatTemplate"}, prompt_config={})
    lines = dict(outline(gather(config)))
    assert lines["tokenizer"].endswith("adds <s> at the start (a chat template writes its own)")


def test_what_load_dataset_caches(make: Make, tmp_path: Path) -> None:
    kwargs = {"path": "json", "data_files": str(write_lines(tmp_path / "a.jsonl", make_rows(60))), "split": "train"}
    cached = {"method": "load_dataset", "kwargs": kwargs | {"cache_dir": str(tmp_path / "cache")}}
    line = dict(outline(gather(make(source_config=cached))))["cache"]
    assert line.startswith(f"1 Arrow file (0.0 MB) of load_dataset in {tmp_path / 'cache'}")
    streamed = {"method": "load_dataset", "kwargs": kwargs | {"streaming": True}}
    assert dict(outline(gather(make(source_config=streamed))))["cache"].startswith("nothing is written")


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


@pytest.fixture
def config(tmp_path: Path, make: Make) -> Callable[..., Path]:
    """The config as a file."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps(make(**changes).model_dump(exclude_defaults=True)))
        return path

    return write


def test_an_ascii_terminal_shows_question_marks(config: Callable[..., Path]) -> None:
    result = CliRunner(charset="ascii").invoke(app, ["check", str(config(lanes="auto"))])
    assert result.exit_code == 0, result.exception
    assert "1 rank ? 1 worker" in " ".join(result.output.split())


@pytest.mark.parametrize("columns", [None, "60"])
def test_lines_in_a_file_have_no_trailing_spaces(
    config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, columns: str | None
) -> None:
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    else:
        monkeypatch.delenv("COLUMNS", raising=False)
    lines = CliRunner().invoke(app, ["check", str(config(lanes="auto"))]).output.splitlines()
    assert not any(line.endswith(" ") for line in lines)
    assert (max(map(len, lines)) > 80) == (columns is None)


def test_exit_codes(config: Callable[..., Path]) -> None:
    fine = run(config(), "--strict")
    assert fine.exit_code == 0
    assert "nothing to advise" in fine.output
    assert run(config(shuffle=False), "--strict").exit_code == 0
    path = config(prompt_config={"method": "Prompt"})
    result = run(path)
    assert result.exit_code == 0
    words = " ".join(result.output.split())
    assert f"warning no_border: {path}: prompt_config: nothing separates the input from the response" in words
    assert "-> give the prompt a response_template" in result.output
    assert "1 warning" in result.output
    strict = run(path, "--strict")
    assert strict.exit_code == 1
    assert "because --strict allows no warning" in strict.output
    failed = run("nothing.yaml")
    assert failed.exit_code == 1
    assert "error ConfigError: nothing.yaml: the config cannot be read" in failed.output


def test_the_json_of_a_check(config: Callable[..., Path]) -> None:
    result = run(config(lanes=12, prompt_config={"method": "Prompt"}), "--json")
    checked = json.loads(result.stdout)
    assert [finding["name"] for finding in checked["findings"]] == ["no_border"]
    assert set(checked["findings"][0]) == {"name", "level", "reason", "remedy"}
    assert checked["numbers"]["readers"] == [1, 2, 3, 4, 6, 12]
    assert checked["layouts"] is None
    failed = run(config(lanes=12), "--json", "--ranks", 5)
    assert failed.exit_code == 1
    [finding] = json.loads(failed.stdout)["findings"]
    assert finding["level"] == "error"
    assert "12 lanes cannot be shared evenly by 5 ranks" in finding["reason"]


def test_the_layouts_of_a_model(config: Callable[..., Path], tmp_path: Path) -> None:
    model = make_model("llama")
    model.config.use_cache = True
    model.save_pretrained(tmp_path / "llama")
    result = run(config(), "--model", tmp_path / "llama", "--strict")
    assert "best for this config: packed/" in result.output  # the exact layouts differ only in their time
    assert "note cache_is_on" in result.output
    assert result.exit_code == 0


def test_a_model_without_an_exact_layout_is_an_error_with_the_measurements(
    config: Callable[..., Path], tmp_path: Path
) -> None:
    make_model("mamba").save_pretrained(tmp_path / "mamba")
    checked = check_config(config(), model=str(tmp_path / "mamba"))
    assert [finding.name for finding in checked.findings] == ["ContaminationError"]
    assert checked.report is not None
    result = run(config(), "--model", tmp_path / "mamba", "--json")
    assert result.exit_code == 1
    layouts = {layout["layout"]: layout["is_exact"] for layout in json.loads(result.stdout)["layouts"]}
    assert not layouts["packed/position_ids"]
    assert layouts["padded"]


@pytest.mark.slow
def test_ten_million_rows_are_checked_in_two_seconds_without_the_tokenizer(make: Make, tmp_path: Path) -> None:
    rows = make_rows(1000)
    column = {name: pa.array([row[name] for row in rows] * 1000) for name in ("input", "response")}
    with pq.ParquetWriter(tmp_path / "rows.parquet", pa.table(column).schema) as writer:
        for _ in range(10):
            writer.write_table(pa.table(column))
    source = {"method": "parquet", "kwargs": {"path": str(tmp_path / "rows.parquet")}}
    config = make(source_config=source, epochs=1)
    start = time.perf_counter()
    load_tokenizer(str(config.base_model))
    loaded = time.perf_counter()
    facts = gather(config)
    assert time.perf_counter() - loaded < 2 + loaded - start
    assert facts.pipeline.num_rows == 10_000_000


def test_only_rows_that_training_reads_are_looked_at(make: Make, tmp_path: Path) -> None:
    """Also if none of them is in the later row groups."""
    pq.write_table(pa.Table.from_pylist(make_rows(60)), tmp_path / "rows.parquet", row_group_size=7)
    source = {"method": "parquet", "kwargs": {"path": str(tmp_path / "rows.parquet")}, "max_rows": 20}
    facts = gather(make(source_config=source, holdout=5))
    assert facts.measured.num_rows == facts.samples[0].leaf.source.num_rows == 15
    assert all(int(position.row) < 7 for position in facts.samples[0].positions)
