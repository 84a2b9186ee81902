"""`samsum-stream check` says what is left out of rows: columns that nothing reads, and white space that is stripped."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from samsum_stream import StreamConfig
from samsum_stream.config import parse_config
from samsum_stream.inspection.check import Finding, advise, gather
from samsum_stream.inspection.check.outline import outline
from tests.config.test_configs_folder import TOP
from tests.streams import write_lines

ROWS = [{"input": f"q{n}", "response": f"a{n}"} for n in range(40)]


def config_of(folder: Path, rows: list[dict[str, Any]], prompt: Mapping[str, Any] = {}, **columns: str) -> StreamConfig:
    lines = write_lines(folder / "rows.jsonl", rows)
    return parse_config(
        {
            "source_config": {"method": "jsonl", "kwargs": {"path": str(lines)}, "columns": columns},
            "base_model": str(TOP / "examples/data/tokenizer"),
            "prompt_config": {"kwargs": {"response_template": "Answer: {text}", **prompt}},
        }
    )


def findings_of(config: StreamConfig) -> dict[str, Finding]:
    return {finding.name: finding for finding in advise(gather(config))}


class TestUnreadColumns:
    def test_the_outline_lists_all_of_them(self, tmp_path: Path) -> None:
        rows = [{**row, "id": n, "tag": "t", "meta": {"by": "me"}} for n, row in enumerate(ROWS)]
        facts = gather(config_of(tmp_path, rows, {"input_template": "{meta.by}: {text}"}))
        assert dict(outline(facts))["unread"].endswith(": id, tag")
        assert "unread_columns" not in findings_of(config_of(tmp_path, rows))

    def test_there_is_no_line_if_all_are_read(self, tmp_path: Path) -> None:
        assert "unread" not in dict(outline(gather(config_of(tmp_path, ROWS))))

    def test_one_with_the_name_of_a_field_was_probably_meant(self, tmp_path: Path) -> None:
        rows = [{"instruction": "i", "input": "q", "output": "a", "system": "s"} for _ in ROWS]
        config = config_of(tmp_path, rows, input="instruction", response="output")
        finding = findings_of(config)["unread_columns"]
        assert "nothing reads column 'input', column 'system'" in finding.reason
        in_template = {"input_template": "{text} {input} {system}"}
        config = config_of(tmp_path, rows, in_template, input="instruction", response="output")
        assert "unread_columns" not in findings_of(config)


class TestWhiteSpace:
    @pytest.mark.parametrize("change", [{"input": "  q"}, {"input": "q\t"}, {"response": "a\n\n"}])
    def test_stripped_rows_are_counted(self, tmp_path: Path, change: dict[str, str]) -> None:
        rows = [*ROWS[:30], {**ROWS[30], **change}]
        finding = findings_of(config_of(tmp_path, rows))["stripped_rows"]
        assert ":30" in finding.reason

    def test_the_remedy_works(self, tmp_path: Path) -> None:
        rows = [{"input": "def f():\n    ", "response": "    return 1\n"} for _ in ROWS]
        assert "strip: false" in findings_of(config_of(tmp_path, rows))["stripped_rows"].remedy
        assert "stripped_rows" not in findings_of(config_of(tmp_path, rows, {"strip": False}))

    def test_white_space_inside_a_template_is_not_stripped(self, tmp_path: Path) -> None:
        rows = [{**row, "input": " q ", "response": "    a"} for row in ROWS]
        assert "stripped_rows" not in findings_of(config_of(tmp_path, rows, {"input_template": "Q:{text}."}))


def test_braces_without_a_meaning_are_reported(tmp_path: Path) -> None:
    template = 'Write {"a": 1} for {text}'
    finding = findings_of(config_of(tmp_path, ROWS, {"input_template": template}))["loose_braces"]
    assert "input_template: braces have no meaning from" in finding.reason
    assert "double them" in finding.remedy
    doubled = findings_of(config_of(tmp_path, ROWS, {"input_template": 'Write {{"a": 1}} for {text}'}))
    assert "loose_braces" not in doubled
