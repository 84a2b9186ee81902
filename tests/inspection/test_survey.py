"""`samsum-stream stats` counts the same as training on all rows."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from samsum_stream import SFTStream
from samsum_stream.cli import app
from samsum_stream.errors import SourceError
from samsum_stream.inspection.lengths import quantile
from samsum_stream.inspection.simulation import Epoch
from samsum_stream.inspection.survey.shown import survey_for_machines
from samsum_stream.inspection.survey.survey import Survey, histogram, survey
from samsum_stream.values.counts import LEFT_OUT, by_reason
from tests.inspection.configs import ROOT, write_quickstart
from tests.streams import MAX_LENGTH, make_rows, make_stream, write_lines


def long_row(num_words: int) -> dict[str, Any]:
    return {"input": "20", "response": " ".join(["20"] * num_words)}


ROWS = [
    *make_rows(60),
    *[long_row(40)] * 5,
    long_row(40) | {"input": "</s>"},
    {"input": "11", "response": "12 </s>"},
    {"input": "11", "response": ""},
]
SKIP = {"on_bad_row": "skip", "max_bad_rows": 1}


@pytest.mark.parametrize("truncation", ["drop", "right", "input"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_survey_counts_the_same_as_an_epoch_of_training(truncation: str, num_workers: int) -> None:
    changes = {"truncation_config": {"method": truncation}, "fault_config": SKIP, "epochs": 1, "lanes": 2}
    stream = make_stream(ROWS, **changes)
    surveyed = survey(stream, num_workers=num_workers)
    loader = stream.loader()
    num_batches = sum(1 for _ in loader)
    stats = stream.stats
    assert surveyed.measured.num_rows == stats.rows == len(ROWS)
    assert surveyed.measured.num_examples == stats.examples
    assert surveyed.measured.num_tokens == stats.tokens
    assert surveyed.measured.trained_share == stats.trained_tokens / stats.tokens
    assert surveyed.efficiency == stats.tokens / (stats.packs * MAX_LENGTH)
    assert surveyed.measured.num_cut == stats.truncated.total() == (6 if truncation == "right" else 0)
    assert {what: by_reason(surveyed.measured.counts, what) for what in LEFT_OUT} == {
        what: getattr(stats, what) for what in LEFT_OUT
    }
    assert surveyed.measured.counts["special_tokens_in_rows"] == stats.special_tokens_in_rows == 2
    assert isinstance(surveyed.epoch, Epoch)
    assert (surveyed.epoch.num_batches, surveyed.epoch.num_packs) == (num_batches, stats.packs)
    assert quantile(surveyed.measured.whole, 0.99) >= 43 > quantile(surveyed.measured.whole, 0.9)


def test_packing_at_other_lengths_uses_the_lengths_before_truncation() -> None:
    surveyed = survey(make_stream([long_row(40)] * 10 + [long_row(10)] * 10))
    configured, other = surveyed.fillings[:2]
    assert (configured.max_length, configured.too_long) == (MAX_LENGTH, 0.5)
    assert configured.efficiency[64] == pytest.approx(26 / 32, abs=0.01)
    assert (other.max_length, other.too_long) == (512, 0)
    assert other.efficiency[64] > other.efficiency[1] > 0.9
    cut = survey(make_stream([long_row(40)] * 10, truncation_config={"method": "right"}))
    assert cut.fillings[0].efficiency[1] == 1


def test_no_packs_are_simulated_that_are_too_long_for_the_model() -> None:
    stream = make_stream()
    stream.tokenizer.model_max_length = 1024
    assert [filling.max_length for filling in survey(stream).fillings] == [MAX_LENGTH, 512, 1024]


@pytest.mark.parametrize("by", ["rows", "tokens"])
def test_the_children_of_a_mixture_have_the_shares_of_training(tmp_path: Path, by: str) -> None:
    files = {"short": [long_row(2)] * 200, "long": [long_row(20)] * 100, "odd": make_rows(100)}
    for name, rows in files.items():
        write_lines(tmp_path / f"{name}.jsonl", rows)
    child = {name: {"method": "jsonl", "kwargs": {"path": str(tmp_path / f"{name}.jsonl")}} for name in files}
    inner = {"sources": {"long": child["long"], "odd": child["odd"] | {"weight": 2}}, "weight_by": "tokens"}
    outer = {"short": child["short"] | {"weight": 3}, "inner": {"method": "mixture", "kwargs": inner}}
    stream = make_stream(
        source_config={"method": "mixture", "kwargs": {"sources": outer, "weight_by": by}}, epochs=None, lanes=1
    )
    surveyed = survey(stream)
    assert [source.name for source in surveyed.sources] == ["short", "inner/long", "inner/odd"]
    assert [source.measured.num_rows for source in surveyed.sources] == [200, 100, 100]
    assert quantile(surveyed.sources[1].measured.whole, 0.5) == 23
    assert surveyed.epoch is None
    batches = iter(stream.loader())
    for _ in range(300):
        next(batches)
    shares = [child.share for child in stream.stats.children.values()]
    assert [source.share for source in surveyed.sources] == pytest.approx(shares, abs=0.01)
    assert surveyed.efficiency == pytest.approx(stream.stats.efficiency, abs=0.01)


def test_a_histogram_has_every_length_in_a_bin_of_round_size() -> None:
    lengths = np.concatenate([np.arange(1, 1001), [90_000]]).astype(np.int32)
    bins = histogram(lengths, num_bins=16)
    assert [start for start, _ in bins] == list(range(0, 1001, 100))
    assert [number for _, number in bins] == [99, *[100] * 9, 2]
    assert histogram(lengths[:0], num_bins=16) == []


def test_an_epoch_without_a_plan_is_reported_with_the_rest() -> None:
    surveyed = survey(make_stream([long_row(40)] * 8, epochs=1))
    assert isinstance(surveyed.epoch, SourceError)
    assert "8 longer_than_max_length" in survey_for_machines(surveyed)["problem"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The quickstart with absolute paths, and finite."""
    return write_quickstart(tmp_path, epochs=1)


def test_the_command_prints_tables_or_json(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = CliRunner().invoke(app, ["stats", str(config)])
    assert result.exit_code == 0, result.output
    assert "331, of which 331 become examples" in result.output
    assert "29 in an epoch" in result.output
    assert "150-199 ████████████████████████████████████████ 141 42.6%" in result.output
    assert "* 512" in result.output
    assert max(map(len, result.output.splitlines())) <= 80
    values = json.loads(CliRunner().invoke(app, ["stats", str(config), "--json", "--num-workers", "2"]).stdout)
    assert values == json.loads(json.dumps(survey_for_machines(_survey_of(config))))
    assert values["batches_in_epoch"] == 29


def test_the_table_of_sources_fits_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    shown = CliRunner().invoke(app, ["stats", str(ROOT / "configs" / "mixture.yaml")]).output
    assert re.search("^ dialogues +331 51,725 70% ", shown, re.MULTILINE)
    assert max(map(len, shown.splitlines())) <= 60


def _survey_of(config: Path) -> Survey:
    return survey(SFTStream.from_yaml(config))
