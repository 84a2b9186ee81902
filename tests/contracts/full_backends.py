"""Compares both backends on every text: `python -m tests.contracts.full_backends` prints a table and a total.

It compares all texts of all data sets, and fuzzed texts, for all tokenizers. The exit status is 1 if the backends give
different ids for a text.
"""

import logging
import random
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from samsum_stream.tokenization import Backend, FastokensBackend, HFBackend
from tests.real_data import FOLDER, TOKENIZERS, load_tokenizer, read

NUM_FUZZED = 20_000
CHUNK = 4096

RANGES = (
    (0x20, 0x7E), (0x20, 0x7E), (0x30, 0x39), (0x00, 0x1F), (0x7F, 0x9F), (0xA0, 0x24F), (0x300, 0x36F),
    (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF), (0x1E00, 0x1EFF),
    (0x2000, 0x206F), (0x2070, 0x218F), (0x2190, 0x2BFF), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
    (0xE000, 0xE0FF), (0xFB00, 0xFDFF), (0xFE00, 0xFE2F), (0xFF00, 0xFFEF), (0xFFF0, 0xFFFF), (0x1D400, 0x1D7FF),
    (0x1F1E6, 0x1F1FF), (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF), (0xE0000, 0xE01EF), (0x10FF00, 0x10FFFF),
)  # fmt: skip
WORDS = (
    "the", "Summary:", "don't", "WE'LL", "résumé", "naïve", "Straße", "cafe\u0301", "\u1e9b\u0323", "ﬁ", "Å", "日本語",
    "中文", "한국어", "हिन्दी", "ไทย", "עברית", "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪", "❤️", "1234567890", "3.14", "1,000",
    "<|", "|>", "</", "<s", "[INST", "▁", "▁the", "Ġ", "Ċ", "<0x0A>", "##ing", "\u200d", "\u200b", "\ufeff", "\u00a0",
)  # fmt: skip
SPACES = (
    " ",
    "  ",
    "   ",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    "\t",
    " \n",
    "\n ",
    "\u00a0",
    "\u2028",
    "\u3000",
    "\x0b",
    "\x85",
)


def main() -> int:
    logging.disable(logging.WARNING)
    start, num_texts, num_different = time.perf_counter(), 0, 0
    texts = list(data_texts())
    for name in TOKENIZERS:
        different = {"data": differences(name, texts), "fuzzed": differences(name, fuzzed_texts(name))}
        num_texts += len(texts) + NUM_FUZZED
        num_different += sum(map(len, different.values()))
        print(
            f"{name:<14}data {len(texts):,} texts, {len(different['data'])} different; "
            f"fuzzed {NUM_FUZZED:,} texts, {len(different['fuzzed'])} different",
            flush=True,
        )
        for text in chain(*different.values()):
            print(f"    {text[:200]!r}")
    print(f"total: {num_texts:,} texts, {num_different} different; {time.perf_counter() - start:,.0f} s")
    return int(num_different > 0)


def differences(name: str, texts: Sequence[str]) -> list[str]:
    """The texts that the two backends encode differently."""
    serialized = load_tokenizer(name).backend_tokenizer.to_str()
    backends = HFBackend(serialized), FastokensBackend(serialized)
    chunks = (texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK))
    return [text for chunk in chunks for text in different(*backends, chunk)]


def different(one: Backend, other: Backend, texts: Sequence[str]) -> Iterator[str]:
    pairs = zip(one.encode(texts).split(), other.encode(texts).split(), texts, strict=True)
    return (text for left, right, text in pairs if left.tolist() != right.tolist())


def data_texts() -> Iterator[str]:
    """Every text in every row of every data set."""
    for path in sorted((FOLDER / "datasets").rglob("*.jsonl.gz")):
        for row in read(path):
            yield from texts_in(row)


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from texts_in(part)


def fuzzed_texts(name: str, num_texts: int = NUM_FUZZED) -> list[str]:
    """Random texts of words, white space, digits, special tokens and any characters; the same texts in every call."""
    chooser = random.Random(f"fuzz {name}")
    special = [token.content for token in load_tokenizer(name).backend_tokenizer.get_added_tokens_decoder().values()]
    return ["".join(fuzzed_piece(chooser, special) for _ in range(chooser.randint(1, 24))) for _ in range(num_texts)]


def fuzzed_piece(chooser: random.Random, special: Sequence[str]) -> str:
    kind = chooser.randrange(8)
    if kind == 0:
        return chooser.choice(special)
    if kind == 1:
        return chooser.choice(SPACES) * chooser.choice((1, 1, 1, 2, 3, 17))
    if kind == 2:
        return str(chooser.randrange(10 ** chooser.randint(1, 12)))
    if kind in (3, 4):
        return chooser.choice(("", " ")) + chooser.choice(WORDS)
    first, last = chooser.choice(RANGES)
    return "".join(chr(chooser.randint(first, last)) for _ in range(chooser.randint(1, 8)))


if __name__ == "__main__":
    sys.exit(main())
