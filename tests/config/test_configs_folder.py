"""Every file in `configs/` loads, and those that need no network stream a batch, as does one in the older layout."""

import logging
import warnings
from pathlib import Path

import datasets
import pytest

from samsum_stream import SFTStream, load_config
from samsum_stream.config.task import names_in_braces
from tests.streams import make_rows, rows_of_batches, word_tokenizer

TOP = Path(__file__).resolve().parents[2]
CONFIGS = sorted((TOP / "configs").glob("*.y*ml"))
EVERY_CONFIG = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)


def runs_offline(path: Path) -> bool:
    """Whether the rows and the tokenizer are in the repository."""
    config = load_config(path)
    kwargs = config.source_config.kwargs
    children = [child["kwargs"] for child in kwargs.get("sources", {}).values()]
    paths = [config.base_model, *(child.get("path", child.get("urls")) for child in children or [kwargs])]
    return all(isinstance(path, str) and path.startswith("examples/") for path in paths)


def has_chat_template(path: Path) -> bool:
    section = load_config(path).prompt_format_config
    return section is not None and section.method == "ChatTemplate"


OFFLINE = [path for path in CONFIGS if runs_offline(path)]
OF_CONVERSATIONS = [path for path in CONFIGS if has_chat_template(path)]


@EVERY_CONFIG
def test_every_config_loads_without_warnings(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_config(path)


def test_some_configs_run_offline() -> None:
    assert TOP / "configs" / "quickstart.yaml" in OFFLINE


@pytest.mark.parametrize("path", OFFLINE, ids=lambda path: path.name)
def test_a_config_with_files_of_the_repository_streams_a_batch(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TOP)
    stream = SFTStream.from_yaml(path)
    batch = next(iter(stream.loader()))
    assert (batch["labels"] != -100).any()


@pytest.mark.parametrize("path", OF_CONVERSATIONS, ids=lambda path: path.name)
def test_a_config_of_conversations_trains_the_turns_of_all_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TOP)
    stream = SFTStream.from_yaml(path).with_run(epochs=1)
    trained = [stream.tokenizer.decode(e.input_ids[a:b]) for pack in stream for e in pack.examples for a, b in e.spans]
    assert len(trained) >= stream.stats.rows == stream.stats.examples >= 12
    assert all(text.count("<|eos|>") == 1 and text.endswith("<|eos|>") for text in trained)


WITHOUT_PROMPTS = [path for path in CONFIGS if {"text", "input_ids"} & {*load_config(path).source_config.columns}]
WITH_CONDITIONS = [path for path in CONFIGS if load_config(path).source_config.where]
OF_INSTRUCTIONS = [path for path in CONFIGS if path not in [*OF_CONVERSATIONS, *WITHOUT_PROMPTS, *WITH_CONDITIONS]]


@pytest.mark.parametrize("path", OF_INSTRUCTIONS, ids=lambda path: path.name)
def test_every_config_of_instructions_gives_batches_of_rows_in_memory(
    path: Path, caplog: pytest.LogCaptureFixture, small_tokenizer: object
) -> None:
    """Includes configs that need the network: their column names are tested with other rows and another tokenizer."""
    config = load_config(path)
    columns = {"input": "input", "response": "response", **config.source_config.columns}
    names = {getattr(column, "name", column) for column in columns.values()}
    names |= {*names_in_braces(config.prompt_config.kwargs.values())}  # of templates
    rows = [{name: f"the {name} of row {number}" for name in names} for number in range(30)]
    with caplog.at_level(logging.ERROR):
        stream = SFTStream(config, rows=rows, tokenizer=small_tokenizer)
    batch = next(iter(stream.loader(num_workers=0)))
    assert (batch["labels"] != -100).any()


def test_the_config_with_conditions_trains_on_the_rows_that_match(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TOP)
    stream = SFTStream.from_yaml(TOP / "configs" / "selected_rows.yaml").with_run(epochs=1)
    rows = {example.position.row for pack in stream for example in pack.examples}
    assert rows == {0, 1, 2, 4, 5, 8, 9}


OLDER = """\
source_config:
  method: load_from_disk
  kwargs:
    dataset_path: {folder}/samsum
base_model: {folder}/tokenizer
prompt_config:
  method: Prompt
  kwargs:
    system_message: "11"
    input_template: "12 {{text}}"
    response_template: "13 {{text}}"
chunksize: 40
ignore_index: -1
num_proc: 2
dataset_writer_config:
  method: save_to_disk
  kwargs:
    dataset_path: {folder}/prepared
"""


def test_a_config_of_the_older_layout_runs_unchanged_warns_once_and_writes_nothing(tmp_path: Path) -> None:
    datasets.Dataset.from_list(make_rows(60)).save_to_disk(tmp_path / "samsum")
    word_tokenizer().save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "older.yaml").write_text(OLDER.format(folder=tmp_path))
    before = sorted(tmp_path.rglob("*"))
    with pytest.warns(UserWarning, match="nothing is written to disk") as caught:
        stream = SFTStream.from_yaml(tmp_path / "older.yaml")
    assert len(caught) == 1
    loader = stream.loader()
    batches = list(loader)
    assert loader.num_workers == 2
    assert {batch["input_ids"].shape[1] for batch in batches} == {40}
    assert sum(int((batch["input_ids"] == 1).sum()) for batch in batches) == 60
    assert all((batch["labels"] == -1).any() and not (batch["labels"] == -100).any() for batch in batches)
    assert sorted(tmp_path.rglob("*")) == before
    assert len(rows_of_batches(batches)) == 60
