"""Reads a file or a mapping into a validated config.

file ──yaml_reader──▶ data + lines ──older_layout──▶ current keys ──models──▶ StreamConfig
                one ConfigError with one line per problem ◀──┘
"""

import os
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from samsum_stream.config.models import StreamConfig
from samsum_stream.config.older_layout import OLDER_KEYS, from_older_layout, warn_of_writer
from samsum_stream.config.problems import Locations, Problem, config_error
from samsum_stream.config.rules import problems_of
from samsum_stream.config.yaml_reader import read_yaml
from samsum_stream.errors import ConfigError, TrustError
from samsum_stream.errors.wording import shown


def load_config(path: str | os.PathLike[str]) -> StreamConfig:
    """Reads a YAML file.

    Paths in the file are not changed: a relative path starts from the working directory.

    Raises:
        ConfigError: The file cannot be read or breaks rules. The message lists all problems with file, line and path.
    """
    document = read_yaml(path)
    return _validated(document.data, Locations(document.origin, document.lines), document.problems)


def parse_config(data: Mapping[str, Any], *, origin: str = "config") -> StreamConfig:
    """Validates a mapping with the keys of the YAML; error messages start with `origin`.

    Raises:
        ConfigError: The mapping breaks rules. The message lists all problems, each with its dotted path.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{origin}: a config is a mapping of keys to values; got {shown(data)}")
    return _validated(data, Locations(origin), [])


def _validated(data: Mapping[str, Any], locations: Locations, problems: list[Problem]) -> StreamConfig:
    converted = from_older_layout(data)
    locations = Locations(locations.origin, locations.lines, converted.written_as)
    _require_no_remote_code(converted.data, locations)
    config, broken_rules = _checked(converted.data)
    paths = {problem.path for problem in problems}
    problems = [*problems, *converted.problems, *(problem for problem in broken_rules if problem.path not in paths)]
    if config is None or problems:
        raise config_error(problems, locations)
    warn_of_writer(converted, locations.origin, stacklevel=3)
    config._locations = locations
    return config


def _require_no_remote_code(data: Mapping[str, Any], locations: Locations) -> None:
    """Raises `TrustError` if a config asks that Python code of a tokenizer's folder runs."""
    path = ("tokenizer_config", "kwargs", "trust_remote_code")
    value: Any = data
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return
        value = value[key]
    raise TrustError(
        f"{locations.where(path)}: a config cannot let a tokenizer run Python code; remove this key, and if the "
        "tokenizer needs code that you have read, load it in a script, and pass SFTStream(..., tokenizer=tokenizer)"
    )


def _checked(data: dict[str, Any]) -> tuple[StreamConfig | None, list[Problem]]:
    # The caller raises the ConfigError, so that pydantic's error, which quotes values, does not become its context.
    try:
        return StreamConfig.model_validate(data), []
    except ValidationError as error:
        return None, problems_of(error, model=StreamConfig, older_keys=OLDER_KEYS)
