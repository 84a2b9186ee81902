"""The attention information of packed batches, in four forms; the model determines which forms isolate documents.

position_ids   0 1 2 0 1 0 0      restart at each document; many models of transformers infer the borders from them
block_mask     [B, 1, T, T]       0 where a token may attend, the lowest number of the dtype elsewhere
varlen         [1, B * T]         the borders as arguments of FlashAttention
full           1 1 1 1 1 1 1      no borders: every document attends to the documents before it
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from samsum_stream.values.batches import Batch

Tensors = dict[str, Any]


def position_ids(tensors: Tensors, batch: Batch, dtype: torch.dtype) -> Tensors:
    """Add nothing. Transformers detects packed rows by `position_ids` if it gets no `attention_mask` and no cache."""
    return tensors


def block_mask(tensors: Tensors, batch: Batch, dtype: torch.dtype) -> Tensors:
    """Add a mask that is causal within each document, of type `dtype` and shape `[B, 1, T, T]`.

    A token of padding attends only to itself.
    """
    document = (tensors["position_ids"] == 0).cumsum(1)
    attends = (document[:, :, None] == document[:, None, :]).tril_()
    mask = torch.full(attends.shape, torch.finfo(dtype).min, dtype=dtype).masked_fill_(attends, 0)
    return {**tensors, "attention_mask": mask[:, None]}


def varlen(tensors: Tensors, batch: Batch, dtype: torch.dtype) -> Tensors:
    """Join all rows to one row of shape `[1, B * T]`, and add the borders of documents and of padding, int32."""
    num_rows, width = tensors["input_ids"].shape
    rows = width * np.arange(num_rows)
    documents = batch.tokens.offsets[:-1] + np.repeat(rows - batch.pack_offsets[:-1], batch.pack_sizes)
    padding = rows + np.diff(batch.pack_offsets)
    borders = torch.from_numpy(np.unique([*documents, *padding, num_rows * width]).astype(np.int32))
    return {
        **{name: tensor.reshape(1, -1) for name, tensor in tensors.items()},
        "cu_seq_lens_q": borders,
        "cu_seq_lens_k": borders,
        # An upper bound is enough, and a constant one avoids recompilation.
        "max_length_q": width,
        "max_length_k": width,
    }


def full(tensors: Tensors, batch: Batch, dtype: torch.dtype) -> Tensors:
    """Add a mask of ones, shape `[B, T]`. With a mask, transformers does not look for documents."""
    return {**tensors, "attention_mask": torch.ones_like(tensors["input_ids"])}


ATTENTION: dict[str, Callable[[Tensors, Batch, torch.dtype], Tensors]] = {
    "position_ids": position_ids,
    "block_mask": block_mask,
    "varlen": varlen,
    "full": full,
}
"""The forms by name. A function takes `[B, T]` tensors, the batch and the model's dtype, and returns new tensors."""
