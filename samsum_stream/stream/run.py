"""The settings of a run that can differ from the config: epochs, batch size, lanes."""

from dataclasses import replace
from typing import Any

from samsum_stream.config import parse_config
from samsum_stream.pipeline.pipeline import Pipeline

UNCHANGED: Any = object()
"""The default of a setting that stays the same; None is a value of `epochs`."""


def with_settings(pipeline: Pipeline, **settings: Any) -> Pipeline:
    """A pipeline with other `epochs`, `batch_size` or `lanes`.

    Raises:
        ConfigError: a value breaks a rule of the config.
    """
    given = {name: value for name, value in settings.items() if value is not UNCHANGED}
    config = parse_config(given, origin="with_run")
    changes: dict[str, Any] = {name: getattr(config, name) for name in given}
    if "lanes" in changes:
        lanes = changes.pop("lanes")
        changes["num_lanes"] = None if lanes == "auto" else lanes
    return replace(pipeline, **changes)
