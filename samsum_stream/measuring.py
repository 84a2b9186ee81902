"""How long rows are, before and after truncation, for `check` and `stats`: one encoding of each row that fits."""

import copy

import numpy as np

from samsum_stream.samples import Int32Array, Rows
from samsum_stream.stats import Counts
from samsum_stream.tokenization import RowTokenizer

WHOLE, KEPT, MASKED = range(3)
"""Columns of what `measure_row` finds: tokens of the whole row, of its example, and of the example without a label.

A bad row has 0 in all of them, and one that is dropped in the last two.
"""

_NO_LIMIT = 1 << 30


class RowMeasure:
    """Measures rows, `[num_asked, 3]`, with what befell them; it pickles.

    Args:
        tokenizer: Whose `max_length` and truncation decide what is kept.
    """

    def __init__(self, tokenizer: RowTokenizer) -> None:
        self.tokenizer, self._unlimited = tokenizer, copy.copy(tokenizer)
        self._unlimited.max_length = _NO_LIMIT

    def __call__(self, rows: Rows) -> tuple[Int32Array, Counts]:
        """Raises `RowError` where a row cannot be encoded, or is too long with truncation `error`."""
        found, counts = np.zeros((rows.num_asked, 3), np.int32), Counts()
        if not len(rows):
            return found, counts
        whole = self._unlimited.encode(rows, epoch=0)
        lengths, places = whole.records["length"], rows.places[whole.rows]
        found[places] = np.stack([lengths, lengths, _masked(whole.records)], axis=1)
        counts.update(name for _, name in whole.events)
        too_long = np.flatnonzero(lengths > self.tokenizer.max_length)
        if too_long.size:
            kept = self.tokenizer.encode(rows.select(whole.rows[too_long]), epoch=0)
            found[places[too_long], KEPT:] = 0
            lengths = kept.records["length"]
            found[places[too_long[kept.rows]], KEPT:] = np.stack([lengths, _masked(kept.records)], axis=1)
            counts.update(name for _, name in kept.events if name != "special_tokens_in_rows")
        return found, counts


def trained_share(measured: Int32Array) -> float:
    """Tokens with a label / tokens of the examples, 0 to 1."""
    kept, masked = int(measured[:, KEPT].sum()), int(measured[:, MASKED].sum())
    return (kept - masked) / kept if kept else 0.0


def _masked(records: np.ndarray) -> Int32Array:
    """As labels are: the prompt, and always the first token."""
    masked: Int32Array = np.clip(records["num_prompt_tokens"], 1, records["length"])
    return masked
