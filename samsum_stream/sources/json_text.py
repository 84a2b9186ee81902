"""JSON in which each key occurs once: Python alone keeps the last value of a repeated key, and drops the others."""

import json
from typing import Any


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object; raises `ValueError` if a key is repeated."""
    unique = dict(pairs)
    if len(unique) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {repeated!r} occurs twice in an object, and only one value can be kept")
    return unique


DECODER = json.JSONDecoder(object_pairs_hook=_unique)

decode_json = DECODER.decode
"""The value of a JSON text; raises `ValueError` for other texts, and for an object with a repeated key."""
