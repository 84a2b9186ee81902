"""The loss of a step is the mean over its trained tokens, whoever computes the loss of a micro-batch.

    loss of a step = sum over the micro-batches of all ranks: loss of the micro-batch * its trained tokens / all of them

The Trainer does this for a model that takes `num_items_in_batch`. For other models, a subclass with its own
`compute_loss` or a `compute_loss_func`, it may take the mean over micro-batches or even their sum. Here, such a loss is
computed as if the micro-batch was the whole step, and weighted with its trained tokens.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from transformers import Trainer

from samsum_stream.training.replacing import replaced
from samsum_stream.values.examples import IGNORE_INDEX


def take_mean_over_tokens(trainer: Any) -> None:
    """Let each step of a Trainer be the mean over its trained tokens."""
    if getattr(trainer, "loss_is_scaled_for_ga", None):
        return  # a subclass that divides by the tokens of the step itself
    takes_number = trainer.model_accepts_loss_kwargs
    is_own = type(trainer).compute_loss is not Trainer.compute_loss
    if trainer.label_smoother is not None and trainer.compute_loss_func is None:
        trainer.compute_loss_func = functools.partial(_smoothed, trainer.label_smoother)
    if is_own or trainer.compute_loss_func is not None or not takes_number:
        trainer.compute_loss = functools.partial(_weighted, trainer, trainer.compute_loss, takes_number)
        # The Trainer counts tokens, and does not divide by the number of micro-batches.
        trainer.model_accepts_loss_kwargs = trainer.loss_is_scaled_for_ga = True


def num_trained(labels: torch.Tensor) -> torch.Tensor:
    """The number of labels that a causal model is trained on: the first token of a row is not predicted."""
    return (labels[..., 1:] != IGNORE_INDEX).sum()


def _weighted(
    trainer: Any,
    original: Callable[..., Any],
    takes_number: bool,
    model: Any,
    inputs: dict[str, Any],
    return_outputs: bool = False,
    num_items_in_batch: Any = None,
) -> Any:
    """Replaces `Trainer.compute_loss`."""
    number = num_trained(inputs["labels"]) if "labels" in inputs else None
    if number is None or num_items_in_batch is None:
        return original(model, inputs, return_outputs, num_items_in_batch=num_items_in_batch)
    alone = replaced(trainer.args, average_tokens_across_devices=False)
    with alone, replaced(trainer, model_accepts_loss_kwargs=takes_number):
        result = original(model, inputs, return_outputs, num_items_in_batch=number)
    ranks = trainer.accelerator.num_processes // trainer.get_tp_size()
    ranks = ranks if trainer.args.average_tokens_across_devices else 1
    loss, outputs = result if return_outputs else (result, None)
    loss = loss * (number * ranks / num_items_in_batch).to(loss.device)
    return (loss, outputs) if return_outputs else loss


def _smoothed(smoother: Any, outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """The smoothed loss of a batch; the Trainer itself shifts labels only for models that it knows by name."""
    loss: torch.Tensor = smoother(outputs, labels, shift_labels=True)
    return loss
