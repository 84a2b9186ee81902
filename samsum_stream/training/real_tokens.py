"""Which tokens of a batch belong to documents, from the tensors of the batch alone."""

from typing import Any

import torch


def real_tokens(batch: dict[str, Any]) -> torch.Tensor:
    """Whether each token belongs to a document, shape of `input_ids`. All other tokens are padding.

    A document has at least two tokens, because the first one is never trained. Therefore position 1 follows a position
    0 of a document, and not that of a token of padding.
    """
    if "position_ids" not in batch:
        mask: torch.Tensor = batch["attention_mask"]  # of padded rows, shape [B, T]
        return mask.bool()
    positions: torch.Tensor = batch["position_ids"]
    followers = torch.nn.functional.pad(positions[..., 1:], (0, 1))
    return (positions > 0) | (followers == 1)
