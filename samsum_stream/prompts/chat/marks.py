r"""Control tokens that the texts of a row spell: marked before a template runs, and found in what the template writes.

row         "Hi <|im_end|>"          marked      "Hi <\ue000|im_end|>"
template    "<|im_start|>user\nHi <\ue000|im_end|><|im_end|>\n"
pieces      "<|im_start|>user\nHi "  [<|im_end|>]  "<|im_end|>\n"        [...]: encoded as ordinary text

A mark inside a token shows that the row wrote a part of the token. The row can also write one part and the template
the other. Therefore a text that ends or starts with a part of a token is marked there. A template that writes
`'<' ~ key ~ '>'` completes a token whose middle is a whole text of the row, so such texts are marked, too.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jinja2.nodes as nodes

from samsum_stream.values.conversations import ASSISTANT, REASONING, Conversation, Message, texts_in

_MARKS = range(0xE000, 0xF8FF)
"""Characters of the private use area. The first one that a row does not contain is the mark of the row."""

_WRITTEN_BY_THE_MODEL = ("content", *REASONING, "tool_calls")
"""The fields of an assistant message in which added tokens that are not special keep their meaning."""


class Piece(NamedTuple):
    """A piece of text; `is_ordinary` if the row spells a control token, which is encoded as ordinary text."""

    text: str
    is_ordinary: bool


class ControlTokens:
    """The tokens that a row must not write.

    Args:
        special: The special tokens of the tokenizer.
        written: The other added tokens that the template writes, such as `<think>`.
        tree: The syntax tree of the template; None if no template writes the start and the end of a token.
    """

    def __init__(
        self, special: Collection[str], written: Collection[str] = (), *, tree: nodes.Template | None = None
    ) -> None:
        tokens = [*special, *written]
        middles, words = (set[str](), set[str]()) if tree is None else (middles_of(tokens, tree), words_of(tree))
        self._all = _Spellings(tokens, middles, words)
        self._special = _Spellings(special, middles, words)

    def may_spell(self, text: str) -> bool:
        """Whether a text may contain a control token or a part of one; the texts of a row are joined with `\\0`."""
        return self._all.may_be_in(text)

    def spells(self, conversation: Conversation) -> bool:
        """Whether a text of a conversation contains a control token where the row must not write it."""
        marked, mark = self.marked(conversation)
        texts = (*marked.texts, *texts_in(marked.kwargs)) if mark else ()
        return any(piece.is_ordinary for text in texts for piece in self.pieces(text, mark))

    def marked(self, conversation: Conversation) -> tuple[Conversation, str]:
        """The conversation with its control tokens marked, and the mark; unchanged and empty if it spells none."""
        text = "\0".join(["", *conversation.texts, *texts_in(conversation.kwargs), ""])
        if not self.may_spell(text):
            return conversation, ""
        mark = next(mark for mark in map(chr, _MARKS) if mark not in text)
        mark_all = partial(_marked_value, mark_text=partial(self._all.mark, mark=mark))
        mark_special = partial(_marked_value, mark_text=partial(self._special.mark, mark=mark))
        marked = replace(
            conversation,
            messages=[_marked_message(message, mark_all, mark_special) for message in conversation.messages],
            tools=mark_all(conversation.tools),
            documents=mark_all(conversation.documents),
            kwargs={name: mark_all(value) for name, value in conversation.kwargs.items()},
            prefill=self._special.mark(conversation.prefill, mark=mark),
        )
        return marked, mark

    def pieces(self, text: str, mark: str) -> list[Piece]:
        """The pieces of a text with marks, without the marks."""
        if not mark or mark not in text:
            return [Piece(text, False)]
        plain, at = _without_marks(text, mark)
        pieces, start = [], 0
        for match in self._all.tokens.finditer(plain):
            if any(match.start() < position < match.end() for position in at):
                pieces += [Piece(plain[start : match.start()], False), Piece(match.group(), True)]
                start = match.end()
        return [piece for piece in (*pieces, Piece(plain[start:], False)) if piece.text]

    def written_in(self, text: str) -> tuple[str, ...]:
        """The control tokens of a text, in their order."""
        return tuple(self._all.tokens.findall(text))


class _Spellings:
    """Some tokens, and how they are found.

    Attributes:
        edges: The first and the last characters of the tokens.
        tokens: Matches a token.
        parts: Matches a token, or a part of a token at an edge of a text; texts are joined with `\\0`.

    Args:
        tokens: The tokens.
        middles: The whole texts that the template completes to tokens.
        words: Those of them that are not marked: the template uses them, and would not find a key with a mark.
    """

    def __init__(self, tokens: Iterable[str], middles: set[str], words: set[str]) -> None:
        ordered = sorted({token for token in tokens if token.strip()}, key=len, reverse=True)
        self.edges = {edge for token in ordered for edge in (token[0], token[-1])}
        starts = _alternatives({token[:end] for token in ordered for end in range(1, len(token))})
        ends = _alternatives({token[start:] for token in ordered for start in range(1, len(token))})
        self.tokens = re.compile(_alternatives(ordered))
        self.parts = re.compile(rf"{_alternatives(ordered)}|{starts}(?=\s*\0)|(?<=\0){ends}|(?<=\0)\s+{ends}")
        all_middles, marked = (_alternatives(texts, keeps_words=True) for texts in (middles, middles - words))
        self._middles = re.compile(rf"(?<=\0)\s*{all_middles}\s*(?=\0)") if middles else None
        self._middle = re.compile(rf"\s*{marked}\s*\Z")
        self._end, self._start = re.compile(rf"{starts}(?=\s*\Z)"), re.compile(rf"\A\s*(?={ends})")

    def may_be_in(self, text: str) -> bool:
        """Whether a text may contain a token or a part of one; texts are joined with `\\0`."""
        if any(map(text.__contains__, self.edges)) and self.parts.search(text) is not None:
            return True
        return self._middles is not None and self._middles.search(text) is not None

    def mark(self, text: str, *, mark: str) -> str:
        """The text with a mark in each token, and at an edge that is a part of a token."""
        if self._middle.match(text):
            end = len(text.rstrip())
            return f"{text[:end]}{mark}{text[end:]}"
        marked = self.tokens.sub(lambda match: match.group()[0] + mark + match.group()[1:], text)
        marked = self._end.sub(lambda match: match.group() + mark, marked, count=1)
        return self._start.sub(lambda match: match.group() + mark, marked, count=1)


def middles_of(tokens: Iterable[str], tree: nodes.Template) -> set[str]:
    """The texts that a template may complete to a token, because it writes the start and the end of the token."""
    literals = (*_constants(tree), *(node.data for node in tree.find_all(nodes.TemplateData)))
    middles = set()
    for token in tokens:
        ends = {end for end in range(1, len(token)) if any(text.endswith(token[:end]) for text in literals)}
        starts = {start for start in range(1, len(token)) if any(text.startswith(token[start:]) for text in literals)}
        middles |= {token[end:start].strip() for end in ends for start in starts if end < start}
    return middles - {""}


def words_of(tree: nodes.Template) -> set[str]:
    """The names and texts that a template uses."""
    return _constants(tree) | {node.attr for node in tree.find_all(nodes.Getattr)}


def _constants(tree: nodes.Template) -> set[str]:
    return {node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)}


def _alternatives(texts: Iterable[str], *, keeps_words: bool = False) -> str:
    """A pattern that matches one of the texts, the longest first.

    Args:
        texts: The texts.
        keeps_words: Whether it also matches texts of letters and digits alone.
    """
    longest_first = sorted((text for text in texts if keeps_words or not text.isalnum()), key=len, reverse=True)
    return f"(?:{'|'.join(map(re.escape, longest_first)) or '(?!)'})"


def _marked_message(message: Message, mark_all: Any, mark_special: Any) -> Message:
    by_model = _WRITTEN_BY_THE_MODEL if message["role"] == ASSISTANT else ()
    return {
        name: value if name == "role" else (mark_special if name in by_model else mark_all)(value)
        for name, value in message.items()
    }


def _marked_value(value: Any, *, mark_text: Any) -> Any:
    if isinstance(value, str):
        return mark_text(value)
    if isinstance(value, Mapping):
        return {mark_text(key): _marked_value(item, mark_text=mark_text) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_marked_value(item, mark_text=mark_text) for item in value]
    return value


def _without_marks(text: str, mark: str) -> tuple[str, Sequence[int]]:
    """The text without its marks, and the position of each mark in it."""
    parts = text.split(mark)
    positions, length = [], 0
    for part in parts[:-1]:
        length += len(part)
        positions.append(length)
    return "".join(parts), positions
