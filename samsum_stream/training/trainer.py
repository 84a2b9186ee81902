"""Attaches a stream to a Hugging Face Trainer without a subclass: replaces methods of the object and adds callbacks."""

import functools
from typing import Any

import torch
from transformers.loss.loss_utils import ForCausalLMLoss

from samsum_stream.training.arguments import agree_on_settings, require_attachable
from samsum_stream.training.evaluation import eval_dataloader, evaluate_by_tokens, take_eval_streams
from samsum_stream.training.follower import DataPosition, Follower
from samsum_stream.training.protocol import Stream
from samsum_stream.training.stop_tokens import warn_if_not_a_stop


def attach(stream: Stream, trainer: Any, *, eval_stream: Stream | None = None) -> None:
    """Let a Trainer train on the stream; see `SFTStream.attach`."""
    require_attachable(stream, trainer)
    settings = agree_on_settings(stream, trainer)
    stream.with_run(**settings)  # raises an error of the settings before the model is measured
    if not trainer.model_accepts_loss_kwargs and trainer.compute_loss_func is None:
        trainer.compute_loss_func = mean_over_all_labels
    eval_streams = take_eval_streams(trainer, train_stream=stream, eval_stream=eval_stream)
    with trainer.accelerator.autocast():
        for measured in (stream, *eval_streams):
            measured.fit(trainer.model)
    warn_if_not_a_stop(stream, trainer)
    follower = Follower(stream.with_run(**settings), trainer)
    trainer.add_callback(DataPosition())
    trainer.add_callback(follower)
    trainer.get_train_dataloader = follower.train_dataloader
    trainer.log = functools.partial(follower.log, trainer.log)
    trainer.get_eval_dataloader = functools.partial(eval_dataloader, trainer, trainer.get_eval_dataloader)
    trainer.evaluation_loop = functools.partial(evaluate_by_tokens, trainer, trainer.evaluation_loop)


def mean_over_all_labels(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """The loss for models that do not accept the number of labels of a whole step."""
    logits = outputs["logits"]
    loss: torch.Tensor = ForCausalLMLoss(logits, labels, logits.shape[-1], num_items_in_batch)
    return loss
