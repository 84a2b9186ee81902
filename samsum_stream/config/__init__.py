"""Strict YAML to frozen models; knows no stage."""

from samsum_stream.config.loading import load_config, parse_config
from samsum_stream.config.models import StreamConfig

__all__ = ["StreamConfig", "load_config", "parse_config"]
