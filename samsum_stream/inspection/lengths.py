"""How long rows are, before and after truncation, for `check` and `stats`: one encoding of each row that fits."""

import copy
from collections.abc import Iterable

import numpy as np

from samsum_stream.tokenization import RowTokenizer
from samsum_stream.values.arrays import Int32Array, Int64Array
from samsum_stream.values.counts import COUNTED, Counts
from samsum_stream.values.rows import Rows

WHOLE, KEPT, MASKED, BEFELL = range(4)
"""Columns of what `RowMeasure` finds: tokens of the whole row, of its example, and of the example without a label; and
what befell the row, as the sum of its `BITS`.

A bad row has 0 in the first three, and one that is dropped in `KEPT` and `MASKED`.
"""

BITS = {name: 1 << number for number, name in enumerate(COUNTED)}

_NO_LIMIT = 1 << 30


class RowMeasure:
    """Measures rows, `[num_asked, 4]`, with what befell them; it pickles.

    Args:
        tokenizer: Whose `max_length` and truncation decide what is kept.
    """

    def __init__(self, tokenizer: RowTokenizer) -> None:
        self.tokenizer, self._unlimited = tokenizer, copy.copy(tokenizer)
        self._unlimited.max_length = _NO_LIMIT

    def __call__(self, rows: Rows) -> tuple[Int32Array, Counts]:
        """Raises `RowError` where a row cannot be encoded, or is too long with truncation `error`."""
        found, counts = np.zeros((rows.num_asked, 4), np.int32), Counts()
        for place, bad in rows.skipped:
            found[place, BEFELL] = BITS[f"skipped.{bad.reason}"]
        if not len(rows):
            return found, counts
        whole = self._unlimited.encode(rows, epoch=0)
        lengths, places = whole.records["length"], rows.places[whole.rows]
        found[places, :BEFELL] = np.stack([lengths, lengths, _masked(whole.records)], axis=1)
        counts += _noted(found, rows.places, whole.events)
        too_long = np.flatnonzero(lengths > self.tokenizer.max_length)
        if too_long.size:
            kept = self.tokenizer.encode(rows.select(whole.rows[too_long]), epoch=0)
            places = places[too_long]
            found[places, KEPT:BEFELL] = 0
            lengths = kept.records["length"]
            found[places[kept.rows], KEPT:BEFELL] = np.stack([lengths, _masked(kept.records)], axis=1)
            events = [event for event in kept.events if event[1] != "special_tokens_in_rows"]
            counts += _noted(found, places, events)
        return found, counts


def trained_share(measured: Int32Array) -> float:
    """Tokens with a label / tokens of the examples, 0 to 1."""
    kept, masked = int(measured[:, KEPT].sum()), int(measured[:, MASKED].sum())
    return (kept - masked) / kept if kept else 0.0


def _noted(found: Int32Array, places: Int64Array, events: Iterable[tuple[int, str]]) -> Counts:
    """Writes down in `found` what befell rows, whose places those are, and counts it."""
    counts = Counts()
    for row, name in events:
        found[places[row], BEFELL] |= BITS[name]
        counts[name] += 1
    return counts


def _masked(records: np.ndarray) -> Int32Array:
    """As labels are: the prompt, and always the first token."""
    masked: Int32Array = np.clip(records["num_prompt_tokens"], 1, records["length"])
    return masked
