"""The loss of an evaluation as the mean over all labels, whatever batches and ranks they stand in.

The Trainer takes the mean over batches, in which a label counts less the more of them its batch has.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from samsum_stream.loader.loader import StreamLoader
from samsum_stream.values.examples import IGNORE_INDEX


def evaluate_by_tokens(trainer: Any, original: Callable[..., Any], dataloader: Any, *args: Any, **kwargs: Any) -> Any:
    """The Trainer's own `evaluation_loop`, with its loss weighted by labels where a stream is evaluated."""
    if not isinstance(dataloader, StreamLoader):
        return original(dataloader, *args, **kwargs)
    with _weighing(trainer) as sums:
        output = original(dataloader, *args, **kwargs)
    loss, num_labels = trainer.accelerator.reduce(sums.to(trainer.args.device), reduction="sum").tolist()
    name = f"{kwargs.get('metric_key_prefix', 'eval')}_loss"
    if name in output.metrics:
        output.metrics[name] = loss / num_labels
    return output


@contextmanager
def _weighing(trainer: Any) -> Iterator[torch.Tensor]:
    """While it is open, `[sum of losses over labels, number of labels]` of this rank is added up."""
    sums = torch.zeros(2, dtype=torch.float64)
    original = trainer.prediction_step

    def prediction_step(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        num_labels = (inputs["labels"][..., 1:] != IGNORE_INDEX).sum().item()
        result = original(model, inputs, *args, **kwargs)
        sums.add_(torch.tensor([result[0].item() * num_labels, num_labels], dtype=torch.float64))
        return result

    averages = trainer.args.average_tokens_across_devices
    try:
        trainer.prediction_step = prediction_step
        trainer.args.average_tokens_across_devices = False  # each rank's loss is that of its own labels
        yield sums
    finally:
        trainer.args.average_tokens_across_devices = averages
        trainer.prediction_step = original
