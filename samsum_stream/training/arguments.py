"""Checks and adjusts the arguments of a Trainer before it trains on a stream."""

import logging
import math
from typing import Any, TypedDict

from transformers import DataCollatorWithPadding, TrainingArguments, default_data_collator

from samsum_stream.errors import ConfigError
from samsum_stream.training.protocol import Stream
from samsum_stream.values.examples import IGNORE_INDEX

logger = logging.getLogger(__name__)


class RunSettings(TypedDict):
    """The settings of a stream that follow from the Trainer's arguments."""

    epochs: int | None
    batch_size: int


def require_supported(stream: Stream, arguments: TrainingArguments) -> None:
    """Raises `ConfigError` for an argument of the Trainer with which training would not be exact."""
    if arguments.auto_find_batch_size:
        raise ConfigError(
            "auto_find_batch_size: must be false, because smaller batches would differ from the batches of the "
            "stream; lower batch_size if memory runs out"
        )
    if arguments.n_gpu > 1:
        raise ConfigError(
            f"n_gpu is {arguments.n_gpu}: DataParallel would cut the batches of the stream into pieces; start one "
            "process for each GPU, as torchrun does, or let this process see one GPU (CUDA_VISIBLE_DEVICES)"
        )
    if arguments.neftune_noise_alpha is not None:
        raise ConfigError(
            f"neftune_noise_alpha is {arguments.neftune_noise_alpha}: the noise depends on the length of the rows of a "
            "batch, so a document would get other noise than alone; leave it out"
        )
    if stream.config.ignore_index != IGNORE_INDEX:
        raise ConfigError(
            f"{stream.config.where('ignore_index')}: must be {IGNORE_INDEX}, the value that the Trainer expects, got "
            f"{stream.config.ignore_index}; leave ignore_index out"
        )


def warn_of_unused(stream: Stream, trainer: Any) -> None:
    """Warn of what the Trainer was given for its own data, and what has no effect on a stream."""
    arguments = trainer.args
    is_default = isinstance(trainer.data_collator, DataCollatorWithPadding)
    sampling = getattr(arguments, "train_sampling_strategy", "random") != "random"
    unused = {
        "train_dataset": trainer.train_dataset is not None and trainer.train_dataset is not stream,
        "data_collator": not is_default and trainer.data_collator is not default_data_collator,
        "data_seed": arguments.data_seed is not None,
        "train_sampling_strategy": sampling,
        "group_by_length": getattr(arguments, "group_by_length", False),
        "dataloader_drop_last": arguments.dataloader_drop_last,
    }
    if names := [name for name, is_given in unused.items() if is_given]:
        logger.warning(
            "these arguments of the Trainer have no effect, because the stream makes the batches and their order "
            "follows from `seed` of the config: %s",
            ", ".join(names),
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
