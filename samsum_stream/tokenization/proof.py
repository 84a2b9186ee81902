"""Which backend encodes: the fast one where it gives the same ids on every probe, the reference where it does not."""

import logging
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np

from samsum_stream.errors import BackendMismatchError, TokenizerError
from samsum_stream.tokenization.backends import Backend, FastokensBackend, HFBackend, fastokens_is_installed
from samsum_stream.values.arrays import Ragged

logger = logging.getLogger(__name__)

MAX_SHOWN = 200

ODDITIES = (
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
    """A fast backend that one chunk in `verify_every` is held against the reference while it runs."""

    def __init__(self, fast: Backend, reference: HFBackend, *, verify_every: int) -> None:
        self.name = fast.name
        self.fast, self.reference, self.verify_every = fast, reference, verify_every
        self.num_chunks = 0

    def encode(self, texts: Sequence[str]) -> Ragged:
        encoded = self.fast.encode(texts)
        self.num_chunks += 1
        if self.num_chunks % self.verify_every == 0:
            prove(encoded, self.reference, texts)
        return encoded


def choose_backend(
    choice: Literal["auto", "hf", "fastokens"], reference: HFBackend, *, first_rows: Iterable[str], verify_every: int
) -> Backend:
    """Prove the fast backend on `first_rows` and on oddities, and take what `choice` allows.

    Raises:
        BackendMismatchError: `fastokens` is asked for and differs from the reference on a probe.
        TokenizerError: `fastokens` is asked for and not installed, or cannot load the tokenizer.
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
    """Raises `BackendMismatchError` with the first of `texts` that the reference encodes differently."""
    expected = reference.encode(texts)
    if np.array_equal(encoded.offsets, expected.offsets) and np.array_equal(encoded.ids, expected.ids):
        return
    pairs = zip(encoded.split(), expected.split(), texts, strict=True)
    text = next(text for one, other, text in pairs if not np.array_equal(one, other))
    shown = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
    raise BackendMismatchError(
        f"fastokens and tokenizers encode this text differently: {shown!r}; say tokenizer_config.backend: hf"
    )


def probes(reference: HFBackend) -> Iterator[str]:
    """Oddities, every special token alone and in a sentence, and mixtures of all of them."""
    added = [token.content for token in reference.tokenizer.get_added_tokens_decoder().values()]
    yield from ODDITIES
    for content in added:
        yield from (content, f"a {content} b", f"a{content}{content}\nb")
    pieces = [*(text[:40] for text in ODDITIES), *added, "word", " word", "Word", "\n"]
    chooser = random.Random(0)
    for _ in range(256):
        yield "".join(chooser.choices(pieces, k=8))
