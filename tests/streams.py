"""Small streams for the tests, with a tokenizer of whole words: the tokens of a row identify the row."""

import gc
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch.utils.data
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from samsum_stream import Pack, SFTStream
from samsum_stream.lanes.order import Order
from samsum_stream.lanes.position import Cursor
from samsum_stream.pipeline.encoder import RowEncoder
from samsum_stream.pipeline.read_ahead import ReadAhead
from samsum_stream.pipeline.readers import make_reader
from samsum_stream.sources import Source
from samsum_stream.sources.faults import RAISE, Faults
from samsum_stream.values.examples import EXAMPLE_RECORD, IGNORE_INDEX, Item
from samsum_stream.values.rows import Rows

PAD, BOS, EOS, UNK, IM_END = range(5)
FIRST_WORD = 10
NUM_WORDS = 700
MAX_LENGTH = 32

SPECIAL_TOKENS = {"<pad>": PAD, "<s>": BOS, "</s>": EOS, "<unk>": UNK, "<|im_end|>": IM_END}


def word_tokenizer() -> PreTrainedTokenizerFast:
    """The word `123` is the token 123, and every text starts with a bos."""
    words = {str(number): number for number in range(FIRST_WORD, NUM_WORDS)}
    backend = Tokenizer(models.WordLevel({**SPECIAL_TOKENS, **words}, unk_token="<unk>"))
    # Punctuation is split off, so that the text of a special token is one token only if special tokens are parsed.
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL_TOKENS])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def word(index: int) -> int:
    """The word that row `index` repeats."""
    return FIRST_WORD + index


def num_words(index: int) -> int:
    """How many times row `index` has its word in the response: 1 to 11."""
    return index * 7 % 11 + 1


def make_rows(count: int) -> list[dict[str, Any]]:
    return [{"input": str(word(i)), "response": " ".join([str(word(i))] * num_words(i))} for i in range(count)]


def tokens_of_row(index: int) -> list[int]:
    """bos, one word of input, the response, eos."""
    return [BOS, *[word(index)] * (1 + num_words(index)), EOS]


def labels_of_row(index: int) -> list[int]:
    return [IGNORE_INDEX, IGNORE_INDEX, *[word(index)] * num_words(index), EOS]


def num_tokens(count: int) -> int:
    return sum(len(tokens_of_row(index)) for index in range(count))


def make_config(**changes: Any) -> dict[str, Any]:
    """A config for rows of whole words; `max_length`, `method` and `buffer_size` go into `packing_config`."""
    packing = {key: changes.pop(key) for key in ("max_length", "buffer_size") if key in changes}
    method = {"method": changes.pop("method")} if "method" in changes else {}
    defaults = {
        "tokenizer_config": {"backend": "hf"},
        "packing_config": {**method, "kwargs": {"max_length": MAX_LENGTH, **packing}},
        "batch_size": 2,
    }
    return {**defaults, **changes}


def with_encoder(stream: SFTStream, encoder: RowEncoder) -> SFTStream:
    """The stream with another encoder for all its rows."""
    stream.pipeline = replace(stream.pipeline, encoder=encoder)
    stream.tasks = {leaf: task._replace(encoder=encoder) for leaf, task in stream.tasks.items()}
    return stream


def make_stream(rows: object = None, *, trust: Iterable[str] = (), **changes: Any) -> SFTStream:
    """A stream over `rows`, by default sixty; `changes` are the arguments of `make_config`."""
    if rows is None and "source_config" not in changes:
        rows = make_rows(60)
    return SFTStream.from_config(make_config(**changes), rows=rows, tokenizer=word_tokenizer(), trust=list(trust))


def rows_of_one_lane(source: Source, faults: Faults = RAISE) -> Iterator[Rows]:
    """All rows in the order of the source, from the reader of a stream with one lane, which checks shard sizes."""
    start = Cursor(0, 0, 0)
    order = Order(num_lanes=1, seed=0, shuffle=False)
    reader = make_reader(source, order=order, starts={0: start}, read_ahead=ReadAhead(), faults=faults)
    return (rows for _, rows in reader.epoch(0, start))


def rows_of_packs(packs: Iterable[Pack]) -> list[int]:
    """The row numbers of all examples, in order."""
    return [example.position.row for pack in packs for example in pack.examples]


def rows_of_batches(batches: Iterable[dict[str, Any]]) -> list[int]:
    """The row of each document, from the word after the bos."""
    return [row for batch in batches for row in rows_of_batch(batch)]


def rows_of_batch(batch: dict[str, Any]) -> list[int]:
    ids = batch["input_ids"]
    return (ids[:, 1:][ids[:, :-1] == BOS] - FIRST_WORD).tolist()


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def make_items(lengths: Iterable[int]) -> list[Item]:
    """Items of these lengths: item `i` has the tokens `1000 * i`, `1000 * i + 1`, ..., and is from row `i`."""
    items = []
    for index, length in enumerate(lengths):
        record = np.array([(length, 1, 0, 0, index, 0)], EXAMPLE_RECORD)
        ids = np.arange(1000 * index, 1000 * index + length, dtype=np.int32)
        spans = np.array([[min(1, length - 1), length]], np.int32)
        items.append((length, 1, ids.tobytes(), spans.tobytes(), record.tobytes(), index))
    return items


def record_of(item: Item) -> np.void:
    """The record of an item, as an `EXAMPLE_RECORD`."""
    record: np.void = np.frombuffer(item[4], EXAMPLE_RECORD)[0]
    return record


def row_of(item: Item) -> int:
    """The row of an item of `make_items`."""
    return int(record_of(item)["row"])


@contextmanager
def workers_that_end_at_once() -> Iterator[None]:
    """Reduce the time that torch waits for each worker after an error, from five seconds to a tenth of a second."""
    with mock.patch.object(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.1):
        yield
        gc.collect()
