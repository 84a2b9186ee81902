"""Whether a model computes the parts of a row as it computes the row, measured in one process.

The parts of a row, one for each rank, are rows of a batch. What a rank computes alone is computed for each row alone.
Only `scaled_dot_product_attention` sees all parts, as in `context_parallel` of torch. A model that mixes tokens
elsewhere, that counts its own positions, or that ignores `shift_labels`, gives other log-probabilities or gradients.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from samsum_stream.batching.collation import Padded
from samsum_stream.batching.sharded_rows import ShardedPadded, head_and_tail
from samsum_stream.errors import ConfigError
from samsum_stream.training.caches import without_caches
from samsum_stream.training.isolation import one_line, tolerance_of
from samsum_stream.training.probing import make_probes, probing_mode
from samsum_stream.training.readiness import unwrapped
from samsum_stream.values.batches import Batch, Pack

logger = logging.getLogger(__name__)


def require_exact_shards(model: Any, packs: Sequence[Pack], *, collator: Padded, num_shards: int) -> None:
    """Raises `ConfigError` if ranks that have parts of rows would not train a model as one rank does.

    Args:
        model: A causal language model of transformers that can run.
        packs: At least one pack of the stream.
        collator: The collator of whole rows.
        num_shards: The number of ranks that have parts of the same rows.
    """
    model = unwrapped(model)
    name = type(model).__name__
    try:
        if (found := _difference(model, packs, collator, num_shards)) is None:
            logger.info("%s is exact with rows in %d parts", name, num_shards)
            return
    except Exception as error:  # a model can raise any error for keywords and shapes that it does not accept
        found = one_line(error)
    raise ConfigError(
        f"{name} computes rows in {num_shards} parts (context parallelism) differently from whole rows: {found}. "
        "Tokens may meet only in causal scaled_dot_product_attention, and the model must take position_ids and "
        "shift_labels; "
        "load it with attn_implementation='sdpa', or train it without context parallelism"
    )


def _difference(model: Any, packs: Sequence[Pack], collator: Padded, num_shards: int) -> str | None:
    """The first difference that is not rounding, as text."""
    shortest = min(len(example.input_ids) for pack in packs for example in pack.examples)
    probes = make_probes(model, packs, max_length=collator.max_length + shortest)  # a row is one document
    with probing_mode(model, probes[0], max_length=collator.max_length) as runner, without_caches(model):
        tolerance = tolerance_of(runner, probes[0], runner.isolated(probes[0]))
        for probe in probes:
            isolated = runner.isolated(probe)
            with _AttentionOverParts(num_shards):
                difference = runner.packed(_Parts(collator, num_shards), probe).difference(isolated)
            if not (difference.log_prob <= tolerance.log_prob and difference.gradient <= tolerance.gradient):
                return f"{difference.log_prob:.1e} in log-probability, {difference.gradient:.1e} in the gradient"
    return None


class _Parts(ShardedPadded):
    """The parts of each row as rows, shape `[B * num_shards, T / num_shards]`."""

    def collate(self, batch: Batch) -> dict[str, Any]:
        tensors = super().collate(batch)
        order = head_and_tail(tensors["input_ids"].shape[1], self.num_shards)
        return {name: tensor[:, order].flatten(0, 1) for name, tensor in tensors.items()}


class _AttentionOverParts(TorchFunctionMode):
    """Attention in which the tokens of a part attend to all earlier tokens of all parts of the row."""

    def __init__(self, num_shards: int) -> None:
        super().__init__()
        self.num_shards = num_shards

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        is_attention = function is scaled_dot_product_attention
        return (self._attend if is_attention else function)(*args, **kwargs or {})

    def _attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **kwargs: Any,
    ) -> torch.Tensor:
        if attn_mask is not None or not is_causal:
            raise NotImplementedError("attention between parts has no other mask than the causal one")
        order = head_and_tail(query.shape[2] * self.num_shards, self.num_shards).to(query.device)
        earlier = order[:, :, None] >= order.flatten()
        mask = earlier.repeat(len(query) // self.num_shards, 1, 1)[:, None]
        return scaled_dot_product_attention(query, self._joined(key), self._joined(value), attn_mask=mask, **kwargs)

    def _joined(self, parts: torch.Tensor) -> torch.Tensor:
        """The tokens of all parts of the row, for each part: `[B * n, H, T, D]` to `[B * n, H, n * T, D]`."""
        _, heads, length, width = parts.shape
        rows = parts.view(-1, self.num_shards, heads, length, width).movedim(1, 2).flatten(2, 3)
        return rows.repeat_interleave(self.num_shards, dim=0)
