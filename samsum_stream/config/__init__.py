"""Reads strict YAML into frozen models; depends on no stage."""

from samsum_stream.config.loading import load_config, parse_config
from samsum_stream.config.models import StreamConfig, TruncationConfig
from samsum_stream.config.source import MIXTURE, MixtureKwargs, SourceConfig
from samsum_stream.config.tokenizer import TokenizerConfig

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
