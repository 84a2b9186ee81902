"""Checks configs against the JSON schema of the project with an independent library."""

from functools import cache
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from samsum_stream.inspection.schema import config_schema

BEYOND_A_SCHEMA = (
    "invalid YAML",
    "the key occurs twice",
    "YAML reads",
    "aliases repeat",
    "an alias refers to a value that contains it",
    "is not allowed",  # a tag
    "a key must be text",
    "nested too deeply",
    "so it is data and not a config",
    "not UTF-8 text",
    "half of a character",
    "merge keys",
    "(decimal number); write ",  # 8.0 is a whole number to JSON
    "which means the same, is",  # two keys that must be equal
    "unknown column",  # templates add names
)
"""Parts of the messages about rules that a JSON schema cannot express."""


@cache
def validator() -> Draft202012Validator:
    schema = config_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def problems_by_schema(data: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator().iter_errors(data)]


def require_rejection(config: Any, message: str) -> None:
    """Fails if the schema accepts a config, or its YAML, that loading refuses with `message`."""
    if any(part in message for part in BEYOND_A_SCHEMA):
        return
    data = yaml.safe_load(config) if isinstance(config, str) else config
    assert problems_by_schema(data), f"the schema accepts a config that is refused with: {message}"
