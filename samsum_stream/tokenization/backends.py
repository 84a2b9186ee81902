"""Texts to ids in one batched call, by either of two libraries that must agree on every id."""

import functools
import itertools
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import tokenizers

from samsum_stream.errors import TokenizerError
from samsum_stream.values.arrays import Ragged, offsets_of


class Backend(Protocol):
    """What a stage needs of a tokenizer: ids for texts, special tokens parsed, none added."""

    name: str

    def encode(self, texts: Sequence[str]) -> Ragged: ...


class HFBackend:
    """The `tokenizers` library, on a private copy.

    Private, because transformers switches padding and truncation on and off on the one it owns.
    """

    name = "hf"

    def __init__(self, serialized: str) -> None:
        self.tokenizer = tokenizers.Tokenizer.from_str(serialized)
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()

    @functools.cached_property
    def serialized(self) -> str:
        """The private copy as JSON."""
        return self.tokenizer.to_str()

    def encode(self, texts: Sequence[str]) -> Ragged:
        encodings = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ids = [encoding.ids for encoding in encodings]
        lengths = [len(sequence) for sequence in ids]
        flat = np.fromiter(itertools.chain.from_iterable(ids), np.int32, sum(lengths))
        return Ragged(flat, offsets_of(lengths))

    def encode_ordinary(self, text: str) -> list[int]:
        """The ids of `text` where a special token that it spells is ordinary text."""
        return list(self._ordinary.encode(text, add_special_tokens=False).ids)

    def probe_ordinary(self, texts: Sequence[str]) -> list[list[int]]:
        """The same for many texts, while no other thread encodes: without the copy, which takes a second to load."""
        self.tokenizer.encode_special_tokens = True
        try:
            return [encoding.ids for encoding in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        finally:
            self.tokenizer.encode_special_tokens = False

    @functools.cached_property
    def _ordinary(self) -> tokenizers.Tokenizer:
        """A copy, made when it is needed: another thread may be encoding with the first one."""
        copy = tokenizers.Tokenizer.from_str(self.serialized)
        copy.encode_special_tokens = True
        return copy

    def token_ends(self, text: str) -> list[int]:
        """Where each token of `text` ends, in characters."""
        return [end for _, end in self.tokenizer.encode(text, add_special_tokens=False).offsets]


class FastokensBackend:
    """The `fastokens` library: the same ids, many times faster."""

    name = "fastokens"

    def __init__(self, serialized: str) -> None:
        self.serialized = serialized
        self.tokenizer = _load_fastokens(serialized)

    def __getstate__(self) -> dict[str, str]:
        return {"serialized": self.serialized}  # its objects do not pickle

    def __setstate__(self, state: dict[str, str]) -> None:
        self.serialized = state["serialized"]
        self.tokenizer = _load_fastokens(self.serialized)

    def encode(self, texts: Sequence[str]) -> Ragged:
        ids, offsets = self.tokenizer.encode_batch_flat(list(texts), add_special_tokens=False)
        return Ragged(np.frombuffer(ids, np.int32), np.frombuffer(offsets, np.int64))


def fastokens_is_installed() -> bool:
    return find_spec("fastokens") is not None


def _load_fastokens(serialized: str) -> Any:
    try:
        import fastokens
    except ImportError as error:
        raise TokenizerError(
            "tokenizer_config.backend: fastokens is asked for, but it is not installed; "
            "pip install 'samsum-stream[fast]', or say backend: hf"
        ) from error
    try:
        return fastokens.Tokenizer.from_json_str(serialized)
    except (ValueError, RuntimeError, NotImplementedError) as error:
        raise TokenizerError(f"fastokens cannot load this tokenizer ({error}); say backend: hf") from error
