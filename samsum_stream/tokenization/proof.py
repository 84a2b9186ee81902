"""The choice of the backend: the fast one if it gives the same ids as the reference on every probe."""

import logging
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np

from samsum_stream.errors import BackendMismatchError, TokenizerError
from samsum_stream.tokenization.backends import Backend, FastokensBackend, HFBackend, fastokens_is_installed
from samsum_stream.tokenization.cuts import MAX_CHARACTERS
from samsum_stream.values.arrays import Ragged

logger = logging.getLogger(__name__)

MAX_SHOWN = 200
"""The maximum number of characters of a text in a message."""

UNUSUAL_TEXTS = (
    "", " ", "  ", "\n", "\n\n", "\r\n", "\t", " \n ", "\u00a0", "\u2028", "\ufeff", "\u200b", "\u0000", "\u001c",
    "a" * 3000, " " * 300, "\n" * 300, "é" * 300, "-" * 300, "0" * 300, "ab " * 300,
    "1 12 123 1234 12345 123456 1,234.56 1e-5 0x1F ½ ² ٣ 四",
    "don't DON'T I'll we've you're it's 'tis l'été ’s",
    "cafe\u0301 café \u1e9b\u0323 ﬁ Å \u212b ①",
    "日本語のテキスト。中文，没有空格。한국어 텍스트",
    "العربية مع \u200fRTL עברית हिन्दी ไทย",
    "👍👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷 ❤️ ☺️",
    "def f(x):\n\treturn {'a': [1, 2], \"b\": x**2}  # done\n\n\n    pass",
    "https://example.org/a?b=c&d=%20e#f user@example.org C:\\path\\file",
    "<b>html</b> &amp; | table | `code` **bold** __init__ $x^2$ <<SYS>> [INST]",
    "mixed\ttabs  and   spaces \n \n  lines\r\rold mac",
    "\ud7ff\ue000\ufffd\U0001f600\U0010ffff",
)  # fmt: skip


class VerifiedBackend:
    """A fast backend that is compared with the reference on every `verify_every`-th chunk, or on the next shorter one.

    Args:
        fast: The fast backend.
        reference: The reference.
        verify_every: The number of chunks from one comparison to the next.
    """

    def __init__(self, fast: Backend, reference: HFBackend, *, verify_every: int) -> None:
        self.name = fast.name
        self.fast, self.reference, self.verify_every = fast, reference, verify_every
        self.num_chunks = 0

    def encode(self, texts: Sequence[str]) -> Ragged:
        encoded = self.fast.encode(texts)
        self.num_chunks += 1
        if self.num_chunks >= self.verify_every and sum(map(len, texts)) <= MAX_CHARACTERS:
            prove(encoded, self.reference, texts)
            self.num_chunks = 0
        return encoded


def choose_backend(
    choice: Literal["auto", "hf", "fastokens"], reference: HFBackend, *, first_rows: Iterable[str], verify_every: int
) -> Backend:
    """The backend for `choice`, which is `tokenizer_config.backend`.

    Args:
        choice: With `auto`, the reference is used if the fast backend is missing or differs.
        reference: The reference.
        first_rows: Texts of the data that are probed together with the built-in probes.
        verify_every: See `VerifiedBackend`.

    Raises:
        BackendMismatchError: `choice` is `fastokens`, and fastokens differs from the reference on a probe.
        TokenizerError: `choice` is `fastokens`, and fastokens is not installed or cannot load the tokenizer.
    """
    if choice == "hf" or (choice == "auto" and not fastokens_is_installed()):
        return reference
    try:
        fast = FastokensBackend(reference.serialized)
        texts = [*first_rows, *probes(reference)]
        prove(fast.encode(texts), reference, texts)
    except TokenizerError as error:
        if choice == "fastokens":
            raise
        logger.warning("%s (until then the slower backend hf encodes)", error)
        return reference
    return VerifiedBackend(fast, reference, verify_every=verify_every)


def prove(encoded: Ragged, reference: Backend, texts: Sequence[str]) -> None:
    """Raise `BackendMismatchError` if the reference encodes one of `texts` differently; the error shows the text."""
    expected = reference.encode(texts)
    if np.array_equal(encoded.offsets, expected.offsets) and np.array_equal(encoded.ids, expected.ids):
        return
    pairs = zip(encoded.split(), expected.split(), texts, strict=True)
    text = next(text for ids, expected_ids, text in pairs if not np.array_equal(ids, expected_ids))
    shown = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
    raise BackendMismatchError(
        f"fastokens and tokenizers encode this text differently: {shown!r}; set tokenizer_config.backend: hf"
    )


def probes(reference: HFBackend) -> Iterator[str]:
    """Unusual texts, every added token alone and in a sentence, and 256 random mixtures of them."""
    added = [token.content for token in reference.tokenizer.get_added_tokens_decoder().values()]
    yield from UNUSUAL_TEXTS
    for content in added:
        yield from (content, f"a {content} b", f"a{content}{content}\nb")
    pieces = [*(text[:40] for text in UNUSUAL_TEXTS), *added, "word", " word", "Word", "\n"]
    generator = random.Random(0)
    for _ in range(256):
        yield "".join(generator.choices(pieces, k=8))
