"""Rows to the two texts that are encoded: batched as one by one, without the bos and the eos that are added as ids."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samsum_stream.prompts import FORMATS, Prompt, PromptFormat
from samsum_stream.prompts.rendering import RowRenderer, message_of
from samsum_stream.prompts.segments import text_of
from samsum_stream.values.rows import Rows

BOS, EOS = "<s>", "</s>"
PROMPTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "templates": {
        "system_message": "Be brief.",
        "input_template": "Q: {text}",
        "context_template": "[{index}] {text}",
        "response_template": "Summary: {text}",
    },
    "repeated": {"input_template": "{text} or {text}", "response_template": "{text}\n{text}"},
    "examples": {"examples": [{"input": "1 + 1?", "response": "2", "contexts": ["Sums."]}]},
}

texts = st.lists(st.sampled_from([" ", "\n", "Hi", "é", BOS, EOS, "<|im_end|>", "{text}", "\u00a0", "\t"]), max_size=4)
texts = texts.map("".join)
columns = st.lists(st.tuples(texts, texts, st.lists(texts, max_size=3)), min_size=1, max_size=4)


def rows_of(columns: list[tuple[str, str, list[str]]], *, with_contexts: bool = True) -> Rows:
    inputs, responses, contexts = map(list, zip(*columns, strict=True))
    nowhere = np.zeros(len(columns), np.int64)
    return Rows(inputs, responses, contexts if with_contexts else None, nowhere.astype(np.int32), nowhere)


def renderer_of(style: str, prompt: str = "templates", *, bos: str = BOS, eos: str = EOS, **marks: Any) -> RowRenderer:
    return RowRenderer(Prompt(**PROMPTS[prompt], format=FORMATS[style](**marks)), bos=bos, eos=eos)


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("style", FORMATS)
@settings(max_examples=15)
@given(columns=columns, with_contexts=st.booleans(), spelled=st.booleans())
def test_the_texts_of_a_chunk_are_the_joined_segments_of_its_rows(
    style: str, prompt: str, columns: list[tuple[str, str, list[str]]], with_contexts: bool, spelled: bool
) -> None:
    marks = {"BOS": BOS, "EOS": EOS} if spelled else {}
    renderer, rows = renderer_of(style, prompt, **marks), rows_of(columns, with_contexts=with_contexts)
    sides = [renderer.split(message_of(rows, index)) for index in range(len(rows))]
    expected = [text_of(side.prompt) for side in sides], [text_of(side.response) for side in sides]
    assert renderer.texts(rows) == expected


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("style", FORMATS)
@settings(max_examples=15)
@given(columns=columns)
def test_what_is_left_out_stands_at_both_ends_of_the_prompts_own_text(
    style: str, prompt: str, columns: list[tuple[str, str, list[str]]]
) -> None:
    spelled = renderer_of(style, prompt, BOS=BOS, EOS=EOS)
    rows = rows_of([(asked, answered + "x", contexts) for asked, answered, contexts in columns])
    for index in range(len(rows)):
        whole = spelled.prompt.segments(message_of(rows, index))
        split = spelled.split(message_of(rows, index))
        assert BOS + text_of(split.prompt) == text_of(whole.prompt)
        assert text_of(split.response) + EOS == text_of(whole.response)


def test_the_bos_stays_where_the_tokenizer_adds_none() -> None:
    rows = rows_of([("Hi", "Yes", [])])
    assert renderer_of("VicunaFormat", "plain", bos="").texts(rows) == (["<s>USER: Hi\nASSISTANT:"], [" Yes"])


def test_the_end_of_another_model_stays() -> None:
    rows = rows_of([("Hi", "Yes", [])])
    assert renderer_of("VicunaFormat", "plain", eos="<eos>").texts(rows) == (["USER: Hi\nASSISTANT:"], [" Yes</s>"])


def test_a_suffix_that_ends_in_the_eos_is_left_out() -> None:
    rows = rows_of([("Hi", "Yes", [])])
    prompts, responses = renderer_of("ChatMLFormat", "plain", eos="<|im_end|>").texts(rows)
    assert prompts == ["<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"]
    assert responses == ["Yes"]


def test_a_bos_and_an_eos_that_a_row_spells_stay_the_rows() -> None:
    renderer = RowRenderer(Prompt(format=PromptFormat()), bos=BOS, eos=EOS)
    assert renderer.texts(rows_of([("<s>Hi", "Yes</s>", [])])) == (["<s>Hi\n"], ["Yes</s>"])
