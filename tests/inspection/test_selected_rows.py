"""`check`, `stats`, `report` and `preview` show the rows that `where` and `filter` leave out."""

from pathlib import Path
from typing import Any

import pytest

from samsum_stream import SFTStream
from samsum_stream.config import parse_config
from samsum_stream.inspection.check import advise, gather
from samsum_stream.inspection.check.outline import numbers, outline
from samsum_stream.inspection.report.left_out import outcomes_of
from samsum_stream.inspection.survey.survey import survey
from tests.config.test_configs_folder import TOP
from tests.streams import write_lines

MODULE = "tests.row_functions"
ROWS = [{"input": f"q{n}", "response": f"a{n}", "score": n, "topic": "abcd"[n % 4], "id": n} for n in range(100)]
SECTION = {"where": {"topic": ["a", "b", "c"]}, "filter": f"{MODULE}::is_even"}


def config_of(folder: Path, **section: Any) -> Any:
    lines = write_lines(folder / "rows.jsonl", ROWS)
    return parse_config(
        {
            "source_config": {"method": "jsonl", "kwargs": {"path": str(lines)}, **section},
            "base_model": str(TOP / "examples/data/tokenizer"),
            "prompt_config": {"kwargs": {"response_template": "Answer: {text}"}},
            "lanes": 1,
        }
    )


def test_the_outline_says_how_many_rows_are_left_out(tmp_path: Path) -> None:
    facts = gather(config_of(tmp_path, **SECTION), trust=[MODULE])
    assert dict(outline(facts))["left out"].endswith(": 25% of the rows by `where`, 25% of the rows by `filter`")
    assert numbers(facts)["rows_left_out"] == 50
    assert numbers(facts)["rows_looked_at"] == 100
    assert [finding.name for finding in advise(facts) if finding.level != "note"] == []


def test_there_is_no_line_if_all_rows_are_kept(tmp_path: Path) -> None:
    facts = gather(config_of(tmp_path, where={"score": {"min": 0}}))
    assert "left out" not in dict(outline(facts))


def test_a_column_of_a_condition_is_read(tmp_path: Path) -> None:
    assert dict(outline(gather(config_of(tmp_path))))["unread"].endswith(": score, topic, id")
    assert dict(outline(gather(config_of(tmp_path, where={"topic": "a"}))))["unread"].endswith(": score, id")


def test_a_function_reads_all_columns(tmp_path: Path) -> None:
    facts = gather(config_of(tmp_path, filter=f"{MODULE}::is_even"), trust=[MODULE])
    assert "unread" not in dict(outline(facts))


def test_most_rows_are_left_out(tmp_path: Path) -> None:
    facts = gather(config_of(tmp_path, where={"score": 99}))
    assert dict(outline(facts))["left out"].endswith(": 99% of the rows by `where`")
    advise(facts)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_survey_and_the_report_list_them(num_workers: int, tmp_path: Path) -> None:
    stream = SFTStream(config_of(tmp_path, **SECTION), trust=[MODULE])
    found = survey(stream, num_workers=num_workers)
    assert {name: found.measured.counts[name] for name in ("dropped.where", "dropped.filter")} == {
        "dropped.where": 25,
        "dropped.filter": 25,
    }
    where, by_filter = outcomes_of(found)
    assert (where.name, where.effect, where.num_rows) == ("where", "not selected by the config", 25)
    assert [example.position.partition(":")[2] for example in where.examples] == [f"{n} (epoch 0)" for n in (3, 7, 11)]
    assert [example.position.partition(":")[2] for example in by_filter.examples] == [
        f"{n} (epoch 0)" for n in (1, 5, 9)
    ]


def test_the_preview_counts_them(tmp_path: Path) -> None:
    stream = SFTStream(config_of(tmp_path, where={"score": {"min": 90}}))
    assert "on the way: dropped: where 90" in repr(stream.preview(10))
