"""Reads strict YAML into frozen models; depends on no stage."""

from samsum_stream.config.loading import load_config, parse_config
from samsum_stream.config.models import (
    MIXTURE,
    MixtureKwargs,
    SourceConfig,
    StreamConfig,
    TokenizerConfig,
    TruncationConfig,
)

__all__ = [
    "MIXTURE",
    "MixtureKwargs",
    "SourceConfig",
    "StreamConfig",
    "TokenizerConfig",
    "TruncationConfig",
    "load_config",
    "parse_config",
]
