"""Which kinds of parallelism of a Trainer train on the batches of a stream exactly; the others are refused.

data, FSDP2, HSDP, tensor     each rank of data parallelism has its own batches, which ranks of one model share
context (`cp_size`)           ranks compute parts of the same rows: batching/sharded_rows.py
sequence (`sp_size`)          refused: DeepSpeed takes batches of several ranks ahead, and averages over batches
tensor of DeepSpeed           refused: there is no mesh from which a rank is known
"""

import logging
from typing import Any

from transformers import Trainer

from samsum_stream.batching.collation import Padded
from samsum_stream.batching.sharded_rows import for_shards
from samsum_stream.errors import ConfigError
from samsum_stream.training.probing import probe_packs
from samsum_stream.training.protocol import Stream
from samsum_stream.training.readiness import not_ready, unwrapped
from samsum_stream.training.shards_check import require_exact_shards

logger = logging.getLogger(__name__)


def require_exact_parallelism(stream: Stream, trainer: Any) -> None:
    """Raises `ConfigError` if the ranks of a Trainer would train on other rows, or with another loss."""
    if (size := _size(trainer, "sp")) > 1:
        raise ConfigError(
            f"sp_size is {size}: sequence parallelism of DeepSpeed takes the batches of several ranks ahead, "
            "so that a checkpoint would skip rows, and the loss is not the mean over the tokens of a step; use "
            "ParallelismConfig(cp_size=...) with FSDP2"
        )
    if (size := _tensor_size_of_deepspeed(trainer.args)) > 1:
        raise ConfigError(
            f"tensor_parallel.autotp_size of the DeepSpeed config is {size}: ranks that share a model would read "
            "different rows; use ParallelismConfig(tp_size=...) and a model that is loaded with tp_plan='auto'"
        )
    if shards_rows(trainer):
        for_shards(stream.collator, _size(trainer, "cp"))
        _require_loss_of_shards(trainer)


def require_exact_model(stream: Stream, trainer: Any) -> None:
    """Raises `ConfigError` if the model would compute the parts of a row differently from the row."""
    if not (shards_rows(trainer) and stream.config.collator_config.kwargs.measure):
        return
    if reason := not_ready(unwrapped(trainer.model), is_prepared=False):
        logger.warning("context parallelism is not measured, because %s", reason)
        return
    packs, num_shards = probe_packs(stream.pipeline), _size(trainer, "cp")
    assert isinstance(stream.collator, Padded)
    with trainer.accelerator.autocast():
        require_exact_shards(trainer.model, packs, collator=stream.collator, num_shards=num_shards)


def shards_rows(trainer: Any) -> bool:
    """Whether ranks compute parts of the same rows, in context parallelism."""
    return _size(trainer, "cp") > 1


def _size(trainer: Any, name: str) -> int:
    """The size of a dimension of the `ParallelismConfig`; 1 without one."""
    return int(getattr(trainer.accelerator.parallelism_config, f"{name}_size", 1))


def _tensor_size_of_deepspeed(arguments: Any) -> int:
    config = getattr(arguments, "hf_deepspeed_config", None)
    return int(config.config.get("tensor_parallel", {}).get("autotp_size", 1)) if config else 1


def _require_loss_of_shards(trainer: Any) -> None:
    """Raises `ConfigError` if the losses of the parts of a row do not add up to the loss of the row."""
    name = type(trainer).__name__
    if trainer.label_smoother is not None:
        problem = "label_smoothing_factor must be 0, because the smoothed loss shifts the labels of a part"
    elif trainer.compute_loss_func is not None:
        problem = "compute_loss_func must be left out, because it does not get the labels after a part"
    elif type(trainer).compute_loss is not Trainer.compute_loss:
        problem = f"{name}.compute_loss would get the labels of a part; use transformers.Trainer"
    elif not trainer.model_accepts_loss_kwargs:
        problem = "the model must take num_items_in_batch, because parts have different numbers of labels"
    elif trainer.args.include_num_input_tokens_seen == "non_padding":
        problem = "include_num_input_tokens_seen: non_padding would count parts wrongly; set all"
    else:
        return
    raise ConfigError(
        f"cp_size is {_size(trainer, 'cp')}, so each rank has a part of each row: {problem}, or train with cp_size=1"
    )
