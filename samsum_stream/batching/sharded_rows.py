"""Rows whose tokens several ranks share, as in context parallelism: each rank computes a part of every row.

    input_ids        5 6 7 8 . . . .   one document per row, a multiple of 2 x ranks long
    position_ids     0 1 2 3 0 0 0 0   a part cannot count them itself
    shift_labels     . 7 8 . . . . .   the label of the next token, which may be in the part of another rank
    attention_mask   1 1 1 1 1 1 1 1   parts have no other mask than the causal one

Rank r of n has the parts r and 2n - 1 - r of 2n parts, as `context_parallel` of torch cuts rows: tokens at the end of a
row attend to more tokens than those at its start. Attention is causal over the whole row. Therefore it is exact if a
row is one document with its padding on the right, which no token of the document sees.
"""

import math
from typing import Any

import torch

from samsum_stream.batching.collation import COLLATORS, Collator, Padded
from samsum_stream.errors import ConfigError
from samsum_stream.values.batches import Batch


def for_shards(collator: Collator, num_shards: int) -> Collator:
    """The collator for rows that are cut into parts for `num_shards` ranks; `collator` itself if that is 1.

    Raises:
        ConfigError: parts of the rows of this layout do not isolate documents.
    """
    if num_shards == 1:
        return collator
    if isinstance(collator, Padded) and collator.padding_side == "right":
        return ShardedPadded(collator, num_shards)
    method = next(name for name, kind in COLLATORS.items() if isinstance(collator, kind))
    raise ConfigError(
        f"collator_config.method: must be padded, with padding_side: right, because {num_shards} ranks compute parts "
        "of the same rows (context or sequence parallelism), and a token attends to the whole row before it; got "
        f"{method}{', padding_side: left' if method == 'padded' else ''}. In your own loop, if your attention isolates "
        "documents across ranks, pass rank= and world_size= of data parallelism instead of device_mesh="
    )


class ShardedPadded(Padded):
    """As `Padded`, with `position_ids` and `shift_labels`, and a length that head and tail parts divide.

    Args:
        padded: The collator of whole rows.
        num_shards: The number of ranks.
    """

    def __init__(self, padded: Padded, num_shards: int) -> None:
        vars(self).update(vars(padded))
        self.num_shards = num_shards
        self.pad_to_multiple_of = math.lcm(padded.pad_to_multiple_of, 2 * num_shards)

    def collate(self, batch: Batch) -> dict[str, Any]:
        tensors = super().collate(batch)
        mask, labels = tensors["attention_mask"], tensors["labels"]
        shifted = torch.nn.functional.pad(labels[:, 1:], (0, 1), value=self.ignore_index)
        return {
            **tensors,
            "attention_mask": torch.ones_like(mask),
            "position_ids": torch.arange(mask.shape[1]) * mask,
            "shift_labels": shifted,
        }


def head_and_tail(width: int, num_shards: int) -> torch.Tensor:
    """The positions in a row that each rank has, shape `[num_shards, width // num_shards]`."""
    parts = torch.arange(width).view(2 * num_shards, -1)
    return torch.cat([parts[:num_shards], parts[num_shards:].flip(0)], dim=1)
