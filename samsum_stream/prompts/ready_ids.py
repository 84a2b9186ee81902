"""Rows of token ids: each document becomes one example, and its ids do not change.

ids       5 6 7 2 | 5 8 2        documents of one row
trained   . . x x   . x x
runs      5 6  7 2   5  8 2      already encoded
"""

from typing import NamedTuple, NoReturn

import numpy as np

from samsum_stream.errors import ConfigError
from samsum_stream.prompts.rendering import Renderer
from samsum_stream.values.arrays import BoolArray, Int64Array, Ragged, offsets_of, sums_of
from samsum_stream.values.renderings import Problem, Renderings
from samsum_stream.values.rows import Rows, TokenIds
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
        content = ids_of(rows)
        problems = self._problems(content)
        is_good = np.ones(len(content), np.bool_)
        is_good[[*problems]] = False
        good = np.flatnonzero(is_good)
        if problems:
            content = content.picked(good)
        runs, shapes, shape_of = _runs_of(content)
        return Renderings(
            texts=[],
            shapes=shapes,
            shape_of=shape_of,
            rows=np.repeat(good, content.num_documents),
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

    def _problems(self, content: TokenIds) -> dict[int, Problem]:
        """The problem of each bad row, by the index of the row."""
        size, bos, eos = self._vocabulary
        starts = offsets_of(content.row_lengths)

        def first_in_rows(is_bad: BoolArray) -> dict[int, int]:
            tokens = np.flatnonzero(is_bad)
            rows, firsts = np.unique(np.searchsorted(starts, tokens, side="right") - 1, return_index=True)
            return dict(zip(rows.tolist(), tokens[firsts].tolist(), strict=True))

        problems = {}
        if not self._allows_packed and not content.has_borders.all():
            is_open = np.repeat(~content.has_borders, content.row_lengths)
            inside = is_open.copy()
            inside[starts[:-1]] = False
            for row, token in first_in_rows(inside & (content.ids == bos)).items() if bos is not None else ():
                problems[row] = _packed(f"a bos at token {token - int(starts[row]):,}")
            untrained = sums_of(~content.trained, content.row_lengths) > 0
            inside = is_open & ~np.repeat(untrained, content.row_lengths)
            inside[starts[1:] - 1] = False
            for row, token in first_in_rows(inside & (content.ids == eos)).items() if eos is not None else ():
                problems.setdefault(row, _packed(f"an eos at token {token - int(starts[row]):,}"))
        for row, token in first_in_rows(content.ids >= size).items():
            text = f"field 'input_ids' has the id {content.ids[token]:,}, and the tokenizer has {size:,} tokens"
            problems[row] = Problem("input_ids", "bad_ids", f"{text}; give the tokenizer with which the ids were made")
        return problems


def ids_of(rows: Rows) -> TokenIds:
    """The content of rows of ids."""
    assert isinstance(rows.content, TokenIds)
    return rows.content


def _packed(what: str) -> Problem:
    return Problem(
        "input_ids",
        "no_borders",
        f"field 'input_ids' has {what} of the row, so the row seems to hold padding or several documents, which would "
        "see each other; name position_ids or seq_lengths (or attention_mask) under `columns:`, or write "
        "tokenizer_config: {ids_without_borders: one_document} if each row is one document",
    )


def _runs_of(content: TokenIds) -> tuple[Ragged, tuple[Shape, ...], Int64Array]:
    """The ids of each run of all documents, the different shapes, and the index of each document's shape."""
    trained, documents = content.trained, offsets_of(content.lengths)
    starts_run = np.concatenate([[True], trained[1:] != trained[:-1]])[: len(trained)]
    starts_run[documents[:-1]] = True
    starts = np.flatnonzero(starts_run)
    num_runs = np.diff(np.searchsorted(starts, documents))
    kinds = 2 * num_runs + trained[documents[:-1]]
    different, shape_of = np.unique(kinds, return_inverse=True)
    shapes = tuple(_shape(num_runs=kind // 2, begins_trained=bool(kind % 2)) for kind in different.tolist())
    return Ragged(content.ids, np.append(starts, len(content.ids))), shapes, shape_of


def _shape(*, num_runs: int, begins_trained: bool) -> Shape:
    return tuple(Run(begins_trained ^ bool(number % 2), number > 0, ()) for number in range(num_runs))


def _no_text(index: int) -> NoReturn:
    raise ConfigError("a row of ids has no prompt and no text; use its ids, or decode them with stream.tokenizer")
