"""Checks and adjusts the arguments of a Trainer before it trains on a stream."""

import logging
import math
from typing import Any, TypedDict

from transformers import Trainer

from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import shown
from samsum_stream.training.follower import DataPosition
from samsum_stream.training.protocol import Stream
from samsum_stream.values.examples import IGNORE_INDEX

logger = logging.getLogger(__name__)


class RunSettings(TypedDict):
    """The settings of a stream that follow from the Trainer's arguments."""

    epochs: int | None
    batch_size: int


def require_attachable(stream: Stream, trainer: Any) -> None:
    """Raises `ConfigError` if the stream cannot be attached to the Trainer."""
    if not isinstance(trainer, Trainer):
        raise ConfigError(f"attach takes a transformers.Trainer; got {shown(trainer)}")
    if any(isinstance(callback, DataPosition) for callback in trainer.callback_handler.callbacks):
        raise ConfigError("attach: this trainer has a stream already; make a new trainer for another stream")
    if trainer.args.auto_find_batch_size:
        raise ConfigError(
            "auto_find_batch_size: must be false, because smaller batches would differ from the batches of the "
            "stream; lower batch_size if memory runs out"
        )
    if stream.config.ignore_index != IGNORE_INDEX:
        raise ConfigError(
            f"{stream.config.where('ignore_index')}: must be {IGNORE_INDEX}, the value that the Trainer expects, got "
            f"{stream.config.ignore_index}; leave ignore_index out"
        )


def agree_on_settings(stream: Stream, trainer: Any) -> RunSettings:
    """Adjust the Trainer's arguments; returns its number of epochs, and the config's batch size or else its own."""
    arguments, config = trainer.args, stream.config
    if "batch_size" in config.model_fields_set and arguments.per_device_train_batch_size != config.batch_size:
        logger.warning(
            "per_device_train_batch_size was %d and is now %d, the batch_size of the config",
            *(arguments.per_device_train_batch_size, config.batch_size),
        )
        arguments.per_device_train_batch_size = config.batch_size
    trainer._train_batch_size = arguments.train_batch_size  # the Trainer logs and saves this value
    # The position says where to read on, so no data is produced only to be skipped.
    arguments.ignore_data_skip = True
    arguments.average_tokens_across_devices = True
    epochs = None if arguments.max_steps > 0 else math.ceil(arguments.num_train_epochs)
    return {"epochs": epochs, "batch_size": arguments.per_device_train_batch_size}
