"""Trains the byte-level BPE tokenizer in `tokenizer/` on the texts of `dialogues.jsonl`.

The result depends only on this file and on the version of `tokenizers`. Run it with

    python make_tokenizer.py

The script writes a folder that `AutoTokenizer.from_pretrained` loads offline.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
DATA_FILE = HERE / "dialogues.jsonl"
OUT_DIR = HERE / "tokenizer"

VOCAB_SIZE = 2048
BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"


def iter_texts(path: Path) -> Iterator[str]:
    """Yield the dialogue and the summary of every row of a JSON Lines file."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield row["dialogue"]
            yield row["summary"]


def train(texts: Iterator[str], vocab_size: int = VOCAB_SIZE) -> Tokenizer:
    """Train a byte-level BPE tokenizer that adds the bos token at the start."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A $B:1",
        special_tokens=[(BOS, tokenizer.token_to_id(BOS))],
    )
    return tokenizer


def main() -> None:
    """Train the tokenizer and save it next to this file."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=train(iter_texts(DATA_FILE)),
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.save_pretrained(OUT_DIR)
    print(f"saved {len(tokenizer)} tokens to {OUT_DIR.name}/")


if __name__ == "__main__":
    main()
