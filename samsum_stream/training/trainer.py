"""Attaches a stream to a Hugging Face Trainer without a subclass: replaces methods of the object and adds callbacks."""

import functools
from typing import Any

from transformers import Trainer

from samsum_stream.errors import ConfigError
from samsum_stream.errors.redaction import redact
from samsum_stream.errors.wording import shown
from samsum_stream.loader.store import is_url
from samsum_stream.training.arguments import agree_on_settings, require_supported, warn_of_unused
from samsum_stream.training.checkpoints.copies import CheckpointCopies
from samsum_stream.training.evaluation import Evaluation
from samsum_stream.training.fitting import Fitting
from samsum_stream.training.follower import DataPosition, Follower
from samsum_stream.training.loss import take_mean_over_tokens
from samsum_stream.training.num_input_tokens import TokenCount
from samsum_stream.training.parallelism import require_exact_model, require_exact_parallelism
from samsum_stream.training.protocol import Stream
from samsum_stream.training.stop_tokens import warn_if_not_a_stop


def attach(
    stream: Stream,
    trainer: Any,
    *,
    eval_stream: Stream | None = None,
    measure: bool = True,
    checkpoints: str | None = None,
) -> None:
    """Let a Trainer train on the stream; see `SFTStream.attach`."""
    _require_attachable(stream, trainer)
    if checkpoints is not None and not (isinstance(checkpoints, str) and is_url(checkpoints)):
        raise ConfigError(
            f"checkpoints must be the URL of a store, such as s3://bucket/run, got {shown(checkpoints)}; leave it out "
            "for checkpoints on a disk, which are those in output_dir"
        )
    stream.with_run(**agree_on_settings(stream, trainer))  # raises its errors before the model is measured
    warn_of_unused(stream, trainer)
    take_mean_over_tokens(trainer)
    if trainer.processing_class is None:
        trainer.processing_class = stream.tokenizer  # checkpoints contain it, and the model gets its eos
    fitting = Fitting(trainer, measure=measure)
    evaluation = Evaluation(trainer, fitting, train_stream=stream)
    for measured in (stream, *evaluation.take(eval_stream)):
        fitting.fit(measured)
    if measure:
        require_exact_model(stream, trainer)
    warn_if_not_a_stop(stream, trainer)
    follower = Follower(stream, trainer, fitting, CheckpointCopies(trainer, checkpoints))
    trainer.add_callback(DataPosition())
    trainer.add_callback(follower)
    trainer.train = functools.partial(follower.train, trainer.train)
    trainer.get_train_dataloader = follower.train_dataloader
    trainer.log = functools.partial(follower.log, trainer.log)
    evaluation.install()
    trainer._track_num_input_tokens = TokenCount(trainer).track


def _require_attachable(stream: Stream, trainer: Any) -> None:
    """Raises `ConfigError` if the stream cannot be attached to the Trainer."""
    if not isinstance(trainer, Trainer):
        raise ConfigError(f"attach takes a transformers.Trainer; got {shown(trainer)}")
    if any(isinstance(callback, DataPosition) for callback in trainer.callback_handler.callbacks):
        raise ConfigError("attach: this trainer has a stream already; make a new trainer for another stream")
    if is_url(folder := str(trainer.args.output_dir)):
        raise ConfigError(
            f"output_dir must be a local folder, because the Trainer writes files there, got {redact(folder)}; give a "
            "folder, and attach(..., checkpoints=URL), which copies each checkpoint to the URL"
        )
    require_supported(stream, trainer.args)
    require_exact_parallelism(stream, trainer)
