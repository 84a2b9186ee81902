"""The texts on which a chat template may decide, from its syntax tree.

{% if '</think>' in message.content %}          the template decides on a text that has </think>
{% if message.content | lower == 'stop' %}      on a text that has stop, in any case
{% if message.content == messages[0].content %} on texts that are equal
{% if message.content | length > 2 %}           on a text of two characters
{% if message.role == 'user' %}                 on a role, which is no text
{% if message.content.isdigit() %}              in a way that its constants do not tell (`known_uses`)
"""

from collections.abc import Sequence
from typing import NamedTuple

import jinja2.nodes as nodes

from samsum_stream.prompts.chat.expressions import CASES, Constants, is_part, is_text, names_in, sides_of, uses_in
from samsum_stream.prompts.chat.known_uses import longest_measured, uses_are_known

_WITHOUT_TEXTS = {
    "attr", "default", "get", "groupby", "indent", "join", "map", "namespace", "raise_exception", "range",
    "strftime_now", "tojson",
}  # fmt: skip
"""Filters, methods and functions whose arguments are no texts with which texts are compared."""

_SELECTS = {"rejectattr", "selectattr"}
_STRIPS = {"lstrip", "rstrip", "strip", "trim"}

_IGNORED_WORDS = {
    "arguments", "assistant", "audio", "audio_url", "content", "documents", "enable_thinking", "function", "id",
    "image", "image_url", "ipython", "name", "reasoning", "reasoning_content", "role", "system", "text", "thinking",
    "tool", "tool_call_id", "tool_calls", "tools", "type", "user", "video", "video_url",
}  # fmt: skip
"""Names of fields, roles and kinds of content, with which templates compare these."""


class Guards(NamedTuple):
    """The texts on which a template may decide.

    Attributes:
        contained: Texts that it may look for in other texts.
        equal: Texts with which it may compare other texts.
        longest: It may decide on texts of at most so many characters.
        compares: Whether it may compare the texts of two messages.
        compares_names: Whether it may compare the names of tools with each other.
        folds: Whether it ignores the case of letters; then all texts here are in lower case.
        are_all: Whether it decides on nothing else.
    """

    contained: tuple[str, ...]
    equal: frozenset[str]
    longest: int
    compares: bool
    compares_names: bool
    folds: bool
    are_all: bool

    def allow(self, texts: Sequence[str], others: Sequence[str], joined: str) -> bool:
        """Whether a template cannot decide on these texts.

        Args:
            texts: The contents and the reasoning of messages.
            others: Names, ids and arguments.
            joined: All of these in one text.
        """
        if self.folds:
            texts, others, joined = [*map(str.lower, texts)], [*map(str.lower, others)], joined.lower()
        if any(map(joined.__contains__, self.contained)) or (self.compares_names and others):
            return False
        if not self.equal.isdisjoint(texts) or not self.equal.isdisjoint(others):
            return False
        if self.longest and any(len(text.strip()) <= self.longest for text in texts):
            return False
        return not (self.compares and len({*texts}) < len(texts))


def guards_of(tree: nodes.Template) -> Guards:
    """The texts on which a template may decide, from its syntax tree."""
    constants, compares, uses = Constants(tree), [*tree.find_all(nodes.Compare)], [*uses_in(tree)]
    contained, in_texts, equal = set[str](), set[str](), set[str]()
    for compare in compares:
        for operand in compare.ops:
            is_search = operand.op in ("in", "notin") and constants.are_all(compare.expr)
            sides = [operand.expr] if is_search else [compare.expr, operand.expr]
            texts = constants.of([compare.expr, operand.expr])
            (contained if is_search or any(map(is_part, sides)) else equal).update(texts)
            in_texts.update(texts if any(map(is_text, sides)) else ())
    for use in uses:
        texts = constants.of(use.args)
        if use.name in _STRIPS:
            texts = [character for text in texts for character in text if character.strip()]
        if use.name not in _WITHOUT_TEXTS:
            (equal if use.name in _SELECTS else contained).update(texts)
            in_texts.update(texts if is_text(use.of) else ())
    for test in tree.find_all(nodes.Test):
        equal.update(constants.of(test.args))
    of_fields = {text for text in contained if text.isidentifier()} - (in_texts - _IGNORED_WORDS)  # "enum" in schema
    contained, equal = contained - of_fields, (equal | of_fields) - _IGNORED_WORDS
    if folds := any(use.name in CASES and is_text(use.of) for use in uses):
        contained, equal = {text.lower() for text in contained}, {text.lower() for text in equal}
    return Guards(
        contained=tuple(sorted(contained)),
        equal=frozenset(equal),
        longest=longest_measured(tree),
        compares=any(map(_compares_texts, compares)),
        compares_names=any(map(_compares_names, compares)),
        folds=folds,
        are_all=uses_are_known(tree),
    )


def _compares_texts(compare: nodes.Compare) -> bool:
    """Whether a comparison may be one of the texts of two messages: no side is a constant, and one is a text."""
    return _has_no_constant(compare) and any(map(is_text, sides_of(compare)))


def _compares_names(compare: nodes.Compare) -> bool:
    """Whether a comparison may be one of the names of two tools, and not of two parameters in a schema."""
    names = [name for side in sides_of(compare) for name in names_in(side) if not name.startswith(("param", "prop"))]
    return _has_no_constant(compare) and any("name" in name for name in names)


def _has_no_constant(compare: nodes.Compare) -> bool:
    return not any(isinstance(side, nodes.Const | nodes.List | nodes.Tuple) for side in sides_of(compare))
