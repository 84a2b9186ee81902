"""Whether the constants of a chat template tell on which texts the template decides.

What a template does with a text must show in a placeholder, such as `trim`, or decide on constants, such as `split`.
A template that measures, cuts or counts a text does neither, and `content | int > 5` compares with no text.
"""

import jinja2.nodes as nodes

from samsum_stream.prompts.chat.expressions import CASES, is_text, last_name, sides_of, uses_in

_LENGTHS = {"count", "length"}
_COMMON = CASES | {"format", "items", "join", "replace", "trim"}
_KNOWN = {
    "filter": _COMMON
    | _LENGTHS
    | {"attr", "d", "default", "dictsort", "first", "from_json", "fromjson", "groupby", "indent", "last", "list", "map"}
    | {"max", "min", "reject", "rejectattr", "reverse", "safe", "select", "selectattr", "sort", "string", "tojson"}
    | {"unique"},
    "method": _COMMON
    | {"append", "endswith", "extend", "find", "from_keys", "get", "index", "keys", "lstrip", "pop", "rfind", "rsplit"}
    | {"rstrip", "split", "startswith", "strip", "update", "values"},
}
_KNOWN_TESTS = {
    "boolean", "defined", "eq", "equalto", "false", "in", "integer", "iterable", "mapping", "ne", "none", "number",
    "sameas", "sequence", "string", "true", "undefined",
}  # fmt: skip

_LISTS = (
    "blocks", "calls", "documents", "functions", "id", "info", "items", "list", "messages", "msgs", "oneOf", "options",
    "parts", "properties", "roles", "tools", "type", "types",
)  # fmt: skip
"""The ends of names of what has a length that is a part of the shape of a conversation."""

MAX_MEASURED = 9
"""A placeholder has more characters than this. Therefore longer texts have the same result in a comparison."""


def uses_are_known(tree: nodes.Template) -> bool:
    """Whether constants tell on which texts a template decides."""
    uses = [*uses_in(tree)]
    if any(use.kind in _KNOWN and use.name not in _KNOWN[use.kind] for use in uses):
        return False
    if any(test.name not in _KNOWN_TESTS for test in tree.find_all(nodes.Test)):
        return False
    splits_words = any(use.kind == "method" and use.name in ("split", "rsplit") and not use.args for use in uses)
    return not (splits_words or _cuts(tree) or _measures(tree))


def longest_measured(tree: nodes.Template) -> int:
    """The largest number with which a template compares the length of a text; 0 if there is none up to `MAX_MEASURED`.

    Texts are not blank where frames are used, so comparisons with 0 do not count.
    """
    numbers = [
        number
        for compare in tree.find_all(nodes.Compare)
        if any(is_text(length) for length in _lengths(compare))
        for number in _numbers(compare)
    ]
    return max((number for number in numbers if 0 < number <= MAX_MEASURED), default=0)


def _cuts(tree: nodes.Template) -> bool:
    """Whether a template may cut a text after a number of characters."""
    slices = [(item.node, item.arg) for item in tree.find_all(nodes.Getitem) if isinstance(item.arg, nodes.Slice)]
    return any(is_text(node) and cut.stop is not None for node, cut in slices if isinstance(cut, nodes.Slice))


def _measures(tree: nodes.Template) -> bool:
    """Whether a template may decide on the length of a text, apart from comparisons with small numbers."""
    small = [compare for compare in tree.find_all(nodes.Compare) if _is_small(compare)]
    known = {id(length) for compare in small for length in _lengths(compare)}
    return any(id(length) not in known for length in _lengths(tree))


def _is_small(compare: nodes.Compare) -> bool:
    """Whether a comparison of lengths is one of messages with a small number, or one of any text with 0."""
    limit = MAX_MEASURED if all(map(is_text, _lengths(compare))) else 0
    return bool(_numbers(compare)) and max(_numbers(compare)) <= limit


def _lengths(node: nodes.Node) -> list[nodes.Filter]:
    """The lengths in an expression that may be those of texts."""
    lengths = [filtered for filtered in node.find_all(nodes.Filter) if filtered.name in _LENGTHS]
    return [length for length in lengths if not last_name(length).endswith(_LISTS)]


def _numbers(compare: nodes.Compare) -> list[int]:
    return [side.value for side in sides_of(compare) if isinstance(side, nodes.Const) and isinstance(side.value, int)]
