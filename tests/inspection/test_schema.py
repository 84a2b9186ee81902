"""`samsum-stream schema`: an independent JSON-schema library accepts valid configs and rejects invalid ones.

Other tests pass their invalid configs to `tests.schemas.require_rejection`.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from samsum_stream import SamsumStreamError, SFTStream
from samsum_stream.cli import app
from tests.config.test_config import FULL
from tests.config.test_configs_folder import OLDER
from tests.schemas import problems_by_schema
from tests.streams import word_tokenizer

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_the_schema_in_the_configs_folder_is_current() -> None:
    printed = CliRunner().invoke(app, ["schema"]).stdout
    remedy = "run: samsum-stream schema > configs/schema.json"
    assert (CONFIGS / "schema.json").read_text(encoding="utf-8") == printed, remedy


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_config_refers_to_the_schema_and_is_valid(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    assert problems_by_schema(yaml.safe_load(text)) == []


@pytest.mark.parametrize(
    "changes",
    [
        yaml.safe_load(FULL),
        yaml.safe_load(OLDER.format(folder="data")),
        {},
        {"source_config": {"method": "my_package.data::rows", "kwargs": {"anything": [1]}}},
        {"source_config": {"method": None, "columns": {"context": "passage"}}},
        {"source_config": {"method": "webdataset", "kwargs": {"urls": ["a.tar", "b.tar"]}}},
        {"prompt_config": {"kwargs": {"examples": [{"input": "a", "response": "b", "contexts": "c"}]}}},
        {"prompt_format_config": {"method": "PromptFormat", "kwargs": {"input": {"prefix": "Q: "}}}},
        {"collator_config": {"method": "padded", "kwargs": {"padding_side": "left"}}},
        {"fault_config": {"on_bad_row": "skip", "max_bad_rows": 0.005, "quarantine_path": "bad.jsonl"}},
        {"lanes": 48, "epochs": None, "base_model": None},
    ],
)
def test_the_schema_accepts_a_valid_config(changes: dict[str, Any]) -> None:
    assert problems_by_schema(changes) == []


ROWS = {"source_config": {"method": "jsonl", "kwargs": {"path": "examples/data/dialogues.jsonl"}}}


@pytest.mark.parametrize(
    "changes",
    [
        {"source_config": {"method": "jsonlines", "kwargs": {"path": "a.jsonl"}}},
        {"source_config": {"method": "jsonl"}},
        {"source_config": {"method": "jsonl", "kwargs": {"path": 5}}},
        {"source_config": {"method": "load_from_disk", "kwargs": {"dataset_path": "a", "splt": "train"}}},
        {"source_config": {"method": "mixture"}},
        {"source_config": {"method": "mixture", "kwargs": {"sources": {"a": {"method": "jsnl"}}}}},
        {
            "source_config": {
                "method": "mixture",
                "kwargs": {"sources": {"a": ROWS["source_config"]}},
                "columns": {"input": "a"},
            }
        },
        ROWS | {"prompt_config": {"method": "Promt"}},
        ROWS | {"prompt_config": {"kwargs": {"sytem_message": "a"}}},
        ROWS | {"prompt_config": {"method": "FewShotQA", "kwargs": {"examples": [{"input": "a"}]}}},
        ROWS | {"prompt_config": {"kwargs": {"examples": [{"input": "a", "response": "b", "context": "c"}]}}},
        ROWS | {"prompt_config": {"kwargs": {"format": "VicunaFormat"}}},
        ROWS | {"prompt_format_config": {"method": "VicunaFormat", "kwargs": {"inputs": {}}}},
        ROWS | {"prompt_format_config": {"method": "VicunaFormat", "kwargs": {"input": {"prefx": "a"}}}},
        ROWS | {"prompt_format_config": {"method": "vicuna"}},
        ROWS | {"collator_config": {"method": "padded"}, "packing_config": {"method": "greedy"}},
    ],
)
def test_the_schema_rejects_an_invalid_config(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIGS.parent)
    with pytest.raises(SamsumStreamError):
        SFTStream.from_config(changes, tokenizer=word_tokenizer())
    assert problems_by_schema(changes)


def test_methods_have_descriptions() -> None:
    """An editor shows the descriptions beside the names that it offers."""
    schema: dict[str, Any] = yaml.safe_load((CONFIGS / "schema.json").read_text(encoding="utf-8"))
    for section in ("SourceConfig", "MixtureChild", "PromptConfig", "PromptFormatConfig"):
        offered = schema["$defs"][section]["properties"]["method"]["anyOf"]
        assert len(offered) > 6
        assert all("description" in method for method in offered if method != {"type": "null"})
    assert all("description" in key for key in schema["properties"].values())
