"""Helpers for messages: values without their secrets, counts, and the closest known name."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping

MAX_SHOWN = 80
"""The maximum number of characters of a text in a message; a longer text is cut."""

MAX_KNOWN = 24
"""The maximum number of known names in a message."""

_SECRET_WORDS = re.compile(r"apikey|auth(orization)?|credentials?|keys?|pass(phrase|w(or)?d)|pwd|secrets?|token")
_TOKENS_OF_TEXT = ("bos_token", "eos_token", "pad_token", "add_bos_token", "add_eos_token")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_URL = re.compile(
    r"(?P<scheme>\b[A-Za-z][\w+.-]*://)(?P<user>[^/\s?#]*@)?(?P<path>(?:(?!::)[^\s?#])*)"
    r"(?P<query>\?[^\s#]*)?(?P<fragment>#(?:(?!::)\S)*)?"
)
_ACCESS_TOKEN = re.compile(r"\b(hf_|github_pat_|gh[oprsu]_|glpat-|xox[abeprs]-|sk-|AKIA|AIza)[\w-]{8,}")


def quoted(text: str) -> str:
    """A text in double quotes, on one line, cut after `MAX_SHOWN` characters."""
    if len(text) > MAX_SHOWN:
        return f'{json.dumps(text[:MAX_SHOWN], ensure_ascii=False)[:-1]}…" ({len(text):,} characters)'
    return json.dumps(text, ensure_ascii=False)


def without_secrets(text: str) -> str:
    """The text with `***` instead of access tokens, and of the credentials, queries and fragments of URLs.

    `s3://me:pw@bucket/a?X-Signature=b` becomes `s3://***@bucket/a?***`.
    """
    return _ACCESS_TOKEN.sub(r"\1***", _URL.sub(_masked_url, text))


def names_a_secret(key: str) -> bool:
    """Whether a key such as `hf_token` or `secretAccessKey` names a secret (`max_tokens` and `eos_token` do not)."""
    return key not in _TOKENS_OF_TEXT and any(_SECRET_WORDS.fullmatch(word.lower()) for word in _WORD.findall(key))


def shown(value: object, *, key: str = "") -> str:
    """A value and its type for a message: `"abc" (text)`; the value is masked if `key` names a secret."""
    if value is None:
        return "null"
    if isinstance(value, (Mapping, list, tuple)):
        return type_name(value)
    if names_a_secret(key):
        return f"*** ({type_name(value)})"
    if isinstance(value, bool):
        return f"{str(value).lower()} ({type_name(value)})"
    if isinstance(value, str):
        return f"{quoted(without_secrets(value))} ({type_name(value)})"
    return f"{value} ({type_name(value)})" if isinstance(value, (int, float)) else type_name(value)


def type_name(value: object) -> str:
    """The type of a value in plain words."""
    names = {str: "text", bool: "true or false", int: "whole number", float: "decimal number"}
    names |= {dict: "a mapping", list: "a list", tuple: "a list", type(None): "null"}
    return names.get(type(value), f"a Python {type(value).__name__}")


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 epoch`, `1,200 batches`."""
    plural = f"{noun}es" if noun.endswith("tch") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is closest to a misspelled one, ignoring case; None if no name is close."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[near[0]] if near else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: `known: best_fit, greedy; did you mean "greedy"?`."""
    names = list(known)
    near = closest(name, names)
    guess = f'; did you mean "{near}"?' if near is not None else ""
    more = f", and {len(names) - MAX_KNOWN} more" if len(names) > MAX_KNOWN else ""
    return f"known: {', '.join(names[:MAX_KNOWN]) or 'none'}{more}{guess}"


def _masked_url(match: re.Match[str]) -> str:
    user = "***@" if match["user"] else ""
    query = "?***" if match["query"] else ""
    fragment = "#***" if match["fragment"] else ""
    return f"{match['scheme']}{user}{match['path']}{query}{fragment}"
