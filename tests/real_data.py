"""Real rows and real tokenizers, which are not part of the project; tests that need them are skipped without them."""

import gzip
import json
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from samsum_stream import SFTStream
from samsum_stream.loader.stats import Stats
from samsum_stream.pipeline.encoder import RowEncoder
from samsum_stream.prompts import FORMATS, Prompt
from samsum_stream.prompts.rendering import PromptRenderer
from samsum_stream.tokenization import ExampleTokenizer, RunEncoder
from tests.streams import with_encoder

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data"
TOKENIZERS = ("gpt-neox-20b", "gpt2", "llama-2", "llama-3", "mistral-v3", "qwen3")
DATASETS = {
    "samsum": ("samsum/samsum.train.jsonl.gz", "dialogue", "", "summary"),
    "dolly": ("dolly/databricks-dolly-15k.jsonl.gz", "instruction", "context", "response"),
    "pubmedqa": ("pubmedqa/ori_pqal.jsonl.gz", "QUESTION", "CONTEXTS", "LONG_ANSWER"),
}
"""Path and the columns of input, contexts and response."""
PROMPTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "summary": {
        "system_message": "Please summarize the following conversation",
        "input_template": "Conversation: {text}",
        "response_template": "Summary: {text}",
    },
}
NO_LIMIT = 1_000_000
ROWS_A_DATASET = 16

needs_real_data = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no real rows and tokenizers at {FOLDER}")


@cache
def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(FOLDER / "tokenizers" / name)


def read(path: Path) -> Iterator[Any]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


@cache
def load_rows(name: str) -> list[dict[str, Any]]:
    """The rows of a data set of `DATASETS`, with the column names of the package."""
    path, input_column, contexts_column, response_column = DATASETS[name]
    return [
        {"input": row[input_column], "contexts": row.get(contexts_column) or [], "response": row[response_column]}
        for row in read(FOLDER / "datasets" / path)
    ]


@cache
def sample_rows() -> list[dict[str, Any]]:
    """Some rows of every data set, and one row with an empty input."""
    chooser = random.Random(0)
    rows = [row for name in DATASETS for row in chooser.sample(load_rows(name), ROWS_A_DATASET)]
    return [*rows, next(row for row in load_rows("samsum") if not row["input"])]


@cache
def sample_stream(tokenizer: str) -> SFTStream:
    """A stream over `sample_rows` that tests share, because its checks take seconds; `with_prompt` gives variants."""
    return make_stream(tokenizer, sample_rows())


def make_stream(tokenizer: str, rows: list[dict[str, Any]], *, backend: str = "auto") -> SFTStream:
    """One example per pack, in the order of the rows, without a limit on the length."""
    config = {
        "prompt_config": {"method": "Prompt", "kwargs": PROMPTS["summary"]},
        "prompt_format_config": {"method": "VicunaFormat"},
        "tokenizer_config": {"backend": backend},
        "packing_config": {"method": "none", "kwargs": {"max_length": NO_LIMIT}},
        "shuffle": False,
        "lanes": 1,
    }
    return SFTStream.from_config(config, rows=rows, tokenizer=load_tokenizer(tokenizer))


def with_prompt(stream: SFTStream, *, prompt: str, format: str, policy: str = "text") -> SFTStream:
    """The stream with another prompt, with the same tokenizer."""
    old = stream.pipeline.encoder.tokenizer
    tokenizer = stream.tokenizer
    renderer = PromptRenderer(
        Prompt(**PROMPTS[prompt], format=FORMATS[format]()),
        bos=tokenizer.bos_token if len(old.runs.border.added) else "",
        eos=tokenizer.eos_token,
    )
    runs = RunEncoder(
        backend=old.runs.backend,
        border=old.runs.border,
        special_tokens=old.runs.special_tokens,
        policy=policy,
        locate=old.runs.locate,
    )
    example_tokenizer = ExampleTokenizer(
        runs,
        reference=old.reference,
        eos_token_id=old.eos_token_id,
        max_length=old.max_length,
        truncation=old.truncation,
    )
    other = object.__new__(SFTStream)
    other.__dict__.update(stream.__dict__, stats=Stats(), _lengths=None)
    return with_encoder(other, RowEncoder(renderer, example_tokenizer))
