"""The results of evaluated batches: the mean loss over all labels, and the rows of all ranks for `compute_metrics`.

The Trainer takes the mean over batches. There, a label counts less if its batch has more labels. The Trainer also
expects tensors of the same shape on all ranks, and has no mark for rows that only fill a batch.
"""

import logging
import math
from typing import Any

import torch
from accelerate.utils import gather_object, recursively_apply

from samsum_stream.training.loss import num_trained
from samsum_stream.training.real_tokens import real_tokens

logger = logging.getLogger(__name__)


class BatchResults:
    """The results of the batches of one evaluation.

    Args:
        trainer: The Trainer that evaluates.
        data_rank: The rank of this process in data parallelism. Processes with the same rank have the same rows.
    """

    def __init__(self, trainer: Any, *, data_rank: int) -> None:
        self._accelerator, self._rank = trainer.accelerator, data_rank
        self._step = trainer.prediction_step
        self._loss_sum, self._num_labels = 0.0, 0
        self._has_document = torch.ones(0, dtype=torch.bool)
        self._loss: torch.Tensor | None = None

    def prediction_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Replaces `Trainer.prediction_step`: adds the loss of a batch to the sum."""
        self._has_document = real_tokens(inputs).any(-1)
        num_labels = int(num_trained(inputs["labels"]))
        result = self._step(model, inputs, *args, **kwargs)
        self._loss = result[0]
        if self._loss is not None:
            self._loss_sum += self._loss.float().mean().item() * num_labels
            self._num_labels += num_labels
        return result

    def gather(self, tensors: Any) -> Any:
        """Replaces `Trainer.gather_function`: the rows of all ranks in the order of the stream, without filling.

        The Trainer calls it for the loss of a batch first, then for its inputs, predictions and labels.
        """
        if self._loss is not None:
            tensors, self._loss = self._loss.mean().repeat(len(self._has_document)), None
        return recursively_apply(self._gathered, tensors, error_on_other_type=True)

    def loss_metric(self, name: str) -> dict[str, float]:
        """The mean loss over all labels of all ranks; empty if the batches had no loss."""
        # As objects, because some devices have no float64.
        sums = dict(gather_object([(self._rank, (self._loss_sum, self._num_labels))]))
        loss_sum, num_labels = map(sum, zip(*sums.values(), strict=True))
        if not num_labels:
            logger.warning("%s: the Trainer computed no loss; leave label_names out, or add labels to it", name)
            return {}
        loss = loss_sum / num_labels
        if not math.isfinite(loss):
            logger.warning("%s is %s: the loss of at least one batch is not a finite number", name, loss)
        return {name: loss}

    def _gathered(self, tensor: torch.Tensor) -> torch.Tensor:
        rows = self._has_document.to(tensor.device)
        if tensor.ndim and len(tensor) == len(rows):
            tensor = tensor[rows]
        if self._accelerator.num_processes == 1:
            return tensor
        tensor = tensor if tensor.ndim else tensor[None]
        own = torch.tensor([[self._rank, len(tensor)]], device=tensor.device)
        sizes = self._accelerator.gather(own).tolist()
        largest = max(size for _, size in sizes)
        equal = tensor.new_zeros((largest, *tensor.shape[1:]))
        equal[: len(tensor)] = tensor
        blocks = self._accelerator.gather(equal).reshape(len(sizes), *equal.shape)
        rows_of = {rank: block[:size] for (rank, size), block in zip(sizes, blocks, strict=True)}
        return torch.cat([rows_of[rank] for rank in sorted(rows_of)])
