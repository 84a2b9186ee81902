"""Packs to the tensors that a model takes as arguments.

    padded         [B, T]           input_ids, attention_mask, labels
    packed         [B, max_length]  input_ids, labels, position_ids, and the tensors that `attention.py` adds
    padding_free   [1, sum T]       input_ids, labels, position_ids, cu_seq_lens_q/k, max_length_q/k

The last dimension is rounded up to a multiple of `pad_to_multiple_of`.
In packed rows, `position_ids` restart at 0 with each example, and there is no 2-D `attention_mask`. Transformers
detects packed rows in this way (`masking_utils.find_packed_sequence_indices`), and keeps documents isolated.
"""

import copy
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
from samsum_stream.values.limits import Limits


class Collator(ABC):
    """Turns packs into a dict of tensors. `input_ids`, `labels` and `position_ids` are int64.

    Args:
        pad_token_id: The padding of `input_ids`.
        max_length: The maximum number of tokens in a pack.
        ignore_index: The label of tokens that are not trained.
        pad_to_multiple_of: If given, the length of the rows is rounded up to a multiple of this number.

    Attributes:
        limits: The sizes of the tables of the model that the batches are for, if it is known.
    """

    limits: Limits | None = None
    has_fixed_shape = False
    """Whether every batch has the same number of rows. If there are too few packs, rows of padding are added."""

    def __init__(
        self,
        *,
        pad_token_id: int,
        max_length: int,
        ignore_index: int = IGNORE_INDEX,
        pad_to_multiple_of: int | None = None,
    ) -> None:
        self.pad_token_id, self.max_length, self.ignore_index = pad_token_id, max_length, ignore_index
        self.pad_to_multiple_of = pad_to_multiple_of or 1

    def __call__(self, packs: Sequence[Pack]) -> dict[str, Any]:
        return self.collate(Batch.of_packs(packs))

    @abstractmethod
    def collate(self, batch: Batch) -> dict[str, Any]:
        """The tensors of a batch, by the name of the model's argument."""

    def _width(self, length: int) -> int:
        """The length of rows that hold `length` tokens."""
        return -(-length // self.pad_to_multiple_of) * self.pad_to_multiple_of

    def _labels(self, batch: Batch) -> Int32Array:
        """The label of each token, shape `[sum T]`."""
        labels = batch.tokens.ids.copy()
        labels[~batch.trained] = self.ignore_index
        return labels


class Padded(Collator):
    """One example per row, padded to the longest example.

    Args:
        padding_side: The side of the padding.
        kwargs: The arguments of `Collator`.
    """

    def __init__(self, *, padding_side: Literal["right", "left"] = "right", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.padding_side = padding_side

    def collate(self, batch: Batch) -> dict[str, Any]:
        width = self._width(int(batch.tokens.lengths.max()))
        as_rows = partial(_as_rows, ends=batch.tokens.offsets, width=width, side=self.padding_side)
        return {
            "input_ids": as_rows(batch.tokens.ids, fill=self.pad_token_id),
            "attention_mask": as_rows(np.ones(len(batch.tokens.ids), np.int64), fill=0),
            "labels": as_rows(self._labels(batch), fill=self.ignore_index),
        }


class Packed(Collator):
    """One pack per row, padded to `max_length`. Positions restart at each example, and are 0 on padding.

    Args:
        attention: A name of `ATTENTION`; `auto` is `position_ids` until a model is measured.
        kwargs: The arguments of `Collator`.

    Attributes:
        dtype: The dtype of a block mask, which is the dtype of the model.
    """

    has_fixed_shape = True

    def __init__(self, *, attention: str = "auto", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.attention = "position_ids" if attention == "auto" else attention
        self.dtype = torch.float32

    def with_attention(self, attention: str, *, dtype: torch.dtype) -> "Packed":
        """A copy of this collator with another form of attention; `dtype` is the dtype of a block mask."""
        collator = copy.copy(self)
        collator.attention, collator.dtype = attention, dtype
        return collator

    def collate(self, batch: Batch) -> dict[str, Any]:
        as_rows = partial(_as_rows, ends=batch.pack_offsets, width=self._width(self.max_length))
        tensors = {
            "input_ids": as_rows(batch.tokens.ids, fill=self.pad_token_id),
            "labels": as_rows(self._labels(batch), fill=self.ignore_index),
            "position_ids": as_rows(positions_of(batch), fill=0),
        }
        return ATTENTION[self.attention](tensors, batch, self.dtype)


class PaddingFree(Collator):
    """All examples of the batch end to end in one row, with their borders as arguments of FlashAttention, int32.

    The padding after the last example is a document of its own. Its positions are 0.
    """

    def collate(self, batch: Batch) -> dict[str, Any]:
        length = len(batch.tokens.ids)
        width = self._width(length)
        as_rows = partial(_as_rows, ends=np.array([0, length]), width=width)
        borders = torch.from_numpy(np.union1d(batch.tokens.offsets, width).astype(np.int32))
        longest = self._width(int(batch.tokens.lengths.max()))
        return {
            "input_ids": as_rows(batch.tokens.ids, fill=self.pad_token_id),
            "labels": as_rows(self._labels(batch), fill=self.ignore_index),
            "position_ids": as_rows(positions_of(batch), fill=0),
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
"""The layouts by name, as configs name them."""


def positions_of(batch: Batch) -> Int32Array:
    """The position of each token in its example, shape `[sum T]`."""
    starts = batch.tokens.offsets[:-1].astype(np.int32)
    positions = np.arange(len(batch.tokens.ids), dtype=np.int32)
    positions -= np.repeat(starts, batch.tokens.lengths)
    return positions


def _as_rows(
    flat: Int64Array | Int32Array, *, ends: Int64Array, width: int, fill: int, side: Literal["right", "left"] = "right"
) -> torch.Tensor:
    """Flat values as padded rows, shape `[B, width]`.

    Args:
        flat: The values of all rows.
        ends: Row `b` has the values `ends[b]` up to `ends[b + 1]`, shape `[B + 1]`.
        width: The length of the rows.
        fill: The padding.
        side: The side of the padding.
    """
    rows = np.empty((len(ends) - 1, width), np.int64)
    if len(flat) == rows.size:  # best_fit fills nearly all packs; without padding, one copy is three times as fast
        rows.ravel()[:] = flat
        return torch.from_numpy(rows)
    for row, (start, end) in enumerate(pairwise(ends.tolist())):
        room = width - (end - start)
        first = room if side == "left" else 0
        rows[row, first : first + end - start] = flat[start:end]
        if room:
            rows[row, slice(room) if side == "left" else slice(-room, None)] = fill
    return torch.from_numpy(rows)
