"""Causal attention in which each rank of context parallelism has some parts of every row.

`scaled_dot_product_attention` inside `context_parallel` of torch does this on GPUs only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Shard
from transformers import AttentionInterface

from samsum_stream.batching.sharded_rows import head_and_tail

GATHERED = "gathered over ranks"
"""The name of this attention in transformers, which makes no mask for it."""

_mesh: DeviceMesh | None = None


@contextmanager
def attend_over(mesh: DeviceMesh) -> Iterator[None]:
    """Inside the `with` block, tokens attend to those of all ranks of a mesh of one dimension."""
    global _mesh
    _mesh = mesh
    try:
        yield
    finally:
        _mesh = None


def gathered_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    scaling: float,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of the parts of this rank, `[B, H, T / n, D]`, to all earlier tokens of the rows."""
    assert attention_mask is None
    assert _mesh is not None
    order = head_and_tail(query.shape[2] * _mesh.size(), _mesh.size())
    is_later = order[_mesh.get_local_rank()][:, None] < order.flatten()
    groups = query.shape[1] // key.shape[1]
    key, value = (_of_all_ranks(part).repeat_interleave(groups, dim=1) for part in (key, value))
    scores = (query @ key.mT * scaling).masked_fill(is_later, -torch.inf)
    return (scores.softmax(-1) @ value).transpose(1, 2).contiguous(), None


def _of_all_ranks(part: torch.Tensor) -> torch.Tensor:
    """The parts of all ranks; each rank has a part of the gradient of the result."""
    whole = DTensor.from_local(part.contiguous(), _mesh, [Shard(2)])
    return whole.full_tensor(grad_placements=[Partial()])


AttentionInterface.register(GATHERED, gathered_attention)
