"""What determines a stream: its config with all defaults and without secrets, its fingerprint, package versions."""

import platform
from importlib.metadata import PackageNotFoundError, version

import yaml

from samsum_stream.config import StreamConfig
from samsum_stream.errors.redaction import redacted
from samsum_stream.stream.stream import SFTStream

PACKAGES = ("samsum-stream", "torch", "transformers", "tokenizers", "fastokens", "datasets", "numpy", "pyarrow")


def resolved_config(config: StreamConfig) -> str:
    """The config as YAML."""
    return yaml.safe_dump(redacted(config.model_dump(mode="json")), sort_keys=False, allow_unicode=True, width=100)


def fingerprint(stream: SFTStream) -> dict[str, str]:
    """The fields that a state of the stream must have in common with the stream."""
    fields = stream.loader(num_workers=0, rank=0, world_size=1).state_dict()["fingerprint"]
    return {name: str(value) for name, value in fields.items()}


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that batches depend on."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
