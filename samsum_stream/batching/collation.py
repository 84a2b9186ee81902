"""Packs to the tensors that a model takes, and nothing that it does not.

    padded         [B, T]           input_ids, attention_mask, labels
    packed         [B, max_length]  input_ids, labels, position_ids, and what `attention.py` adds
    padding_free   [1, sum T]       input_ids, labels, position_ids, cu_seq_lens_q/k, max_length_q/k

Documents never see each other: `position_ids` restart at 0 with each example and no `attention_mask` is given,
which is how transformers detects packed rows (`masking_utils.find_packed_sequence_indices`).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch

from samsum_stream.batching.attention import ATTENTION
from samsum_stream.values.arrays import Int32Array, Int64Array
from samsum_stream.values.batches import Batch, Pack
from samsum_stream.values.examples import IGNORE_INDEX


class Collator(ABC):
    """Turns packs into a dict of tensors, int64 where a model takes ids.

    Args:
        pad_token_id: What fills up `input_ids`.
        max_length: Tokens in a pack.
        ignore_index: The label of tokens that do not train.
    """

    has_fixed_shape = False
    """Whether every batch has as many rows; where packs are missing, rows of padding take their places."""

    def __init__(self, *, pad_token_id: int, max_length: int, ignore_index: int = IGNORE_INDEX) -> None:
        self.pad_token_id, self.max_length, self.ignore_index = pad_token_id, max_length, ignore_index

    def __call__(self, packs: Sequence[Pack]) -> dict[str, Any]:
        return self.collate(Batch.of_packs(packs))

    @abstractmethod
    def collate(self, batch: Batch) -> dict[str, Any]:
        """The tensors of a batch."""

    def _labels(self, batch: Batch) -> Int32Array:
        """Flat labels, shape `[sum T]`."""
        masked = batch.num_masked_tokens
        borders = np.stack([masked, batch.tokens.lengths - masked], axis=1)
        labels = batch.tokens.ids.copy()
        np.copyto(labels, self.ignore_index, where=np.repeat(np.tile([True, False], len(borders)), borders.ravel()))
        return labels


class Padded(Collator):
    """One example a row, filled up to the longest, or on to a multiple of `pad_to_multiple_of`."""

    def __init__(
        self,
        *,
        pad_token_id: int,
        max_length: int,
        ignore_index: int = IGNORE_INDEX,
        pad_to_multiple_of: int | None = None,
        padding_side: Literal["right", "left"] = "right",
    ) -> None:
        super().__init__(pad_token_id=pad_token_id, max_length=max_length, ignore_index=ignore_index)
        self.pad_to_multiple_of = pad_to_multiple_of or 1
        self.padding_side = padding_side

    def collate(self, batch: Batch) -> dict[str, Any]:
        lengths = batch.tokens.lengths
        width = -(-int(lengths.max()) // self.pad_to_multiple_of) * self.pad_to_multiple_of
        as_rows = partial(_as_rows, ends=batch.tokens.offsets, width=width, side=self.padding_side)
        return {
            "input_ids": as_rows(batch.tokens.ids, fill=self.pad_token_id),
            "attention_mask": as_rows(np.ones(len(batch.tokens.ids), np.int64), fill=0),
            "labels": as_rows(self._labels(batch), fill=self.ignore_index),
        }


class Packed(Collator):
    """One pack a row, filled up to `max_length`; positions restart at each example and are 0 on padding.

    Args:
        attention: A name of `ATTENTION`. `auto` is `position_ids` until a model is measured, which sets `attention`.

    Attributes:
        dtype: That of a block mask: the model's.
    """

    has_fixed_shape = True

    def __init__(
        self, *, pad_token_id: int, max_length: int, ignore_index: int = IGNORE_INDEX, attention: str = "auto"
    ) -> None:
        super().__init__(pad_token_id=pad_token_id, max_length=max_length, ignore_index=ignore_index)
        self.attention = "position_ids" if attention == "auto" else attention
        self.dtype = torch.float32

    def collate(self, batch: Batch) -> dict[str, Any]:
        as_rows = partial(_as_rows, ends=batch.pack_offsets, width=self.max_length)
        tensors = {
            "input_ids": as_rows(batch.tokens.ids, fill=self.pad_token_id),
            "labels": as_rows(self._labels(batch), fill=self.ignore_index),
            "position_ids": as_rows(positions_of(batch), fill=0),
        }
        return ATTENTION[self.attention](tensors, batch, self.dtype)


class PaddingFree(Collator):
    """All examples of the batch end to end in one row, with the borders that varlen attention takes."""

    def collate(self, batch: Batch) -> dict[str, Any]:
        borders = torch.from_numpy(batch.tokens.offsets.astype(np.int32))
        longest = int(batch.tokens.lengths.max())
        return {
            "input_ids": torch.from_numpy(batch.tokens.ids.astype(np.int64))[None],
            "labels": torch.from_numpy(self._labels(batch).astype(np.int64))[None],
            "position_ids": torch.from_numpy(positions_of(batch).astype(np.int64))[None],
            "cu_seq_lens_q": borders,
            "cu_seq_lens_k": borders,
            "max_length_q": longest,
            "max_length_k": longest,
        }


COLLATORS: dict[str, type[Collator]] = {
    "packed": Packed,
    "padded": Padded,
    "padding_free": PaddingFree,
}


def positions_of(batch: Batch) -> Int32Array:
    """The position of each token in its example, shape `[sum T]`."""
    starts = batch.tokens.offsets[:-1].astype(np.int32)
    positions = np.arange(len(batch.tokens.ids), dtype=np.int32)
    positions -= np.repeat(starts, batch.tokens.lengths)
    return positions


def _as_rows(
    flat: Int64Array | Int32Array, *, ends: Int64Array, width: int, fill: int, side: Literal["right", "left"] = "right"
) -> torch.Tensor:
    """Stretches of flat values as rows `[B, width]`, filled up at a side; stretch `b` is `[ends[b], ends[b + 1])`."""
    rows = np.empty((len(ends) - 1, width), np.int64)
    for row, (start, end) in enumerate(pairwise(ends.tolist())):
        room = width - (end - start)
        first = room if side == "left" else 0
        rows[row, first : first + end - start] = flat[start:end]
        if room:
            rows[row, slice(room) if side == "left" else slice(-room, None)] = fill
    return torch.from_numpy(rows)
