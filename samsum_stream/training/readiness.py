"""Which models can be measured: causal language models whose weights are there.

weights on the meta device, or empty              cannot run yet: `not_ready` gives the reason
another kind of model                             ConfigError that names the kind
"""

from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from samsum_stream.errors import ConfigError
from samsum_stream.loader.processes.ranks import of_all_ranks

CAUSAL = "load a causal language model, as AutoModelForCausalLM does"


def unwrapped(model: Any) -> Any:
    """The model inside the wrappers of distributed training and of `torch.compile`."""
    from accelerate.utils import extract_model_from_parallel  # this import takes a second

    if not isinstance(model, nn.Module):
        return model
    return extract_model_from_parallel(model, keep_torch_compile=False)


def not_ready(model: nn.Module, *, is_prepared: bool) -> str:
    """Why a model cannot run yet on some rank; empty if it can run on all ranks. Every rank must call this function.

    When FSDP spreads the weights of rank 0, the other ranks have none before.

    Args:
        model: The model.
        is_prepared: Whether accelerate has prepared the model, so that ZeRO-3 gathers the weights of a layer to run it.
    """
    return next(filter(None, of_all_ranks(_not_ready_here(model, is_prepared=is_prepared))), "")


def _not_ready_here(model: nn.Module, *, is_prepared: bool) -> str:
    parameters = [*model.parameters()]
    if any(parameter.is_meta for parameter in parameters):
        return "its weights are on the meta device"
    if any(parameter.numel() == 0 and not (is_prepared and hasattr(parameter, "ds_id")) for parameter in parameters):
        return "its weights are empty"
    return ""


def is_sharded(model: nn.Module) -> bool:
    """Whether each rank has a part of the weights only, so that ranks compute the same batch together."""
    return any(isinstance(parameter, DTensor) or hasattr(parameter, "ds_id") for parameter in model.parameters())


def reshard(model: nn.Module) -> None:
    """Free the whole weights that `fully_shard` keeps after a forward without a backward.

    Until then, `model.parameters()` gives whole weights, and an optimizer that gets them would not train the shards.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def require_language_model(model: Any) -> None:
    """Raise `ConfigError` if an object is no causal language model of transformers, as far as its config tells."""
    name = type(model).__name__
    if not isinstance(model, nn.Module) or getattr(model, "config", None) is None:
        raise ConfigError(f"{name} is not a model of transformers: it has no config; {CAUSAL}")
    if getattr(model.config, "is_encoder_decoder", False):
        raise ConfigError(f"{name} is an encoder-decoder, and a stream gives prompt and response as one text; {CAUSAL}")


def require_logits(model: Any, ids: torch.Tensor, output: Any) -> torch.Tensor:
    """The logits of a model, shape `[B, T, V]`, for ids of shape `[B, T]`, without those of virtual tokens before them.

    Raises:
        ConfigError: the output has other logits.
    """
    name = type(model).__name__
    logits: torch.Tensor | None = getattr(output, "logits", None)
    if logits is None:
        raise ConfigError(f"{name} is a base model: its output has no logits; {CAUSAL}")
    if logits.ndim == 3 and logits.shape[1] > ids.shape[1]:  # prompt tuning of PEFT
        logits = logits[:, -ids.shape[1] :]
    if logits.ndim != 3 or logits.shape[:2] != ids.shape:
        raise ConfigError(
            f"{name} gives logits of shape {[*logits.shape]} for ids of shape {[*ids.shape]}, as a classifier does; "
            f"{CAUSAL}"
        )
    return logits


def require_loss(model: Any, output: Any) -> torch.Tensor:
    """The loss of a model for labels; raises `ConfigError` if there is none."""
    loss: torch.Tensor | None = getattr(output, "loss", None)
    if loss is None:
        raise ConfigError(f"{type(model).__name__} returns no loss for labels; {CAUSAL}")
    return loss
