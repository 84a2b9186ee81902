"""Evaluates streams in a Trainer: the loss is the mean over all labels, independent of batches and ranks.

The Trainer takes the mean over batches. There, a label counts less if its batch has more labels.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import shown
from samsum_stream.loader.loader import StreamLoader
from samsum_stream.training.protocol import Stream
from samsum_stream.values.examples import IGNORE_INDEX


def take_eval_streams(trainer: Any, *, train_stream: Stream, eval_stream: Stream | None) -> list[Stream]:
    """Give `eval_stream` to the Trainer, if there is one; returns all streams that the Trainer evaluates.

    Raises:
        ConfigError: a stream cannot be evaluated.
    """
    if eval_stream is not None:
        if not isinstance(eval_stream, Stream):
            raise ConfigError(f"attach: eval_stream must be an SFTStream; got {shown(eval_stream)}")
        trainer.eval_dataset = eval_stream
    dataset = trainer.eval_dataset
    datasets = dataset.values() if isinstance(dataset, dict) else [dataset]
    streams = [stream for stream in datasets if isinstance(stream, Stream)]
    for stream in streams:
        if stream.pipeline.epochs is None:
            raise ConfigError(f"{stream.config.where('epochs')}: evaluation needs an end; write epochs: 1")
        if stream is train_stream:
            raise ConfigError("attach: the training stream cannot be the evaluation stream; make another stream")
    return streams


def eval_dataloader(trainer: Any, original: Callable[..., Any], eval_dataset: Any = None) -> Any:
    """Replaces `Trainer.get_eval_dataloader`: a new loader of a stream, or the Trainer's loader for other data."""
    dataset = trainer.eval_dataset if eval_dataset is None else eval_dataset
    if isinstance(dataset, str):
        dataset = trainer.eval_dataset[dataset]
    if not isinstance(dataset, Stream):
        return original(eval_dataset)
    with trainer.accelerator.autocast():
        dataset.fit(trainer.model)
    return dataset.loader(
        num_workers=trainer.args.dataloader_num_workers, device_mesh=trainer.accelerator.torch_device_mesh
    )


def evaluate_by_tokens(trainer: Any, original: Callable[..., Any], dataloader: Any, *args: Any, **kwargs: Any) -> Any:
    """Replaces `Trainer.evaluation_loop`: for a stream, the loss is weighted by the number of labels."""
    if not isinstance(dataloader, StreamLoader):
        return original(dataloader, *args, **kwargs)
    with _weighted_losses(trainer) as sums:
        output = original(dataloader, *args, **kwargs)
    loss, num_labels = trainer.accelerator.reduce(sums.to(trainer.args.device), reduction="sum").tolist()
    name = f"{kwargs.get('metric_key_prefix', 'eval')}_loss"
    if name in output.metrics:
        output.metrics[name] = loss / num_labels
    return output


@contextmanager
def _weighted_losses(trainer: Any) -> Iterator[torch.Tensor]:
    """Within this context, `[sum of losses over labels, number of labels]` of this rank is accumulated."""
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
        trainer.args.average_tokens_across_devices = False  # so that the loss of a rank covers its own labels only
        yield sums
    finally:
        trainer.args.average_tokens_across_devices = averages
        trainer.prediction_step = original
