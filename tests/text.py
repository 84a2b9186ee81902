"""Decodes token ids with the `tokenizers` library alone."""

import unicodedata
from collections.abc import Sequence

from tokenizers import normalizers
from transformers import PreTrainedTokenizerBase


def decode_continuations(tokenizer: PreTrainedTokenizerBase, sequences: Sequence[Sequence[int]]) -> list[str]:
    """The texts of ids that continue another text, decoded after a newline: some decoders change the start."""
    backend = tokenizer.backend_tokenizer
    line = backend.encode("\n", add_special_tokens=False).ids
    start = backend.decode(line)
    texts = backend.decode_batch([[*line, *ids] for ids in sequences], skip_special_tokens=False)
    assert all(text.startswith(start) for text in texts)
    return [text[len(start) :] for text in texts]


def as_read(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """The text after the normalization of the tokenizer: some tokenizers compose accents (NFC)."""
    composes = isinstance(tokenizer.backend_tokenizer.normalizer, normalizers.NFC)
    return unicodedata.normalize("NFC", text) if composes else text
