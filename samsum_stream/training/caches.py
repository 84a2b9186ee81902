"""The cache of keys and values, which a model of transformers uses by default, also in training.

With a cache, transformers does not detect the documents of a pack. A model of text and images has a config for its
text model inside its own config, and each of them has a `use_cache`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


def turn_off_caches(model: nn.Module) -> bool:
    """Set `use_cache` to false in each config of a model; returns whether one was true."""
    configs = _with_cache(model)
    for config in configs:
        config.use_cache = False
    return bool(configs)


@contextmanager
def without_caches(model: nn.Module) -> Iterator[bool]:
    """Caches are off inside the `with` block; gives whether one was on."""
    configs = _with_cache(model)
    turn_off_caches(model)
    try:
        yield bool(configs)
    finally:
        for config in configs:
            config.use_cache = True


def _with_cache(model: nn.Module) -> list[Any]:
    """The configs of a model and its parts whose `use_cache` is true."""
    configs = {id(config): config for module in model.modules() if (config := getattr(module, "config", None))}
    return [config for config in configs.values() if getattr(config, "use_cache", False) is True]
