"""Loads a causal language model from a folder or the Hub, without running code of the repository."""

from typing import TYPE_CHECKING, Any

import torch

from samsum_stream.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_model(name: str, *, attn_implementation: str | None = None) -> "PreTrainedModel":
    """The model in the dtype of its weights, on a GPU if there is one.

    Raises:
        ConfigError: the model cannot be loaded.
    """
    from transformers import AutoModelForCausalLM  # this import takes a second

    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            name, dtype="auto", attn_implementation=attn_implementation, trust_remote_code=False
        )
    except Exception as error:  # the Hub, a file or a missing kernel can raise any error
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"model {name!r} cannot be loaded ({reason}); give a folder, or the id of a model") from error
    loaded: PreTrainedModel = model.to("cuda") if torch.cuda.is_available() else model
    return loaded
