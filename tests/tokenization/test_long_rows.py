"""A very long text is encoded in parts: the ids stay the same, and the cost is proportional to its length."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from samsum_stream import RowError, SFTStream
from samsum_stream.prompts import shortening
from samsum_stream.tokenization import HFBackend, cuts, example_tokenizer, find_border, runs
from samsum_stream.tokenization.cuts import Cuts
from samsum_stream.tokenization.joints import Joints
from samsum_stream.values.arrays import BoolArray, Int32Array, Ragged
from samsum_stream.values.rows import Rows
from tests.conftest import SMALL_TOKENIZER
from tests.real_data import TOKENIZERS, load_tokenizer, needs_real_data, sample_rows

WORDS = (
    "Ann",
    " Bo",
    " 7",
    "\n",
    "\n\n",
    "  ",
    " ",
    ".",
    "é",
    "日本",
    " <|eos|>",
    "</s>",
    "\t",
    "a1",
    " x",
    "'s",
    "-",
    " (",
)
METHODS = ("drop", "input", "contexts", "right", "error")


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat ordinary texts like long ones."""
    monkeypatch.setattr(cuts, "PART", 30)
    monkeypatch.setattr(runs, "PART", 30)
    monkeypatch.setattr(cuts, "MAX_CHARACTERS", 100)
    monkeypatch.setattr(example_tokenizer, "MARGIN", 20)
    monkeypatch.setattr(shortening, "WINDOW", 60)
    monkeypatch.setattr(shortening, "MARGIN", 20)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)


def in_parts(tokenizer: PreTrainedTokenizerBase, text: str, *, continues: bool) -> tuple[list[int], int]:
    """The ids of a text that is encoded in parts, and the number of its parts."""
    backend = HFBackend(tokenizer.backend_tokenizer.to_str())
    border = find_border(backend)
    encoded_parts: list[str] = []

    def encode(texts: list[str], flags: BoolArray) -> Ragged:
        encoded_parts.extend(texts)
        return border.unmark(backend.encode(border.mark(texts, flags)), flags)

    [ids] = Cuts(Joints(backend, border)).encode([text], np.array([continues]), encode).split()
    assert "".join(encoded_parts) == text
    return [*ids.tolist()], len(encoded_parts)


def whole(tokenizer: PreTrainedTokenizerBase, text: str, *, continues: bool) -> list[int]:
    backend = HFBackend(tokenizer.backend_tokenizer.to_str())
    border = find_border(backend)
    flags = np.array([continues])
    [ids] = border.unmark(backend.encode(border.mark([text], flags)), flags).split()
    return [*ids.tolist()]


@needs_real_data
@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("continues", [False, True])
def test_parts_have_the_ids_of_the_whole_text(name: str, continues: bool, small_parts: None) -> None:
    text = "\n".join(text for row in sample_rows() for text in (row["input"], *row["contexts"], row["response"]))
    ids, number = in_parts(load_tokenizer(name), text, continues=continues)
    assert ids == whole(load_tokenizer(name), text, continues=continues)
    assert number > len(text) / 80


CHINESE = (
    "我们今天去公园散步",
    "天气很好",
    "，",
    "。",
    "！",
    "她说：“好的”",
    "3月5日",
    "Python语言",
    "、",
    "？",
    "日本語のテキスト",
)


@needs_real_data
@pytest.mark.parametrize("name", TOKENIZERS)
def test_texts_without_spaces_are_cut_before_punctuation(name: str, small_parts: None) -> None:
    text = "".join(random.Random(0).choices(CHINESE, k=4000))
    ids, number = in_parts(load_tokenizer(name), text, continues=False)
    assert ids == whole(load_tokenizer(name), text, continues=False)
    assert number > len(text) / 100


def test_a_cut_is_looked_for_again_after_a_stretch_without_one(small_parts: None) -> None:
    tokenizer = AutoTokenizer.from_pretrained(SMALL_TOKENIZER)
    text = "Ann said hello to Bo. " * 10 + "a" * 400 + " and Bo said hello to Ann. " * 10
    ids, number = in_parts(tokenizer, text, continues=False)
    assert ids == whole(tokenizer, text, continues=False)
    assert number > 10


@pytest.mark.parametrize("text", ["a" * 500, " " * 500, "日本語" * 100, ""])
def test_a_text_without_a_place_for_a_cut_stays_whole(text: str, small_parts: None) -> None:
    tokenizer = AutoTokenizer.from_pretrained(SMALL_TOKENIZER)
    assert in_parts(tokenizer, text, continues=False) == (whole(tokenizer, text, continues=False), 1)


