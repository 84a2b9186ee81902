"""`min_tokens` and `max_tokens` keep examples by their length before truncation, whatever truncation does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from samsum_stream import ConfigError, SFTStream, SourceError, StateError
from samsum_stream.cli import app
from samsum_stream.inspection.lengths import KEPT, WHOLE, RowMeasure
from samsum_stream.loader.loader import StreamLoader
from tests.resuming import assert_resumes_exactly, in_process
from tests.streams import (
    make_config,
    make_rows,
    make_stream,
    rows_of_packs,
    tokens_of_row,
    word,
    word_tokenizer,
    write_lines,
)

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

NUM_ROWS = 60
LENGTHS = [len(tokens_of_row(row)) for row in range(NUM_ROWS)]
"""The tokens of each row: 4 to 14."""
SHORT, LONG = "shorter_than_min_tokens", "longer_than_max_tokens"


def stream_of(**section: Any) -> SFTStream:
    changes = {key: section.pop(key) for key in ("max_length", "lanes", "seed", "rows") if key in section}
    return make_stream(changes.pop("rows", make_rows(NUM_ROWS)), truncation_config=section, epochs=1, **changes)


@given(st.integers(1, 16), st.integers(1, 16))
def test_the_rows_of_a_range_of_lengths_are_kept(one: int, other: int) -> None:
    low, high = sorted((one, other))
    expected = [row for row, length in enumerate(LENGTHS) if low <= length <= high]
    assume(expected)
    stream = stream_of(min_tokens=low, max_tokens=high)
    assert sorted(rows_of_packs(stream)) == expected
    counted = {SHORT: sum(length < low for length in LENGTHS), LONG: sum(length > high for length in LENGTHS)}
    assert {key: stream.stats.dropped[key] for key in counted} == counted
    assert stream.stats.rows == NUM_ROWS


@pytest.mark.parametrize("method", ["drop", "right", "input", "error"])
def test_a_row_that_is_not_kept_is_not_truncated(method: str) -> None:
    rows = [*make_rows(10), {"input": str(word(11)), "response": " ".join([str(word(11))] * 80)}]
    stream = stream_of(method=method, max_tokens=40, rows=rows)
    assert sorted(rows_of_packs(stream)) == list(range(10))
    assert dict(stream.stats.dropped) == {LONG: 1}
    assert not stream.stats.truncated


def test_a_row_that_is_kept_is_truncated() -> None:
    stream = stream_of(method="right", min_tokens=12, max_tokens=14, max_length=8)
    examples = [example for pack in stream for example in pack.examples]
    assert {example.position.row for example in examples} == {row for row, n in enumerate(LENGTHS) if n >= 12}
    assert {len(example.input_ids) for example in examples} == {8}


def test_a_text_is_kept_or_left_out_as_a_whole() -> None:
    rows = [{"text": " ".join([str(word(row))] * number)} for row, number in enumerate((3, 40, 70, 90))]
    stream = stream_of(method="split", min_tokens=10, max_tokens=80, rows=rows)
    examples = [example for pack in stream for example in pack.examples]
    assert {example.position.row for example in examples} == {1, 2}
    assert min(len(example.input_ids) for example in examples) < 32 < 40
    assert dict(stream.stats.dropped) == {SHORT: 1, LONG: 1}


def test_each_example_of_a_row_is_kept_by_its_own_length() -> None:
    ids = [word(1)] * 4 + [word(2)] * 9 + [word(3)] * 12
    stream = stream_of(min_tokens=5, max_tokens=10, rows=[{"input_ids": ids, "seq_lengths": [4, 9, 12]}] * 4)
    examples = [example for pack in stream for example in pack.examples]
    assert [example.input_ids.tolist() for example in examples] == [[word(2)] * 9] * 4
    assert dict(stream.stats.dropped) == {SHORT: 4, LONG: 4}


@pytest.mark.parametrize("method", ["drop", "right", "split"])
def test_measurements_have_the_lengths_and_the_outcomes_of_training(method: str) -> None:
    texts = [{"text": " ".join([str(word(row))] * (row % 15 * 3 + 1))} for row in range(60)]
    rows = texts if method == "split" else make_rows(60)
    stream = stream_of(method=method, min_tokens=6, max_tokens=34, max_length=12, rows=rows)
    taken = stream.pipeline.source.first_block(60).take(np.arange(60))
    values, _, counts = RowMeasure(stream.pipeline.encoder)(taken)
    kept = sorted(len(example.input_ids) for pack in stream for example in pack.examples)
    assert sorted(values[values[:, KEPT] > 0, KEPT].tolist()) == kept
    names = [f"dropped.{reason}" for reason in (SHORT, LONG, "longer_than_max_length")]
    assert [counts[name] for name in names] == [stream.stats.counts[name] for name in names]
    if method != "split":
        assert values[:, WHOLE].tolist() == LENGTHS


def test_the_children_of_a_mixture_have_their_own_limits(tmp_path: Any) -> None:
    sources = {
        name: {"method": "tests.row_functions::sixty_rows", "kwargs": {}, "truncation_config": section}
        for name, section in {"short": {"max_tokens": 6}, "long": {"min_tokens": 10}, "all": {}}.items()
    }
    mixture = {"method": "mixture", "kwargs": {"sources": sources, "stopping_strategy": "all_exhausted"}}
    stream = make_stream(source_config=mixture, epochs=1, lanes=1, trust=["tests.row_functions"])
    rows: dict[str, set[int]] = {}
    for pack in stream:
        for example in pack.examples:
            rows.setdefault(example.position.source, set()).add(example.position.row)
    assert rows == {
        "short": {row for row, length in enumerate(LENGTHS) if length <= 6},
        "long": {row for row, length in enumerate(LENGTHS) if length >= 10},
        "all": set(range(60)),
    }


@pytest.mark.parametrize("workers", [0, 2])
def test_restored_at_every_step(workers: int) -> None:
    def loader() -> StreamLoader:
        return in_process(stream_of(min_tokens=6, max_tokens=11, lanes=2).loader(num_workers=workers))

    assert_resumes_exactly(loader, num_steps=7)


@pytest.mark.parametrize("section", [{"min_tokens": 4}, {"max_tokens": 10}, {}])
def test_a_state_of_other_limits_is_refused(section: dict[str, int]) -> None:
    state = stream_of(min_tokens=5, max_tokens=10).loader().state_dict()
    with pytest.raises(StateError, match="truncation"):
        stream_of(**section).loader().load_state_dict(state)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"min_tokens": 9, "max_tokens": 8},
            "max_tokens: must not be less than min_tokens, which is 9, got 8",
        ),
        ({"min_tokens": 0}, "truncation_config.min_tokens: .*got 0"),
        ({"max_tokens": -1}, "truncation_config.max_tokens: .*got -1"),
        ({"min_tokens": "many"}, 'truncation_config.min_tokens: .*got "many"'),
    ],
)
def test_wrong_limits(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        stream_of(**section)


def test_a_check_says_what_each_limit_leaves_out_and_what_is_cut(tmp_path: Path) -> None:
    word_tokenizer().save_pretrained(tmp_path / "tokenizer")
    rows = write_lines(tmp_path / "rows.jsonl", make_rows(NUM_ROWS))
    config = make_config(
        base_model=str(tmp_path / "tokenizer"),
        source_config={"method": "jsonl", "kwargs": {"path": str(rows)}},
        truncation_config={"method": "right", "min_tokens": 6, "max_tokens": 12},
        max_length=10,
    )
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    words = " ".join(CliRunner().invoke(app, ["check", str(path)]).output.split())
    assert f"{sum(n < 6 for n in LENGTHS) / NUM_ROWS:.0%} of the rows by `min_tokens`" in words
    assert f"{sum(n > 12 for n in LENGTHS) / NUM_ROWS:.0%} of the rows by `max_tokens`" in words
    cut = f"{sum(10 < n <= 12 for n in LENGTHS) / NUM_ROWS:.0%} of the rows"
    assert f"{cut} have examples that are longer than max_length 10, which are cut (right)" in words


def test_without_an_example_the_error_names_the_limit() -> None:
    with pytest.raises(SourceError, match=r"60 shorter_than_min_tokens\); lower truncation_config.min_tokens"):
        list(stream_of(min_tokens=200).loader())
    with pytest.raises(SourceError, match=r"60 longer_than_max_tokens\); raise truncation_config.max_tokens"):
        list(stream_of(max_tokens=2).loader())
