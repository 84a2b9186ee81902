"""Texts to token ids in one batched call, with one of two libraries that must give the same ids."""

import functools
import itertools
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import tokenizers

from samsum_stream.errors import TokenizerError
from samsum_stream.values.arrays import Int32Array, Ragged, offsets_of

MAX_WHOLE = 1 << 23
"""The characters of the longest text that `tokenizers` encodes: it holds up to 240 bytes for each of them."""


class WholeTextError(Exception):
    """A text of more than `MAX_WHOLE` characters was not cut into parts."""


class Backend(Protocol):
    """Encodes texts.

    Attributes:
        name: The name in `tokenizer_config.backend`.
    """

    name: str

    def encode(self, texts: Sequence[str]) -> Ragged:
        """The ids of each text; special tokens in a text are parsed, and none are added."""


class HFBackend:
    """Encodes with the `tokenizers` library, on a copy of the tokenizer.

    The copy is needed because transformers turns padding and truncation of its own tokenizer on and off.
    Texts of more than `MAX_WHOLE` characters raise `WholeTextError`.

    Args:
        serialized: The tokenizer as JSON.
    """

    name = "hf"

    def __init__(self, serialized: str) -> None:
        self.tokenizer = tokenizers.Tokenizer.from_str(serialized)
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()

    def __getstate__(self) -> dict[str, str]:
        return {"serialized": self.serialized}  # a tokenizer of `tokenizers` loses `encode_special_tokens` in a pickle

    def __setstate__(self, state: dict[str, str]) -> None:
        HFBackend.__init__(self, state["serialized"])

    @functools.cached_property
    def serialized(self) -> str:
        """The copy as JSON, without padding and truncation."""
        return self.tokenizer.to_str()

    def encode(self, texts: Sequence[str]) -> Ragged:
        _require_parts(texts)
        encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        ids = [encoding.ids for encoding in encodings]
        offsets = offsets_of([len(sequence) for sequence in ids])
        return Ragged(np.fromiter(itertools.chain.from_iterable(ids), np.int32, int(offsets[-1])), offsets)

    def encode_ordinary(self, text: str) -> Int32Array:
        """The ids of `text`; a special token that the text spells is encoded as ordinary text."""
        _require_parts([text])
        return np.array(self._ordinary.encode(text, add_special_tokens=False).ids, np.int32)

    def probe_ordinary(self, texts: Sequence[str]) -> list[list[int]]:
        """The same for many texts. Call it only while no other thread encodes.

        It changes the tokenizer for a moment, which avoids the second copy: the copy takes a second to load.
        """
        self.tokenizer.encode_special_tokens = True
        try:
            return [encoding.ids for encoding in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        finally:
            self.tokenizer.encode_special_tokens = False

    @functools.cached_property
    def _ordinary(self) -> tokenizers.Tokenizer:
        """A second copy, because another thread may be encoding with the first one."""
        copy = tokenizers.Tokenizer.from_str(self.serialized)
        copy.encode_special_tokens = True
        return copy

    def token_ends(self, text: str) -> list[int]:
        """The end of each token of `text`, in characters."""
        return [end for _, end in self.tokenizer.encode(text, add_special_tokens=False).offsets]


def _require_parts(texts: Sequence[str]) -> None:
    if max(map(len, texts), default=0) > MAX_WHOLE:
        raise WholeTextError


class FastokensBackend:
    """Encodes with the `fastokens` library, which is many times faster.

    Args:
        serialized: The tokenizer as JSON.

    Raises:
        TokenizerError: fastokens is not installed, or cannot load the tokenizer.
    """

    name = "fastokens"

    def __init__(self, serialized: str) -> None:
        self.serialized = serialized
        self.tokenizer = _load_fastokens(serialized)

    def __getstate__(self) -> dict[str, str]:
        return {"serialized": self.serialized}  # a fastokens tokenizer does not pickle

    def __setstate__(self, state: dict[str, str]) -> None:
        self.serialized = state["serialized"]
        self.tokenizer = _load_fastokens(self.serialized)

    def encode(self, texts: Sequence[str]) -> Ragged:
        ids, offsets = self.tokenizer.encode_batch_flat(list(texts), add_special_tokens=False)
        return Ragged(np.frombuffer(ids, np.int32), np.frombuffer(offsets, np.int64))


def fastokens_is_installed() -> bool:
    """Whether the `fastokens` library can be imported."""
    return find_spec("fastokens") is not None


def _load_fastokens(serialized: str) -> Any:
    try:
        import fastokens
    except ImportError as error:
        raise TokenizerError(
            "tokenizer_config.backend: fastokens is not installed; "
            "pip install 'samsum-stream[fast]', or set backend: hf"
        ) from error
    try:
        return fastokens.Tokenizer.from_json_str(serialized)
    except (ValueError, RuntimeError, NotImplementedError) as error:
        raise TokenizerError(f"fastokens cannot load this tokenizer ({error}); set backend: hf") from error
