"""Checks and adjusts the arguments of a Trainer before it trains on a stream."""

import logging
import math
from typing import Any, TypedDict

from transformers import DataCollatorWithPadding, TrainingArguments, default_data_collator

from samsum_stream.config import StreamConfig
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
            "stream; if memory runs out, halve per_device_train_batch_size (or batch_size of the config) and double "
            "gradient_accumulation_steps: a checkpoint continues with both"
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
    require_ignore_index(stream.config)


def require_ignore_index(config: StreamConfig) -> None:
    """Raises `ConfigError` for labels that a Trainer would train."""
    if config.ignore_index != IGNORE_INDEX:
        raise ConfigError(
            f"{config.where('ignore_index')}: must be {IGNORE_INDEX}, the value that the Trainer expects, got "
            f"{config.ignore_index}; leave ignore_index out"
        )


def warn_of_unused(stream: Stream, trainer: Any) -> None:
    """Warn of what the Trainer was given for its own data, and what has no effect on a stream."""
    arguments, collator = trainer.args, trainer.data_collator
    is_of_trl = any(kind.__module__.startswith("trl.") for kind in type(trainer).__mro__)  # it requires both
    unused = {
        "train_dataset": not (is_of_trl or trainer.train_dataset is None or trainer.train_dataset is stream),
        "data_collator": not is_of_trl
        and not (collator is default_data_collator or isinstance(collator, DataCollatorWithPadding)),
        "data_seed": arguments.data_seed is not None,
        # The name of the next argument differs between versions of transformers.
        "train_sampling_strategy": getattr(arguments, "train_sampling_strategy", "random") != "random",
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
    arguments = trainer.args
    batch_size = agree_on_batch_size(stream, arguments, "per_device_train_batch_size")
    trainer._train_batch_size = arguments.train_batch_size  # the Trainer logs and saves this value
    # The position says where to read on, so no data is produced only to be skipped.
    arguments.ignore_data_skip = True
    arguments.average_tokens_across_devices = True
    epochs = None if arguments.max_steps > 0 else math.ceil(arguments.num_train_epochs)
    return {"epochs": epochs, "batch_size": batch_size}


def agree_on_batch_size(stream: Stream, arguments: TrainingArguments, name: str) -> int:
    """The batch size of the config, which the argument `name` gets, too, or else that of the argument."""
    config, given = stream.config, int(getattr(arguments, name))
    if "batch_size" not in config.model_fields_set or given == config.batch_size:
        return given
    logger.warning("%s was %d and is now %d, the batch_size of the config", name, given, config.batch_size)
    setattr(arguments, name, config.batch_size)
    _update_deepspeed(arguments)
    return config.batch_size


def _update_deepspeed(arguments: TrainingArguments) -> None:
    """Give DeepSpeed the sizes for its `auto` again: it took them when the arguments were made."""
    if (deepspeed := getattr(arguments, "hf_deepspeed_config", None)) is not None:
        size, accumulation = arguments.per_device_train_batch_size, arguments.gradient_accumulation_steps
        sizes = {
            "train_micro_batch_size_per_gpu": size,
            "train_batch_size": size * accumulation * arguments.world_size,
        }
        deepspeed.config.update({key: value for key, value in sizes.items() if key in deepspeed.config})
