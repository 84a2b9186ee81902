"""What befell rows, by reason, with some rows of each: their positions and texts."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from samsum_stream.errors import RowError
from samsum_stream.inspection.lengths import BEFELL, BITS, KEPT, WHOLE
from samsum_stream.inspection.survey.survey import Survey
from samsum_stream.loader.epochs.lengths import Lengths
from samsum_stream.pipeline.pipeline import Pipeline
from samsum_stream.prompts.rendering import message_of
from samsum_stream.sources import IndexedSource, Leaf, SequentialSource
from samsum_stream.values.rows import Rows

NUM_SHOWN = 3

MAX_START, MAX_END = 360, 160
"""Characters of a text that are shown of its start and of its end, where it has more than both."""

TOLD = {"dropped": "dropped", "truncated": "shortened", "skipped": "skipped as bad"}


class Excerpt(NamedTuple):
    """The start of a text, how many characters are left out behind it, and the end."""

    start: str
    num_left_out: int
    end: str


class Fate(NamedTuple):
    """A row that something befell.

    Attributes:
        position: Where it stands.
        whole: Its tokens before truncation; 0 of a bad row.
        kept: Those of its example; 0 of a dropped row.
        text: The whole row as it is rendered; of a bad row, the error that it raises.
    """

    position: str
    whole: int
    kept: int
    text: Excerpt


class Reason(NamedTuple):
    """Why rows were dropped, shortened or skipped, or what was found in them.

    Attributes:
        name: As `stream.stats` calls it.
        what: What that did to them.
        num_rows: How many there are.
        share: Of all rows, 0 to 1.
        fates: The first ones.
    """

    name: str
    what: str
    num_rows: int
    share: float
    fates: list[Fate]


def befallen(survey: Survey) -> list[Reason]:
    """The reasons that some row has; most rows first."""
    return sorted(_reasons(survey), key=lambda reason: -reason.num_rows)


def _reasons(survey: Survey) -> Iterator[Reason]:
    found = survey.found
    for name, bit in BITS.items():
        numbers = np.flatnonzero(found.lengths[:, BEFELL] & bit)
        if len(numbers):
            kind, _, reason = name.rpartition(".")
            fates = [_fate(survey.pipeline, found, number) for number in numbers[:NUM_SHOWN].tolist()]
            share = len(numbers) / len(found.lengths)
            yield Reason(reason, TOLD.get(kind, "found in the rows' own text"), len(numbers), share, fates)


def _fate(pipeline: Pipeline, found: Lengths, number: int) -> Fate:
    """Of the row of that number, over all shards."""
    starts = np.cumsum([0, *found.shard_sizes])
    shard = int(np.searchsorted(starts, number, side="right")) - 1
    leaf = next(leaf for leaf in reversed(pipeline.source.leaves) if leaf.first_shard <= shard)
    row = number - int(starts[shard])
    whole, kept = found.lengths[number, [WHOLE, KEPT]].tolist()
    try:
        rows = _take(leaf, shard, row)
    except RowError as error:
        place = str(error.position)
        return Fate(place, whole, kept, excerpt(str(error).removeprefix(f"{place}: ")))
    position = pipeline.source.position(int(rows.shards[0]), int(rows.rows[0]), 0)
    text = pipeline.tokenizer.sides.renderer.full_text(message_of(rows, 0))
    return Fate(str(position), whole, kept, excerpt(text))


def _take(leaf: Leaf, shard: int, row: int) -> Rows:
    """One row; of an indexed source, `row` counts over all of its shards."""
    source = leaf.source
    if isinstance(source, IndexedSource):
        rows = source.take(np.array([row]))
    else:
        assert isinstance(source, SequentialSource)
        rows = next(source.blocks(shard - leaf.first_shard, num_rows=1, start=row)).take(np.zeros(1, np.int64))
    return rows.of_shards_from(leaf.first_shard)


def excerpt(text: str) -> Excerpt:
    """A text as it is where it is short."""
    num_left_out = len(text) - MAX_START - MAX_END
    return Excerpt(text[:MAX_START], num_left_out, text[-MAX_END:]) if num_left_out > 0 else Excerpt(text, 0, "")
