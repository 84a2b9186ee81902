"""Splits long texts into pieces of at most `max_length` tokens: each token is trained once.

tokens      <s>  Once  upon  a  time  there  was  </s>        max_length 4, overlap 1
piece 0     <s>  Once  upon  a                                 trained from "Once" on
piece 1                      a  time  there  was               trained from "time" on: the first token has no label
piece 2                                      was  </s>
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import tokenizers

from samsum_stream.values.arrays import BoolArray, Int32Array
from samsum_stream.values.examples import Chunk, Event

Place = Literal["token", "word", "line"]
"""Before which tokens a text may be split."""


@dataclass(frozen=True)
class Borders:
    """Where a text may be split: before a token that starts a word, and after a token that ends one (or a line).

    Attributes:
        before: Whether a text may be split before each token of the vocabulary, shape `[V]`.
        after: Whether a text may be split after it, shape `[V]`.
    """

    before: BoolArray
    after: BoolArray

    @classmethod
    def of(cls, texts: list[str], place: Place) -> "Borders | None":
        """The borders for the text of each token of the vocabulary; None if any token may be split off."""
        if place == "token":
            return None
        starts_word = np.array([place == "word" and text[:1].isspace() for text in texts])
        ends = np.array([text.endswith("\n") if place == "line" else text[-1:].isspace() for text in texts])
        return cls(starts_word, ends)

    def last(self, ids: Int32Array) -> int:
        """The largest number of tokens after which the text may be split, below `len(ids)`; 0 if there is none."""
        allowed = self.before[ids[1:]] | self.after[ids[:-1]]
        return len(ids) - 1 - int(allowed[::-1].argmax()) if allowed.any() else 0


@dataclass(frozen=True)
class Splitter:
    """Splits the examples of texts.

    Attributes:
        max_length: The maximum number of tokens of a piece.
        overlap: The tokens at the start of a piece that the piece before has, too. They are context, and not trained
            again. With one token, no token loses its label: the first token of an example has none.
        borders: Where a text may be split; None if before any token.
    """

    max_length: int
    overlap: int
    borders: Borders | None

    def split(self, chunk: Chunk) -> Chunk:
        """The examples, each as one or more examples of its row. Each has one span, to its end."""
        if not (chunk.records["length"] > self.max_length).any():
            return chunk
        ids, sources, spans, events = [], [], [], list(chunk.events)
        for index, text in enumerate(chunk.ids):
            first_trained = int(chunk.spans[index, 0])
            for part, (start, end) in enumerate(self._pieces(np.frombuffer(text, np.int32))):
                ids.append(text[4 * start : 4 * end])
                sources.append((index, part))
                spans.append((max(first_trained, start + self.overlap if part else 0) - start, end - start))
                if part:
                    events.append(Event(int(chunk.rows[index]), part, "splits.length"))
        of_piece, parts = np.array(sources).T
        records = chunk.records[of_piece].copy()
        records["part"], records["length"] = parts, [len(piece) // 4 for piece in ids]
        rows = chunk.rows[of_piece]
        num_rendered = np.bincount(rows, minlength=len(chunk.num_rendered))
        return replace(
            chunk,
            ids=ids,
            spans=np.array(spans, np.int32),
            records=records,
            rows=rows,
            num_rendered=num_rendered,
            events=tuple(events),
        )

    def _pieces(self, ids: Int32Array) -> list[tuple[int, int]]:
        """The start and the end of each piece of a text."""
        pieces, start = [], 0
        while len(ids) - start > self.max_length:
            end = start + self.max_length
            if self.borders is not None:
                # The piece has a token that the piece before does not have. Without a border, it ends anywhere.
                begun = start + self.overlap
                end = begun + (self.borders.last(ids[begun : end + 1]) or end - begun)
            pieces.append((start, end))
            start = end - self.overlap
        return [*pieces, (start, len(ids))]


def token_texts(tokenizer: tokenizers.Tokenizer) -> list[str]:
    """The text of each token of the vocabulary after the letter `x`: decoders strip the start of a text."""
    *_, letter = tokenizer.encode("x", add_special_tokens=False).ids
    before = len(tokenizer.decode([letter]))
    numbers = range(tokenizer.get_vocab_size(with_added_tokens=True))
    decoded = tokenizer.decode_batch([[letter, number] for number in numbers], skip_special_tokens=False)
    return [text[before:] for text in decoded]
