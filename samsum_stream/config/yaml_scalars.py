"""Finds unquoted values that YAML reads differently than they look.

no, off, yes, on     a boolean           012       an octal number
2024-01-01           a date              1:30      a number to base 60
1e-3, 1.5e3, 09      text                0o17      text
"""

import datetime
import re
from typing import Any

from samsum_stream.errors.wording import quoted, without_secrets

MAX_DIGITS = 100
"""The limit for the characters of a number; Python cannot print a number of more than 4,300 digits."""

_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_OCTAL_OF_YAML_1_2 = re.compile(r"0o[0-7]+")
_NUMBER = re.compile(r"(?P<whole>[-+]?\d*)(\.(?P<fraction>\d*))?([eE](?P<exponent>[-+]?\d+))?")


def misread(text: str, value: Any) -> str | None:
    """The reason and the remedy if YAML reads the unquoted `text` differently than it looks; otherwise None.

    `value` is the value that YAML reads: `misread("no", False)` says to write false.
    """
    reading = _reading(text, value)
    if reading is None:
        return None
    meaning, instead = reading
    name = without_secrets(text)
    remedy = f"write {instead}, or {quoted(name)} in quotes" if instead else f"write {quoted(name)} in quotes"
    return f"YAML reads the unquoted {name} as {meaning}; {remedy}"


def _reading(text: str, value: Any) -> tuple[str, str] | None:
    """The meaning of the text in YAML, and the unquoted text for the apparent value (empty if there is none)."""
    if isinstance(value, bool):
        word = str(value).lower()
        return None if text.lower() == word else (word, word)
    if isinstance(value, datetime.date):
        return "a date", ""
    if isinstance(value, (int, float)):
        return _reading_of_number(text, value)
    if isinstance(value, str):
        return _reading_of_text(text)
    return None if value is None else ("a value that a config cannot contain", "")


def _reading_of_number(text: str, value: float) -> tuple[str, str] | None:
    if ":" in text:
        return f"the number {value} (to base 60)", str(value)
    if isinstance(value, int) and _OCTAL.fullmatch(text):
        decimal = text.replace("_", "").lstrip("+-0") or "0"
        sign = "-" if text.startswith("-") else ""
        return f"the octal number {value}", f"{sign}{decimal}"
    return None


def _reading_of_text(text: str) -> tuple[str, str] | None:
    if _OCTAL_OF_YAML_1_2.fullmatch(text):
        return "text", str(int(text, 8)) if len(text) <= MAX_DIGITS else ""
    match = _NUMBER.fullmatch(text)
    if match is None or not re.search(r"\d", (match["whole"] or "") + (match["fraction"] or "")):
        return None
    return "text, not as a number", _as_yaml_number(match) if len(text) <= MAX_DIGITS else ""


def _as_yaml_number(match: re.Match[str]) -> str:
    """The number as YAML 1.1 requires it: with a decimal point, and with a sign before the exponent."""
    number = float(match[0])
    if number.is_integer() and abs(number) < 1e15:
        return str(int(number))
    sign = "-" if match["whole"].startswith("-") else ""
    exponent = f"e{int(match['exponent']):+d}" if match["exponent"] else ""
    return f"{sign}{match['whole'].lstrip('+-') or 0}.{match['fraction'] or 0}{exponent}"
