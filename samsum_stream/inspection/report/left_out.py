"""The outcomes of rows, such as dropped, truncated and skipped, each with its first examples."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from samsum_stream.errors import RowError
from samsum_stream.inspection.lengths import BITS, KEPT, WHOLE, Measurements
from samsum_stream.inspection.survey.survey import Survey
from samsum_stream.pipeline.encoder import RowEncoder
from samsum_stream.pipeline.pipeline import Pipeline
from samsum_stream.prompts.segments import text_of
from samsum_stream.sources import IndexedSource, Leaf, SequentialSource
from samsum_stream.values.arrays import offsets_of
from samsum_stream.values.counts import NOT_SELECTED
from samsum_stream.values.rows import RowPosition, Rows, Texts, TokenIds

NUM_SHOWN = 3

MAX_START, MAX_END = 360, 160
"""Characters of a long text that are shown from its start and from its end."""

EFFECTS = {
    **dict.fromkeys(NOT_SELECTED, "not selected by the config"),
    "dropped": "dropped",
    "truncated": "shortened",
    "skipped": "skipped as bad",
    "turns": "with a turn that is not trained",
    "splits.history": "in several examples, because the chat template rewrites earlier turns",
    "splits.border": "in several examples, because a token would cross the border of a turn",
    "splits.length": "in several pieces, because the text is long",
}
"""What happened to the rows, by the name of the outcome or by the group of names."""

NOTHING_IS_LEFT_OUT = tuple(effect for name, effect in EFFECTS.items() if name.startswith("splits"))


class Excerpt(NamedTuple):
    """The start of a text, the number of characters that are left out after it, and the end of the text."""

    start: str
    num_left_out: int
    end: str


class AffectedExample(NamedTuple):
    """An example, or a bad row, that has an outcome.

    Attributes:
        position: Its position.
        whole: Its tokens before truncation; 0 for a bad row.
        kept: Its tokens after truncation; 0 if it was dropped.
        text: The training text of its row, or of its example if that is not the first one; for a bad row, the error;
            empty for a row that is not selected.
    """

    position: str
    whole: int
    kept: int
    text: Excerpt


class OutcomeSummary(NamedTuple):
    """The rows that have an outcome.

    Attributes:
        name: The reason, as `stream.stats` names it.
        effect: What happened to the rows.
        num_rows: The number of rows.
        share: The share of all rows, 0 to 1.
        examples: The first ones.
    """

    name: str
    effect: str
    num_rows: int
    share: float
    examples: list[AffectedExample]


def outcomes_of(survey: Survey) -> list[OutcomeSummary]:
    """The outcomes that some row has; the most frequent first. Those that leave nothing out are the last ones."""
    frequent = sorted(_outcomes(survey), key=lambda outcome: -outcome.num_rows)
    return sorted(frequent, key=lambda outcome: outcome.effect in NOTHING_IS_LEFT_OUT)


def _outcomes(survey: Survey) -> Iterator[OutcomeSummary]:
    measured = survey.measured
    for name in BITS:
        has_outcome = measured.has_outcome(name)
        if has_outcome.any():
            kind, _, reason = name.rpartition(".")
            indices = np.flatnonzero(has_outcome)[:NUM_SHOWN].tolist()
            examples = [_affected(survey.pipeline, measured, index) for index in indices]
            num_rows = measured.num_rows_with(has_outcome)
            effect = EFFECTS.get(name) or EFFECTS.get(kind, "in the texts of the rows")
            yield OutcomeSummary(reason, effect, num_rows, num_rows / measured.num_rows, examples)


def _affected(pipeline: Pipeline, measured: Measurements, index: int) -> AffectedExample:
    """The example with an index, over all shards."""
    (number, part), starts = measured.row_and_part(index), offsets_of(measured.shard_sizes)
    shard = int(np.searchsorted(starts, number, side="right")) - 1
    leaf = next(leaf for leaf in reversed(pipeline.source.leaves) if leaf.first_shard <= shard)
    whole, kept = measured.lengths[index, [WHOLE, KEPT]].tolist()
    try:
        rows = _take(leaf, shard, number - int(starts[shard]))
        text = _text(pipeline.encoder.of_rows(rows), rows, part) if len(rows) else ""
    except RowError as error:
        place = str(error.position or pipeline.source.position(shard, number - int(starts[shard]), 0))
        return AffectedExample(place, whole, kept, excerpt(str(error).removeprefix(f"{place}: ")))
    return AffectedExample(str(_position(pipeline, rows, part)), whole, kept, excerpt(text))


def _position(pipeline: Pipeline, rows: Rows, part: int) -> RowPosition:
    """The position of an example of the only row, or of the row if it is left out."""
    if not len(rows):
        return rows.skipped[0][1].position
    return pipeline.source.position(int(rows.shards[0]), int(rows.rows[0]), 0)._replace(part=part)


def _text(encoder: RowEncoder, rows: Rows, part: int) -> str:
    """The training text of the only row, or of one of its later examples; its prompt if nothing of it is trained."""
    renderer = encoder.renderer
    if isinstance(rows.content, TokenIds):
        ids = rows.content.ids.tolist()
        return str(encoder.tokenizer.reference.tokenizer.decode(ids, skip_special_tokens=False))
    if part and not isinstance(rows.content, Texts):  # the pieces of a text share its rendering
        return text_of(renderer.render(rows).segments(part))
    return renderer.full_text(rows, 0) or text_of(renderer.prompt_segments(rows, 0))


def _take(leaf: Leaf, shard: int, row: int) -> Rows:
    """One row; for an indexed source, `row` counts over all its shards."""
    source = leaf.source
    if isinstance(source, IndexedSource):
        rows = source.take(np.array([row]))
    else:
        assert isinstance(source, SequentialSource)
        rows = next(source.blocks(shard - leaf.first_shard, num_rows=1, start=row)).take(np.zeros(1, np.int64))
    return rows.of_shards_from(leaf.first_shard)


def excerpt(text: str) -> Excerpt:
    """The start and the end of a text; the whole text if it is short."""
    num_left_out = len(text) - MAX_START - MAX_END
    return Excerpt(text[:MAX_START], num_left_out, text[-MAX_END:]) if num_left_out > 0 else Excerpt(text, 0, "")
