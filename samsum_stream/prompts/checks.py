"""Checks of the arguments of prompts and formats."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import did_you_mean, shown

_RULE_AND_REMEDY: Mapping[type, tuple[str, str]] = {
    bool: ("true or false", "write it without quotes"),
    Mapping: ("a mapping", "write its keys with their values"),
    Sequence: ("a list", "put it in brackets"),
    str: ("text", "put it in quotes"),
}


def check_type(where: str, value: object, kind: type) -> None:
    """Raise `ConfigError` if `value` is not a `kind`; a string does not count as a sequence.

    Args:
        where: The name of the argument, for the message.
    """
    if not isinstance(value, kind) or (kind is Sequence and isinstance(value, str)):
        raise _wrong_type(where, value, kind)


def check_keys(where: str, value: object, *, known: Sequence[str], required: Iterable[str] = ()) -> dict[str, Any]:
    """`value` as a dict.

    Args:
        where: The name of the argument, for the message.
        known: The keys that are allowed.
        required: The keys that must be present.

    Raises:
        ConfigError: `value` is not a mapping, a key is unknown, or a required key is missing.
    """
    if not isinstance(value, Mapping):
        raise _wrong_type(where, value, Mapping)
    for key in value:
        if key not in known:
            raise ConfigError(f"{where}.{key}: unknown key; {did_you_mean(str(key), known)}")
    for key in required:
        if key not in value:
            raise ConfigError(f"{where}: {key} is missing; got {', '.join(value) or 'no keys'}; add {key}")
    return dict(value)


def _wrong_type(where: str, value: object, kind: type) -> ConfigError:
    rule, remedy = _RULE_AND_REMEDY[kind]
    return ConfigError(f"{where}: must be {rule}; got {shown(value)}; {remedy}")
