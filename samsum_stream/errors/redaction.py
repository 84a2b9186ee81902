"""What other libraries say about a failure, without the credentials that they may say along."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from samsum_stream.errors.wording import names_a_secret, without_secrets

_MIN_SECRET = 4
"""Shorter values (a flag, a number) would blank out ordinary words."""


def explain(error: BaseException, *, secrets: Iterable[str] = ()) -> str:
    """An exception as `Type: message`, with the error that caused it, and nothing secret."""
    causes = [each for each in (error, error.__cause__) if each is not None]
    return redact("; caused by ".join(f"{type(each).__name__}: {each}" for each in causes), secrets=secrets)


def redact(text: str, *, secrets: Iterable[str] = ()) -> str:
    """`text` without the queries and users of URLs, access tokens, and `secrets`."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return without_secrets(text)


def redacted(value: Any, *, key: str = "") -> Any:
    """Nested values with `***` in the place of what `secrets_in` hides, and without the secrets of URLs."""
    if value is not None and _hides(key):
        return "***"
    if isinstance(value, Mapping):
        return {name: redacted(item, key=str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return redact(value) if isinstance(value, str) else value


def secrets_in(kwargs: Mapping[str, Any]) -> list[str]:
    """The texts among `kwargs` that no message may show: `storage_options`, and whatever is named a secret.

    Of those, the address of a server may show, because a slip in it could not be found otherwise.
    """
    hidden = [value for key, value in kwargs.items() if _hides(key)]
    found = (each for value in hidden for each in _keyed_texts(value))
    return [text for key, text in found if len(text) >= _MIN_SECRET and not _is_address(key, text)]


def _hides(key: str) -> bool:
    return key == "storage_options" or names_a_secret(key)


def texts_in(value: object) -> Iterator[str]:
    """The texts in nested mappings and lists."""
    return (text for _, text in _keyed_texts(value))


def _keyed_texts(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    """The same, each with the key that it stands under."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _keyed_texts(item, str(name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _keyed_texts(item, key)


def _is_address(key: str, text: str) -> bool:
    """Whether a text is where a server is, and no more: no user, no query, no fragment."""
    return key in ("endpoint", "endpoint_url") and not any(sign in text for sign in "@?#")
