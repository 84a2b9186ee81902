"""Special tokens that a row spells: found by a scan, and encoded as ordinary text so that data cannot forge a turn."""

import re
from collections.abc import Sequence

from tokenizers import AddedToken

from samsum_stream.errors import TokenizerError
from samsum_stream.samples import Rows, Segment
from samsum_stream.tokenization.backends import HFBackend
from samsum_stream.tokenization.border import Border


class SpecialTokens:
    """The special tokens of a tokenizer, and how to encode around them."""

    def __init__(self, backend: HFBackend, border: Border) -> None:
        added = backend.tokenizer.get_added_tokens_decoder()
        self.ids = {token.content: number for number, token in added.items() if token.special and token.content}
        self.pattern = _pattern([token for token in added.values() if token.content in self.ids])
        self.first_characters = sorted({content[0] for content in self.ids})
        self.backend, self.border = backend, border
        self.restarts = self._find_restarts()

    def spelled_in(self, rows: Rows) -> list[int]:
        """The indices of the rows whose own text spells a special token, in order."""
        found = {index for texts in (rows.inputs, rows.responses) for index in self._scan(texts)}
        if rows.contexts is not None:
            found.update(self._scan(["\n".join(contexts) for contexts in rows.contexts]))
        return sorted(found)

    def spelled_by_row(self, segments: Sequence[Segment]) -> bool:
        """Whether a row's own text spells a special token."""
        return any(from_row and self.pattern.search(text) for text, from_row in segments)

    def encode(self, segments: Sequence[Segment], *, continues: bool) -> list[int]:
        """The ids of segments where only the format's special tokens are special.

        `continues` says that the text goes on from another one, as a response goes on from its prompt.
        """
        ids: list[int] = []
        ordinary = ""
        for text, from_row in segments:
            position = 0
            for match in () if from_row else self.pattern.finditer(text):
                ids += self._ordinary(ordinary + text[position : match.start()], continues=continues)
                ids.append(self.ids[match.group().strip()])
                ordinary, position, continues = "", match.end(), not self.restarts
            ordinary += text[position:]
        return ids + self._ordinary(ordinary, continues=continues)

    def _scan(self, texts: Sequence[str]) -> list[int]:
        """One search for a character a text decides most texts; the pattern sees the few that are left."""
        candidates = {i for char in self.first_characters for i, text in enumerate(texts) if char in text}
        return [index for index in candidates if self.pattern.search(texts[index])]

    def _ordinary(self, text: str, *, continues: bool) -> list[int]:
        if not text:
            return []
        if not continues:
            return self.backend.encode_ordinary(text)
        return self.backend.encode_ordinary(self.border.mark(text))[len(self.border.sentinel) :]

    def _find_restarts(self) -> bool:
        """Whether text behind a special token is encoded like the start of a text, or like its middle."""
        if not self.ids or not len(self.border.sentinel):
            return True
        content, number = next(iter(self.ids.items()))
        seen = self.backend.encode([content + "Yes sir"]).ids.tolist()
        for restarts in (True, False):
            if seen == [number, *self._ordinary("Yes sir", continues=not restarts)]:
                return restarts
        raise TokenizerError(
            f"this tokenizer encodes text behind {content!r} neither like the start of a text nor like its middle: "
            "rows that spell special tokens could not be kept apart; use another tokenizer"
        )


def _pattern(tokens: Sequence[AddedToken]) -> re.Pattern[str]:
    """The longest token first, each with the whitespace that it swallows; nothing matches where there are none."""
    longest_first = sorted(tokens, key=lambda token: len(token.content), reverse=True)
    return re.compile("|".join(map(_with_whitespace, longest_first)) or r"(?!)")


def _with_whitespace(token: AddedToken) -> str:
    return (r"\s*" if token.lstrip else "") + re.escape(token.content) + (r"\s*" if token.rstrip else "")
