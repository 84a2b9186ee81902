"""An example as runs of text that say what trains and what does not, with special tokens and white space in sight."""

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from samsum_stream.showing.marks import visible
from samsum_stream.showing.pieces import Pieces
from samsum_stream.values.examples import IGNORE_INDEX, Example


class Run(NamedTuple):
    """Tokens that follow each other and are alike: a special token stands by itself."""

    text: str
    trains: bool
    is_special: bool


def marked(example: Example, tokenizer: PreTrainedTokenizerBase) -> list[Run]:
    """The runs of an example, in order."""
    ids, pieces = example.input_ids.tolist(), Pieces(tokenizer)
    border = len(ids) - int((example.labels != IGNORE_INDEX).sum())
    return [*_runs(pieces, ids[:border], trains=False), *_runs(pieces, ids[border:], trains=True)]


def _runs(pieces: Pieces, ids: list[int], *, trains: bool) -> Iterator[Run]:
    for is_special, group in groupby(pieces.of(ids), key=lambda piece: piece.is_special):
        texts = [piece.text for piece in group]
        for text in texts if is_special else ["".join(texts)]:
            yield Run(visible(text), trains, is_special)
