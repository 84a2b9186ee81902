"""Rows of token ids: each document becomes one example, and its ids do not change.

ids       5 6 7 2 | 5 8 2        documents of one row
trained   . . x x   . x x
runs      5 6  7 2   5  8 2      already encoded
"""

from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import numpy as np

from samsum_stream.errors import ConfigError
from samsum_stream.prompts.rendering import Renderer
from samsum_stream.values.arrays import Int64Array, Ragged, offsets_of
from samsum_stream.values.renderings import Problem, Renderings
from samsum_stream.values.rows import ReadyIds, Rows, TokenIds
from samsum_stream.values.runs import Run, Shape


class Vocabulary(NamedTuple):
    """What the renderer knows of the tokenizer: the number of its tokens, and its bos and eos, if it has them."""

    size: int
    bos_token_id: int | None
    eos_token_id: int | None


class ReadyIdsRenderer(Renderer):
    """Renders documents that are ids.

    Args:
        vocabulary: The tokens that can occur.
        allows_packed: Whether a row without borders is one document, also if it seems to hold several.
    """

    def __init__(self, vocabulary: Vocabulary, *, allows_packed: bool) -> None:
        self._vocabulary, self._allows_packed = vocabulary, allows_packed

    def render(self, rows: Rows) -> Renderings:
        ready = _ready(rows)
        problems = {index: problem for index, row in enumerate(ready) if (problem := self._problem(row)) is not None}
        good = np.array([index for index in range(len(ready)) if index not in problems], np.int64)
        chosen = [ready[index] for index in good.tolist()]
        runs, shapes, shape_of = _runs_of(chosen)
        return Renderings(
            texts=[],
            shapes=shapes,
            shape_of=shape_of,
            rows=np.repeat(good, [len(row.lengths) for row in chosen]),
            shards=rows.shards,
            numbers=rows.rows,
            segments=_no_text,
            is_complete=True,
            problems=problems,
            ids=runs,
        )

    def prompt_segments(self, rows: Rows, index: int) -> NoReturn:
        _no_text(index)

    def full_text(self, rows: Rows, index: int) -> NoReturn:
        _no_text(index)

    def _problem(self, row: ReadyIds) -> Problem | None:
        size, bos, eos = self._vocabulary
        if (largest := int(row.ids.max())) >= size:
            text = f"field 'input_ids' has the id {largest:,}, and the tokenizer has {size:,} tokens"
            return Problem("input_ids", "bad_ids", f"{text}; give the tokenizer with which the ids were made")
        if row.has_borders or self._allows_packed:
            return None
        if bos is not None and (found := np.flatnonzero(row.ids[1:] == bos)).size:
            return _packed(f"a bos at token {int(found[0]) + 1:,}")
        if eos is not None and row.trained.all() and (found := np.flatnonzero(row.ids[:-1] == eos)).size:
            return _packed(f"an eos at token {int(found[0]):,}")
        return None


def _packed(what: str) -> Problem:
    return Problem(
        "input_ids",
        "no_borders",
        f"field 'input_ids' has {what} of the row, so the row seems to hold padding or several documents, which would "
        "see each other; name position_ids or seq_lengths (or attention_mask) under `columns:`, or write "
        "tokenizer_config: {ids_without_borders: one_document} if each row is one document",
    )


def _runs_of(ready: Sequence[ReadyIds]) -> tuple[Ragged, tuple[Shape, ...], Int64Array]:
    """The ids of each run of all documents, the different shapes, and the index of each document's shape."""
    ids = np.concatenate([np.empty(0, np.int32), *(row.ids for row in ready)])
    trained = np.concatenate([np.empty(0, np.bool_), *(row.trained for row in ready)])
    lengths = np.concatenate([np.empty(0, np.int64), *(row.lengths for row in ready)])
    documents = offsets_of(lengths)
    changes = np.flatnonzero(trained[1:] != trained[:-1]) + 1
    starts = np.union1d(changes, documents[:-1])
    num_runs = np.diff(np.searchsorted(starts, documents))
    kinds = 2 * num_runs + trained[documents[:-1]]
    different, shape_of = np.unique(kinds, return_inverse=True)
    shapes = tuple(_shape(num_runs=kind // 2, begins_trained=bool(kind % 2)) for kind in different.tolist())
    return Ragged(ids, np.append(starts, len(ids))), shapes, shape_of


def _shape(*, num_runs: int, begins_trained: bool) -> Shape:
    return tuple(Run(begins_trained ^ bool(number % 2), number > 0, ()) for number in range(num_runs))


def _ready(rows: Rows) -> list[ReadyIds]:
    assert isinstance(rows.content, TokenIds)
    return rows.content.rows


def _no_text(index: int) -> NoReturn:
    raise ConfigError("a row of ids has no prompt and no text; use its ids, or decode them with stream.tokenizer")
