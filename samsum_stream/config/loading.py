"""From a file or a mapping to a validated config.

file ──yaml_reader──▶ data + lines ──older_layout──▶ today's keys ──models──▶ StreamConfig
                 every problem, a line each, in one ConfigError ◀──┘
"""

import os
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from samsum_stream.config.models import StreamConfig
from samsum_stream.config.older_layout import OLDER_KEYS, from_older_layout, warn_of_writer
from samsum_stream.config.problems import Places, Problem, config_error
from samsum_stream.config.rules import problems_of
from samsum_stream.config.yaml_reader import read_yaml
from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import shown


def load_config(path: str | os.PathLike[str]) -> StreamConfig:
    """Reads a YAML file; `ConfigError` tells all its problems, each with file, line and dotted path.

    Paths in the file stay as they are written: relative ones start from the working directory.
    """
    document = read_yaml(path)
    return _validated(document.data, Places(document.origin, document.lines), document.problems)


def parse_config(data: Mapping[str, Any], *, origin: str = "config") -> StreamConfig:
    """The same for a mapping with the YAML's keys; `origin` is what messages call it."""
    if not isinstance(data, Mapping):
        raise ConfigError(f"{origin}: a config is a mapping of keys to values; got {shown(data)}")
    return _validated(data, Places(origin), [])


def _validated(data: Mapping[str, Any], places: Places, problems: list[Problem]) -> StreamConfig:
    modern = from_older_layout(data)
    places = Places(places.origin, places.lines, modern.written_as)
    config, found = _checked(modern.data)
    told = {problem.path for problem in problems}
    problems = [*problems, *modern.problems, *(problem for problem in found if problem.path not in told)]
    if config is None or problems:
        raise config_error(problems, places)
    warn_of_writer(modern, places.origin, stacklevel=3)
    config._places = places
    return config


def _checked(data: dict[str, Any]) -> tuple[StreamConfig | None, list[Problem]]:
    # The error is raised elsewhere: pydantic's own, which quotes values, must not hang on to it as its context.
    try:
        return StreamConfig.model_validate(data), []
    except ValidationError as error:
        return None, problems_of(error, model=StreamConfig, older_keys=OLDER_KEYS)
