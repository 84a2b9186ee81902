"""Rows that become 0 to 3 examples with 0 to 3 trained spans: everything that inspects them counts rows as rows."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from samsum_stream import SFTStream
from samsum_stream.inspection.check import advise, gather
from samsum_stream.inspection.check import facts as facts_module
from samsum_stream.inspection.check.outline import outline
from samsum_stream.inspection.lengths import KEPT, MASKED, WHOLE, RowMeasure
from samsum_stream.inspection.report.first_batches import read_first
from samsum_stream.inspection.report.left_out import outcomes_of
from samsum_stream.inspection.simulation import Epoch
from samsum_stream.inspection.survey.shown import shown_survey
from samsum_stream.inspection.survey.survey import survey
from samsum_stream.pipeline.encoder import RowEncoder
from samsum_stream.prompts.rendering import Renderer
from samsum_stream.prompts.segments import text_of
from samsum_stream.values.counts import LEFT_OUT, by_reason
from samsum_stream.values.renderings import Renderings, Segment
from samsum_stream.values.rows import Rows
from tests.streams import MAX_LENGTH, make_stream, with_encoder, word, write_lines

NUM_ROWS = 60
LONG_ROW, BAD_ROW = 27, 30
ROWS = [{"input": "11", "response": "" if row == BAD_ROW else "12"} for row in range(NUM_ROWS)]


def num_examples(row: int) -> int:
    return row % 4


def num_spans(row: int, part: int) -> int:
    return (row // 4 + part) % 4


def segments_of(row: int, part: int) -> list[Segment]:
    """A masked word, then for each span two trained words and a masked one; example 1 of the long row is too long."""
    repeats = 40 if (row, part) == (LONG_ROW, 1) else 1
    turn = [Segment(f" {word(row)} {word(row)}" * repeats, True, True), Segment(" 11", False, False)]
    return [Segment(str(word(row)), True, False), *turn * num_spans(row, part)]


class SeveralExamples(Renderer):
    """A row of shard 0 becomes several examples; a row of another shard becomes the second of them."""

    def render(self, rows: Rows) -> Renderings:
        parts = [[1] if shard else range(num_examples(row)) for row, shard in zip(rows.rows, rows.shards, strict=True)]
        examples = [(row, part) for row, of_row in zip(rows.rows.tolist(), parts, strict=True) for part in of_row]
        row_of = np.repeat(np.arange(len(rows)), [*map(len, parts)])
        return Renderings.of_segments(
            [segments_of(*example) for example in examples], rows=row_of, shards=rows.shards, numbers=rows.rows
        )

    def prompt_segments(self, rows: Rows, index: int) -> Sequence[Segment]:
        return [Segment(str(word(int(rows.rows[index]))), True, False)]

    def full_text(self, rows: Rows, index: int) -> str:
        row = int(rows.rows[index])
        return "\n".join(text_of(segments_of(row, part)) for part in range(num_examples(row)))


def stream_of_several(**changes: Any) -> SFTStream:
    faults = {"on_bad_row": "skip", "max_bad_rows": 2}
    rows = None if "source_config" in changes else ROWS
    stream = make_stream(rows, **{"fault_config": faults, "epochs": 1, "lanes": 2, **changes})
    return with_encoder(stream, RowEncoder(SeveralExamples(), stream.pipeline.encoder.tokenizer))


def kept_parts(row: int, truncation: str) -> list[int]:
    """The examples of a row that are not dropped."""
    parts = [part for part in range(num_examples(row)) if num_spans(row, part)] if row != BAD_ROW else []
    return [part for part in parts if truncation == "right" or (row, part) != (LONG_ROW, 1)]


@pytest.mark.parametrize("truncation", ["drop", "right"])
def test_lengths_have_the_indices_of_the_encoder(truncation: str) -> None:
    stream = stream_of_several(truncation_config={"method": truncation})
    rows = stream.pipeline.faults.take(stream.pipeline.source.take, np.arange(NUM_ROWS))  # type: ignore[attr-defined]
    encoded = stream.pipeline.encoder.encode(rows, epoch=0)
    values, offsets, counts = RowMeasure(stream.pipeline.encoder)(rows)
    assert offsets.tolist() == encoded.offsets.tolist()
    assert np.flatnonzero(values[:, KEPT]).tolist() == encoded.indices.tolist()
    assert values[encoded.indices, KEPT].tolist() == encoded.chunk.records["length"].tolist()
    trained = values[:, KEPT] - values[:, MASKED]
    assert trained[encoded.indices].tolist() == encoded.chunk.num_trained.tolist()
    long = offsets[LONG_ROW] + 1
    assert values[long, WHOLE] == 1 + 1 + (num_spans(LONG_ROW, 1) * 81)
    assert values[long, KEPT] == (MAX_LENGTH if truncation == "right" else 0)
    assert sorted(counts.elements()) == sorted(outcome.name for outcome in encoded.outcomes)


@pytest.mark.parametrize("truncation", ["drop", "right"])
def test_a_survey_counts_rows_as_rows(truncation: str) -> None:
    stream = stream_of_several(truncation_config={"method": truncation})
    surveyed, stats = survey(stream), stream.stats
    num_batches = sum(1 for _ in stream.loader())
    kept = [len(kept_parts(row, truncation)) for row in range(NUM_ROWS)]
    measured = surveyed.measured
    assert (measured.num_rows, measured.num_rows_kept) == (stats.rows, np.count_nonzero(kept)) == (NUM_ROWS, 40)
    assert measured.num_examples == stats.examples == sum(kept)
    assert (measured.num_tokens, measured.trained_share) == (stats.tokens, stats.trained_tokens / stats.tokens)
    assert {what: by_reason(surveyed.measured.counts, what) for what in LEFT_OUT} == {
        what: getattr(stats, what) for what in LEFT_OUT
    }
    assert isinstance(surveyed.epoch, Epoch)
    assert (surveyed.epoch.num_batches, surveyed.epoch.num_packs) == (num_batches, stats.packs)
    console = Console(width=80, record=True, file=None)
    with console.capture() as captured:
        console.print(shown_survey(surveyed))
    text = captured.get()
    assert f"60, of which 40 become {sum(kept)} examples" in " ".join(text.split())
    assert re.search(r"skipped +1 empty_response \(1\.7%\)", text)


@pytest.mark.parametrize("by", ["rows", "tokens"])
def test_the_children_of_a_mixture_have_the_shares_of_training(tmp_path: Path, by: str) -> None:
    paths = [str(write_lines(tmp_path / f"{name}.jsonl", ROWS)) for name in ("a", "b")]
    sources = {name: {"method": "jsonl", "kwargs": {"path": path}} for name, path in zip("ab", paths, strict=True)}
    mixture = {"method": "mixture", "kwargs": {"sources": sources, "weight_by": by}}
    stream = stream_of_several(source_config=mixture, epochs=None, lanes=1)
    surveyed, batches = survey(stream), iter(stream.loader())
    for _ in range(300):
        next(batches)
    shares = [child.share for child in stream.stats.children.values()]
    assert [source.share for source in surveyed.sources] == pytest.approx(shares, abs=0.01)
    assert (shares[0] > 0.6) == (by == "rows")
    assert surveyed.efficiency == pytest.approx(stream.stats.efficiency, abs=0.01)


def test_outcomes_name_rows_and_the_part_of_each_example() -> None:
    outcomes = {outcome.name: outcome for outcome in outcomes_of(survey(stream_of_several()))}
    long = outcomes["longer_than_max_length"]
    assert (long.num_rows, long.share, long.effect) == (1, 1 / NUM_ROWS, "dropped")
    [example] = long.examples
    assert example.position == f"rows:{LONG_ROW} part 1 (epoch 0)"
    assert str(word(LONG_ROW)) in example.text.start
    untrained = [row for row in range(NUM_ROWS) if any(not num_spans(row, part) for part in range(num_examples(row)))]
    assert outcomes["no_trained_token"].num_rows == len({*untrained} - {BAD_ROW})
    assert outcomes["empty_response"].num_rows == 1


def test_a_check_counts_rows_as_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = stream_of_several()
    monkeypatch.setattr(facts_module, "SFTStream", lambda config, trust: stream)
    facts = gather(stream.config)
    lines = dict(outline(facts))
    assert lines["prompt"] == "SeveralExamples"
    assert "(of all 60 rows)" in lines["lengths"]
    assert facts.epoch is not None
    assert facts.epoch.num_batches == len(stream.loader())
    reasons = {finding.name: finding.reason for finding in advise(facts)}
    assert "1.7% of the rows are bad" in reasons["bad_rows"]
    assert (
        f"1.7% of the rows have examples that are longer than max_length 32, which are dropped; the longest, "
        f"rows:{LONG_ROW} part 1," in (reasons["long_rows"])
    )


def test_every_span_is_shown_in_a_preview_and_in_the_report() -> None:
    stream = stream_of_several(lanes=1, shuffle=False)
    examples = [(row, part) for row in range(NUM_ROWS) for part in kept_parts(row, "drop")]
    preview = str(stream.preview(9, ids=True))
    shown = re.findall(r"^rows:(\d+)(?: part (\d))? \(epoch 0\)", preview, re.MULTILINE)
    numbers = [(int(row), int(part or 0)) for row, part in shown]
    assert len(numbers) == 9
    assert {*numbers} <= {*examples}
    assert preview.count(">>>") - 1 == sum(num_spans(*number) for number in numbers)  # the legend has one as well
    first = read_first(stream, num_lanes=1)
    for section in (section for bar in first.bars for section in bar.sections):
        trained = [run for run in section.runs if run.is_trained]
        assert len(trained) == num_spans(section.position.row, section.position.part)
        assert section.num_trained == 2 * len(trained)
