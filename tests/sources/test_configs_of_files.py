"""Each format from its file to packed batches: the same rows and batches as JSON lines, with resume at every step."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from samsum_stream import SFTStream, load_config
from samsum_stream.inspection.check import check_config
from samsum_stream.inspection.survey.survey import survey
from tests.config.test_configs_folder import TOP
from tests.resuming import assert_resumes_exactly, equal

CONFIGS = sorted((TOP / "configs").glob("files_*.yaml"))
NUM_ROWS, NUM_STEPS = 48, 10

each_config = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)


@pytest.fixture(autouse=True)
def _at_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TOP)


def stream_of(path: Path, **changes: Any) -> SFTStream:
    return SFTStream(load_config(path).model_copy(update={"lanes": 4, **changes}))


def rows_in_memory() -> list[dict[str, Any]]:
    lines = Path("examples/data/dialogues.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[:NUM_ROWS]]


def test_every_method_of_files_has_a_config() -> None:
    methods = {load_config(path).source_config.method for path in CONFIGS}
    assert methods == {"csv", "tsv", "json", "parquet", "webdataset", "jsonl"}


@each_config
def test_the_rows_are_those_of_the_json_lines(path: Path) -> None:
    stream = stream_of(path, shuffle=False, lanes=1)
    same = SFTStream(load_config(path).model_copy(update={"shuffle": False, "lanes": 1}), rows=rows_in_memory())
    for one, other in zip(stream.loader(), same.loader(), strict=True):
        assert equal(one, other)
    assert sum(len(pack.examples) for pack in stream) == NUM_ROWS


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@each_config
@pytest.mark.parametrize("num_workers", [0, 2])
def test_it_resumes_exactly_at_every_step(path: Path, num_workers: int) -> None:
    stream = stream_of(path, epochs=None)
    assert_resumes_exactly(lambda: stream.loader(num_workers=num_workers), num_steps=NUM_STEPS)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@each_config
def test_any_number_of_workers_gives_the_same_batches_and_stats(path: Path) -> None:
    batches, stats = [], []
    for num_workers in (0, 2):
        loader = stream_of(path).loader(num_workers=num_workers)
        batches.append(list(islice(loader, 100)))
        stats.append((loader.stats.rows, loader.stats.examples, loader.stats.tokens, loader.stats.trained_tokens))
    assert all(equal(one, other) for one, other in zip(*batches, strict=True))
    assert stats[0] == stats[1]
    assert stats[0][:2] == (NUM_ROWS, NUM_ROWS)


@each_config
def test_preview_and_check_and_stats_show_it(path: Path) -> None:
    checked = check_config(path)
    assert checked.findings == []
    stream = stream_of(path)
    assert "Summary:" in str(stream.preview(1))
    assert survey(stream).measured.num_rows == NUM_ROWS
