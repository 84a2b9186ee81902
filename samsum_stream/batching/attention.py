"""What a packed batch says of its documents, so that none sees another: which form is exact depends on the model.

position_ids   0 1 2 0 1 0 0      restart at each document; transformers infers the borders where it looks at them
block_mask     [B, 1, T, T]       0 where a token may look, the least number of its dtype elsewhere
varlen         [1, B * T]         the borders themselves, as FlashAttention takes them
full           1 1 1 1 1 1 1      none: every document sees those before it
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from samsum_stream.values.batches import Batch

Tensors = dict[str, Any]


def position_ids(tensors: Tensors, batch: Batch, dtype: torch.dtype) -> Tensors:
    """The positions alone: transformers finds packed rows where no `attention_mask` and no cache is given."""
    return tensors


def block_mask(tensors: Tensors, batch: Batch, dtype: torch.dtype) -> Tensors:
    """A causal mask within each document, float of shape `[B, 1, T, T]`; a token of padding sees itself alone."""
    document = (tensors["position_ids"] == 0).cumsum(1)
    sees = (document[:, :, None] == document[:, None, :]).tril_()
    mask = torch.full(sees.shape, torch.finfo(dtype).min, dtype=dtype).masked_fill_(sees, 0)
    return {**tensors, "attention_mask": mask[:, None]}


def varlen(tensors: Tensors, batch: Batch, dtype: torch.dtype) -> Tensors:
    """All rows end to end, `[1, B * T]`, with the borders of documents and of the padding behind them."""
    num_rows, width = tensors["input_ids"].shape
    rows = width * np.arange(num_rows)
    documents = batch.tokens.offsets[:-1] + np.repeat(rows - batch.pack_offsets[:-1], batch.pack_sizes)
    padding = rows + np.diff(batch.pack_offsets)
    borders = torch.from_numpy(np.unique([*documents, *padding, num_rows * width]).astype(np.int32))
    return {
        **{name: tensor.reshape(1, -1) for name, tensor in tensors.items()},
        "cu_seq_lens_q": borders,
        "cu_seq_lens_k": borders,
        # An upper bound will do, and one that never changes is compiled once.
        "max_length_q": width,
        "max_length_k": width,
    }


def full(tensors: Tensors, batch: Batch, dtype: torch.dtype) -> Tensors:
    """A plain mask of ones, with which transformers looks for no documents."""
    return {**tensors, "attention_mask": torch.ones_like(tensors["input_ids"])}


ATTENTION: dict[str, Callable[[Tensors, Batch, torch.dtype], Tensors]] = {
    "position_ids": position_ids,
    "block_mask": block_mask,
    "varlen": varlen,
    "full": full,
}
