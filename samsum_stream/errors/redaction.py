"""Removes credentials from the error messages of other libraries."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from samsum_stream.errors.wording import names_a_secret, without_secrets

_MIN_SECRET = 4
"""The minimum length of a secret in characters; masking shorter values, such as flags, would mask ordinary words."""


def explain(error: BaseException, *, secrets: Iterable[str] = ()) -> str:
    """An exception and its cause as `Type: message`, without secrets."""
    errors = [error] if error.__cause__ is None else [error, error.__cause__]
    return redact("; caused by ".join(f"{type(item).__name__}: {item}" for item in errors), secrets=secrets)


def redact(text: str, *, secrets: Iterable[str] = ()) -> str:
    """`text` with the users and queries of URLs, access tokens, and `secrets` masked."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return without_secrets(text)


def redacted(value: Any, *, key: str = "") -> Any:
    """Nested values with secret values replaced by `***`, and the secrets of URLs masked."""
    if value is not None and _hides(key):
        return "***"
    if isinstance(value, Mapping):
        return {name: redacted(item, key=str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return redact(value) if isinstance(value, str) else value


def secrets_in(kwargs: Mapping[str, Any]) -> list[str]:
    """The texts in `kwargs` that no message may show: `storage_options`, and values of keys that name a secret.

    Messages may show the address of a server, because a user could not find a mistake in it otherwise.
    """
    hidden = [value for key, value in kwargs.items() if _hides(key)]
    keyed_texts = (pair for value in hidden for pair in _keyed_texts(value))
    return [text for key, text in keyed_texts if len(text) >= _MIN_SECRET and not _is_address(key, text)]


def _hides(key: str) -> bool:
    return key == "storage_options" or names_a_secret(key)


def texts_in(value: object) -> Iterator[str]:
    """Yields the texts in nested mappings and lists."""
    return (text for _, text in _keyed_texts(value))


def _keyed_texts(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Yields the texts in nested mappings and lists, with the nearest key above each text."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _keyed_texts(item, str(name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _keyed_texts(item, key)


def _is_address(key: str, text: str) -> bool:
    """Whether a text is the address of a server only, without user, query and fragment."""
    return key in ("endpoint", "endpoint_url") and not any(sign in text for sign in "@?#")