def examples_of(rows: Sequence[dict[str, Any]], *, method: str, tokenizer: Any, policy: str = "text") -> Any:
    """The examples of rows, and what was dropped or cut; or the error."""
    config = {
        "prompt_config": {"kwargs": {"response_template": "Summary: {text}", "system_message": "Be brief."}},
        "tokenizer_config": {"backend": "hf", "special_tokens_in_rows": policy},
        "packing_config": {"method": "none", "kwargs": {"max_length": 48}},
        "truncation_config": {"method": method},
        "shuffle": False,
    }
    stream = SFTStream.from_config(config, rows=list(rows), tokenizer=tokenizer)
    try:
        chunk = stream.pipeline.encoder.encode(stream.pipeline.source.take(np.arange(len(rows))), epoch=0)
    except RowError as error:
        return str(error)
    return chunk.chunk.ids, chunk.chunk.spans.tolist(), chunk.indices.tolist(), chunk.outcomes


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "input": st.lists(st.sampled_from(WORDS), max_size=150).map("".join),
            "contexts": st.lists(st.lists(st.sampled_from(WORDS), max_size=80).map("".join), max_size=4),
            "response": st.lists(st.sampled_from(WORDS), max_size=60).map("".join).map("x".__add__),
        }
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=30)
@given(rows=ROWS)
def test_long_rows_are_truncated_like_ordinary_rows(method: str, rows: list[dict[str, Any]]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(SMALL_TOKENIZER)
    expected = examples_of(rows, method=method, tokenizer=tokenizer)
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink(monkeypatch)
        assert examples_of(rows, method=method, tokenizer=tokenizer) == expected


@needs_real_data
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["gpt2", "llama-2", "qwen3"])
def test_real_rows_are_truncated_the_same_in_parts(name: str, method: str, small_parts: None) -> None:
    in_parts = examples_of(sample_rows()[::3], method=method, tokenizer=load_tokenizer(name))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(cuts, "PART", 1 << 16)
        monkeypatch.setattr(runs, "PART", 1 << 16)
        monkeypatch.setattr(shortening, "WINDOW", 1 << 16)
        assert examples_of(sample_rows()[::3], method=method, tokenizer=load_tokenizer(name)) == in_parts


class Counter:
    """Counts the characters that a backend encodes."""

    def __init__(self, backend: HFBackend) -> None:
        self.backend, self.name, self.lengths = backend, backend.name, list[int]()

    def encode(self, texts: Sequence[str]) -> Ragged:
        self.lengths += map(len, texts)
        return self.backend.encode(texts)

    def token_ends(self, text: str) -> list[int]:
        self.lengths.append(len(text))
        return self.backend.token_ends(text)

    def encode_ordinary(self, text: str) -> Int32Array:
        self.lengths.append(len(text))
        return self.backend.encode_ordinary(text)


@pytest.mark.parametrize("method", ["drop", "input", "contexts", "right"])
@pytest.mark.parametrize("long", ["input", "contexts", "response", "<|eos|>"])
def test_a_long_text_is_encoded_about_once(method: str, long: str) -> None:
    text = "Ann said hello to Bo. " * 60_000
    row = {"input": "Who?", "response": "Bo", "contexts": ["one", "two"]}
    row |= {"input": text + long} if long == "<|eos|>" else {long: [text, text] if long == "contexts" else text}
    config = {"truncation_config": {"method": method}, "tokenizer_config": {"backend": "hf"}, "shuffle": False}
    stream = SFTStream.from_config(config, rows=[row], tokenizer=AutoTokenizer.from_pretrained(SMALL_TOKENIZER))
    tokenizer = stream.pipeline.encoder.tokenizer
    counter: Any = Counter(tokenizer.reference)
    tokenizer.runs.backend = tokenizer.reference = tokenizer.runs.special_tokens.backend = counter
    rows = stream.pipeline.source.take(np.zeros(1, np.int64))
    assert isinstance(rows, Rows)
    encoded = stream.pipeline.encoder.encode(rows, epoch=0)
    num_characters = len(text) * (2 if long == "contexts" else 1)
    times = 2 if long == "<|eos|>" else 1  # a spelling is encoded as ordinary text after it was found
    assert num_characters <= sum(counter.lengths) < num_characters * times + 50 * cuts.PART
    assert max(counter.lengths) <= 2 * cuts.PART + 100
    can_be_cut = {
        "drop": (),
        "input": ("input", "<|eos|>"),
        "contexts": ("input", "contexts", "<|eos|>"),
        "right": ("response",),
    }
    assert len(encoded.chunk) == (long in can_be_cut[method])


def test_the_characters_that_are_encoded_at_a_time_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "PART", 10)
    backend = HFBackend(AutoTokenizer.from_pretrained(SMALL_TOKENIZER).backend_tokenizer.to_str())
    of_tokenizer = Cuts(Joints(backend, find_border(backend)))
    texts, flags = ["one", "", "two three", "four five " * 20, "six"], np.array([True, False, False, True, False])
    sizes: list[int] = []

    def encode(parts: list[str], starts_inside: BoolArray) -> Ragged:
        sizes.append(sum(map(len, parts)))
        assert len(starts_inside) == len(parts)
        return backend.encode(parts)

    monkeypatch.setattr(cuts, "MAX_CHARACTERS", 60)
    encoded = of_tokenizer.encode(texts, flags, encode)
    expected = backend.encode(texts)
    assert encoded.ids.tolist() == expected.ids.tolist()
    assert encoded.offsets.tolist() == expected.offsets.tolist()
    assert max(sizes) <= 60 < sum(sizes)
    assert of_tokenizer.encode([], flags[:0], encode).offsets.tolist() == [0]
