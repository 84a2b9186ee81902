"""What other libraries say about a failure, without the credentials that they may say along."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from samsum_stream.wording import names_a_secret, without_secrets

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


def secrets_in(kwargs: Mapping[str, Any]) -> list[str]:
    """The texts among `kwargs` that no message may show: all of `storage_options`, and whatever is named a secret."""
    hidden = [value for key, value in kwargs.items() if key == "storage_options" or names_a_secret(key)]
    return [text for value in hidden for text in texts_in(value) if len(text) >= _MIN_SECRET]


def texts_in(value: object) -> Iterator[str]:
    """The texts in nested mappings and lists."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from texts_in(item)
