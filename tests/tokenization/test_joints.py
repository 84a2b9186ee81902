"""Joints: two texts that can be encoded separately have the ids of the joined text."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken

from samsum_stream.tokenization.backends import HFBackend
from samsum_stream.tokenization.border import find_border
from samsum_stream.tokenization.joints import Joints
from tests.contracts.conversations import small_tokenizer
from tests.real_data import FOLDER, load_tokenizer

TOKEN = "<|end|>"
REAL = ("gpt2", "llama-2", "llama-3", "mistral-v3", "qwen3")
WORDS = [
    "a",
    "The",
    " the",
    " ",
    "  ",
    "\n",
    "\n\n",
    "\r\n",
    "!",
    "?",
    "'s",
    "12",
    "é",
    "<",
    ".Net",
    "_x",
    "Yes",
    TOKEN,
]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=6).map("".join)


@cache
def joints(name: str, *, lstrip: bool = False, rstrip: bool = False) -> tuple[Joints, HFBackend]:
    tokenizer = load_tokenizer(name) if name else small_tokenizer()
    tokenizer.add_tokens([AddedToken(TOKEN, special=True, lstrip=lstrip, rstrip=rstrip)], special_tokens=True)
    backend = HFBackend(tokenizer.backend_tokenizer.to_str())
    return Joints(backend, find_border(backend)), backend


def assert_exact(of_texts: Joints, backend: HFBackend, left: str, right: str) -> None:
    continuation = of_texts.continuation(left, right)
    if continuation is not None:
        border = find_border(backend)
        [marked] = border.mark([continuation], np.ones(1, np.bool_))
        continued = ids(backend, marked)[len(border.sentinel) :]
        assert ids(backend, left) + continued == ids(backend, left + right)


@pytest.mark.parametrize("lstrip", [False, True])
@pytest.mark.parametrize("rstrip", [False, True])
@settings(max_examples=300)
@given(left=TEXTS, right=TEXTS)
def test_both_texts_have_the_ids_of_the_joined_text(left: str, right: str, *, lstrip: bool, rstrip: bool) -> None:
    assert_exact(*joints("", lstrip=lstrip, rstrip=rstrip), left, right)


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no real tokenizers at {FOLDER}")
@pytest.mark.parametrize("name", REAL)
@settings(max_examples=300, deadline=None)
@given(left=TEXTS, right=TEXTS)
def test_the_same_with_real_tokenizers(name: str, left: str, right: str) -> None:
    assert_exact(*joints(name), left, right)


@pytest.mark.parametrize(("left", "right"), [("!", "'s"), ("?", ".Net"), ("??", "_x"), ("<", ".Net ")])
@pytest.mark.parametrize("name", ["", *REAL])
def test_signs_that_form_other_words_together(name: str, left: str, right: str) -> None:
    if name and not FOLDER.is_dir():
        pytest.skip(f"no real tokenizers at {FOLDER}")
    assert_exact(*joints(name), left, right)


def test_a_header_and_an_answer_are_apart() -> None:
    of_texts, _ = joints("")
    assert of_texts.continuation(f"{TOKEN}assistant\n", "Yes") == "Yes"


def test_a_token_that_includes_the_white_space_before_it_is_not_apart() -> None:
    of_texts, _ = joints("", lstrip=True)
    assert of_texts.continuation("assistant\n", f"{TOKEN}Yes") is None


def ids(backend: HFBackend, text: str) -> list[int]:
    return backend.encode([text]).ids.tolist()
