"""`samsum-stream bench`: the time of each stage, the throughput of the whole flow, and the limiting stage."""

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from samsum_stream.cli import app
from samsum_stream.inspection.bench.bench import STAGES, measure
from samsum_stream.inspection.bench.stopwatch import Stopwatch, replaced
from tests.streams import make_rows, make_stream, write_lines

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "configs" / "quickstart.yaml"


@pytest.fixture(autouse=True)
def project_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paths in `configs/` are relative to this folder."""
    monkeypatch.chdir(ROOT)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_command_prints_one_json_object(num_workers: int) -> None:
    result = run("bench", QUICKSTART, "--num-workers", num_workers, "--seconds", 0.05, "--json")
    assert result.exit_code == 0, result.output
    benchmark = json.loads(result.stdout)
    assert set(benchmark) == {"backend", "seconds_to_build", "memory_mb", "whole", "stages", "limit"}
    whole = benchmark["whole"]
    assert whole["num_workers"] == num_workers
    assert whole["tokens_per_second"] > whole["rows_per_second"] > 0
    assert whole["seconds_to_first_batch"] > 0
    assert 0.9 < whole["efficiency"] <= 1
    assert (whole["worker_memory_mb"] > 0) == (num_workers > 0)
    assert list(benchmark["stages"]) == list(STAGES)
    assert all(stage["tokens_per_second"] > 0 for stage in benchmark["stages"].values())
    assert sum(stage["share"] for stage in benchmark["stages"].values()) == pytest.approx(1)
    assert benchmark["limit"] in STAGES


def test_the_command_prints_a_table_and_on_stderr_how_long_it_measures() -> None:
    result = run("bench", QUICKSTART, "--seconds", 0.05)
    assert result.exit_code == 0, result.output
    for name in (*STAGES, "whole", "limit", "backend", "first batch", "efficiency", "MB above the start"):
        assert name in result.stdout
    assert result.stderr == "measuring the whole flow for 0.05 s, then its stages for 0.05 s\n"


def slow_rows() -> Iterator[dict[str, Any]]:
    for row in make_rows(60):
        time.sleep(0.0005)
        yield row


@pytest.mark.parametrize(
    ("limit", "changes"),
    [
        ("read", {"rows": slow_rows, "lanes": 1}),
        ("collate", {"collator_config": {"kwargs": {"attention": "block_mask"}}, "max_length": 2048}),
    ],
)
def test_the_limit_is_the_stage_that_takes_longest(limit: str, changes: dict[str, Any]) -> None:
    benchmark = measure(partial(make_stream, epochs=None, **changes), num_workers=0, seconds=0.1)
    assert benchmark.limit == limit
    assert benchmark.stages[limit].share == max(stage.share for stage in benchmark.stages.values())


def test_a_stream_without_workers_takes_the_sum_of_the_times_of_its_stages() -> None:
    benchmark = measure(partial(make_stream, slow_rows, epochs=None, lanes=1), num_workers=0, seconds=0.5)
    all_stages = 1 / sum(1 / stage.tokens_per_second for stage in benchmark.stages.values())
    assert all_stages == pytest.approx(benchmark.whole.tokens_per_second, rel=0.3)


def test_rows_that_wait_for_a_later_batch_count_when_they_are_read() -> None:
    """The first batch has two packs of 32 tokens. Sixty rows are read for it, with nine tokens each on average."""
    benchmark = measure(partial(make_stream, slow_rows, epochs=None, lanes=1), num_workers=0, seconds=0)
    assert benchmark.stages["read"].tokens_per_second > 4_000


MIXTURE = {
    "method": "mixture",
    "kwargs": {"sources": {name: {"method": "jsonl", "kwargs": {"path": name}} for name in ("a.jsonl", "b.jsonl")}},
}


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": make_rows(1)},
        {"rows": make_rows(1), "epochs": None},
        {"rows": make_rows(60), "epochs": 2, "collator_config": {"method": "padded"}},
        {"rows": partial(iter, make_rows(60)), "lanes": 1},
        {"rows": make_rows(60), "method": "none", "collator_config": {"method": "padding_free"}},
        {"source_config": MIXTURE},
        {"source_config": MIXTURE, "epochs": None},
    ],
)
def test_every_kind_of_stream_can_be_measured(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jsonl", "b.jsonl"):
        write_lines(tmp_path / name, make_rows(60))
    benchmark = measure(partial(make_stream, **changes), num_workers=0, seconds=0)
    assert benchmark.whole.tokens_per_second > 0


def test_skipped_rows_are_not_written_to_the_quarantine_file(tmp_path: Path) -> None:
    path = tmp_path / "skipped.jsonl"
    faults = {"on_bad_row": "skip", "max_bad_rows": 5, "quarantine_path": str(path)}
    rows = [*make_rows(60), {"input": "10"}]
    measure(partial(make_stream, rows, fault_config=faults), num_workers=0, seconds=0.05)
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing.yaml"], 1, "ConfigError: nothing.yaml: the config cannot be read"),
        ([QUICKSTART, "--num-workers", -1], 2, "--num-workers"),
        ([QUICKSTART, "--seconds", -1], 2, "--seconds"),
    ],
)
def test_an_error_has_no_traceback(arguments: list[object], code: int, message: str) -> None:
    result = run("bench", *arguments)
    assert result.exit_code == code
    assert message in result.output
    assert "Traceback" not in result.output


def test_a_stopwatch_measures_one_stage_at_a_time() -> None:
    start = time.perf_counter()
    watch = Stopwatch("rest")
    inner: Callable[[], None] = watch.timed("inner", lambda: time.sleep(0.02))
    outer = watch.timed("outer", lambda: (time.sleep(0.01), inner(), time.sleep(0.01)))
    for _ in watch.timed_items("items", (outer() for _ in range(2))):
        time.sleep(0.03)
    watch.switch("rest")
    elapsed = time.perf_counter() - start
    least = {"inner": 0.04, "outer": 0.04, "items": 0, "rest": 0.06}
    assert all(watch.seconds[stage] >= seconds for stage, seconds in least.items())
    assert sum(watch.seconds.values()) == pytest.approx(elapsed, abs=0.01)


def test_a_method_is_replaced_only_within_the_context() -> None:
    watch = Stopwatch("rest")
    with replaced(watch, "switch", lambda stage: "other"):
        assert watch.switch("x") == "other"
    assert watch.switch("x") == "rest"
