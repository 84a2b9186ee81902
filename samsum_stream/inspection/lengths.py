"""The lengths of examples before and after truncation, for `check`, `stats` and `report`."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from samsum_stream.config.task import ANY_LENGTH
from samsum_stream.loader.epochs.lengths import Lengths, Measured
from samsum_stream.pipeline.encoder import Encoder, RowEncoder
from samsum_stream.values.arrays import BoolArray, Int32Array, Int64Array, offsets_of, sums_of
from samsum_stream.values.counts import COUNTED, LEFT_OUT, SPLITS, UNTRAINED_TURNS, Counts
from samsum_stream.values.examples import Chunk
from samsum_stream.values.rows import Rows, Texts

WHOLE, KEPT, MASKED, OUTCOMES = range(4)
"""Columns of the values of `RowMeasure`: the tokens of an example before truncation, its tokens after truncation, its
tokens without a label after truncation, and from the last one on its outcomes, a bit for each (`BITS`).

The first three are 0 for a bad row and for a row without an example; `KEPT` and `MASKED` are 0 for a dropped example.
"""

_BITS_A_COLUMN = 31

BITS = {
    name: (OUTCOMES + number // _BITS_A_COLUMN, 1 << number % _BITS_A_COLUMN)
    for number, name in enumerate(
        name
        for name in COUNTED
        if name.split(".")[0] in LEFT_OUT or name in ("special_tokens_in_rows", *UNTRAINED_TURNS, *SPLITS)
    )
}

"""The column and the bit of each outcome."""

NUM_COLUMNS = max(column for column, _ in BITS.values()) + 1

_NO_LIMIT = 1 << 30


class RowMeasure:
    """Measures the examples of rows, int32, `[indices, NUM_COLUMNS]`. It pickles.

    Only examples that are truncated or dropped are encoded twice.

    Args:
        encoder: Encodes the rows. The `max_length` and the truncation of its tokenizers decide what is kept.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def __call__(self, rows: Rows) -> Measured:
        """Raises `RowError` if a row cannot be encoded, or is too long with truncation `error`."""
        encoder = self._encoder.of_rows(rows)
        is_split = encoder.tokenizer.splitter is not None and isinstance(rows.content, Texts)  # into the final pieces
        without_limit = encoder if is_split else _without_limit(encoder)
        chunk, indices, offsets, outcomes = without_limit.encode(rows, epoch=0)
        values = np.zeros((int(offsets[-1]), NUM_COLUMNS), np.int32)
        values[indices, WHOLE] = chunk.records["length"]
        values[indices, KEPT:OUTCOMES] = _kept_and_masked(chunk)
        names = [(outcome.example, outcome.name) for outcome in outcomes]
        if not is_split and (changed := _changed(encoder, chunk)).size:
            fitted, changed_indices = _fitted(encoder, rows, chunk, changed), indices[changed]
            values[changed_indices, KEPT:OUTCOMES] = 0
            values[changed_indices[fitted.rows], KEPT:OUTCOMES] = _kept_and_masked(fitted)
            events = [event for event in fitted.events if event.name != "special_tokens_in_rows"]
            names += [(int(changed_indices[event.row]), event.name) for event in events]
        for index, name in names:
            column, bit = BITS.get(name, (OUTCOMES, 0))
            values[index, column] |= bit
        return Measured(values, offsets, Counts(name for _, name in names))


def _without_limit(encoder: RowEncoder) -> RowEncoder:
    tokenizer = copy.copy(encoder.tokenizer)
    tokenizer.max_length, tokenizer.lengths = _NO_LIMIT, ANY_LENGTH
    return replace(encoder, tokenizer=tokenizer)


def _changed(encoder: RowEncoder, chunk: Chunk) -> Int64Array:
    """The examples of a chunk that are truncated or dropped for their length."""
    lengths, kept = chunk.records["length"], encoder.tokenizer.lengths
    return np.flatnonzero((lengths > encoder.tokenizer.max_length) | (lengths < kept.start) | (lengths >= kept.stop))


