"""Reads strict YAML into frozen models; depends on no stage."""

from samsum_stream.config.loading import load_config, parse_config
from samsum_stream.config.models import StreamConfig
from samsum_stream.config.source import MIXTURE, LeafSection, MixtureKwargs, SourceConfig, leaf_sections
from samsum_stream.config.task import TruncationConfig
from samsum_stream.config.tokenizer import TokenizerConfig

__all__ = [
    "MIXTURE",
    "LeafSection",
    "MixtureKwargs",
    "SourceConfig",
    "StreamConfig",
    "TokenizerConfig",
    "TruncationConfig",
    "leaf_sections",
    "load_config",
    "parse_config",
]