def _fitted(encoder: RowEncoder, rows: Rows, chunk: Chunk, chosen: Int64Array) -> Chunk:
    """The chosen examples of a chunk after truncation, each as the only example of a row."""
    renderings, row_of = encoder.renderer.render(rows), chunk.rows[chosen]
    chosen = np.searchsorted(renderings.rows, row_of) + chunk.records["part"][chosen]
    return encoder.tokenizer.encode(renderings.select(chosen), epoch=0)


class Measurements(Lengths):
    """The values of `RowMeasure` for rows, `[indices, NUM_COLUMNS]`. Examples have the indices of `EncodedRows`."""

    __slots__ = ()

    @classmethod
    def joined(cls, parts: Sequence[Lengths], *, shard_sizes: Sequence[int]) -> "Measurements":
        """The values of consecutive rows; `shard_sizes` are the rows of each shard."""
        offsets = offsets_of(np.concatenate([_num_indices(part) for part in parts]))
        values = np.concatenate([part.lengths for part in parts])
        return cls(values, offsets, tuple(shard_sizes), sum((part.counts for part in parts), Counts()))

    @property
    def whole(self) -> Int32Array:
        """The tokens of each example before truncation, without bad rows and rows without an example."""
        lengths: Int32Array = self.lengths[:, WHOLE]
        return lengths[lengths > 0]

    @property
    def kept(self) -> Int32Array:
        """The tokens of each example that is not dropped, after truncation."""
        lengths: Int32Array = self.lengths[:, KEPT]
        return lengths[lengths > 0]

    @property
    def masked(self) -> Int32Array:
        """The tokens without a label of each example that is not dropped."""
        masked: Int32Array = self.lengths[self.lengths[:, KEPT] > 0, MASKED]
        return masked

    @property
    def num_examples(self) -> int:
        """The examples that are not dropped."""
        return len(self.kept)

    @property
    def num_tokens(self) -> int:
        """The tokens of the examples that are not dropped."""
        return int(self.kept.sum())

    @property
    def num_cut(self) -> int:
        """The examples that were shortened."""
        whole, kept = self.lengths[:, WHOLE], self.lengths[:, KEPT]
        return int(np.count_nonzero((kept > 0) & (kept < whole)))

    @property
    def num_rows_kept(self) -> int:
        """The rows with an example that is not dropped."""
        return self.num_rows_with(self.lengths[:, KEPT] > 0)

    @property
    def trained_share(self) -> float:
        """Tokens with a label / tokens of the examples, 0 to 1."""
        return (self.num_tokens - int(self.masked.sum())) / max(self.num_tokens, 1)

    @property
    def unit(self) -> str:
        """The noun for what has a length: `row` if each row becomes one example, else `example`."""
        return "row" if len(self.lengths) == self.num_rows else "example"

    def has_outcome(self, *names: str) -> BoolArray:
        """Whether one of these outcomes happened to each example, shape `[indices]`."""
        has_outcome = np.zeros(len(self.lengths), np.bool_)
        for column, bit in map(BITS.__getitem__, names):
            has_outcome |= (self.lengths[:, column] & bit) > 0
        return has_outcome

    def num_rows_with(self, chosen: BoolArray) -> int:
        """The number of rows that have a chosen example; `chosen` has the shape `[indices]`."""
        return int(np.count_nonzero(sums_of(chosen, _num_indices(self))))

    def row_and_part(self, index: int) -> tuple[int, int]:
        """The number of an example's row, over all shards, and the number of the example in its row."""
        row = self.row_of(index)
        return row, 0 if self.offsets is None else index - int(self.offsets[row])


def quantile(lengths: Int32Array, share: float) -> int:
    """The length that this share of the lengths does not exceed; 0 without lengths."""
    return int(np.quantile(lengths, share, method="higher")) if len(lengths) else 0


def _num_indices(lengths: Lengths) -> Int64Array:
    """The number of indices of each row, shape `[rows]`."""
    return np.ones(len(lengths.lengths), np.int64) if lengths.offsets is None else np.diff(lengths.offsets)


def _kept_and_masked(chunk: Chunk) -> Int32Array:
    lengths = chunk.records["length"]
    columns: Int32Array = np.stack([lengths, lengths - chunk.num_trained], axis=1)
    return columns
