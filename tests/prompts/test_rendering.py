"""Rows to the texts that are encoded: batched like one by one, without the bos and the eos that are added as ids."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samsum_stream.prompts import FORMATS, Message, Prompt, PromptFormat
from samsum_stream.prompts.rendering import PromptRenderer, message_of
from samsum_stream.prompts.segments import prompt_of, text_of
from samsum_stream.values.renderings import Renderings, Segment, runs_of
from samsum_stream.values.rows import Instructions, Rows
from samsum_stream.values.runs import Run

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
columns = st.lists(st.tuples(texts, texts, st.lists(texts, max_size=2)), min_size=1, max_size=4)


def rows_of(columns: list[tuple[str, str, list[str]]], *, with_contexts: bool = True) -> Rows:
    """Rows that have the numbers 10, 11, ... in shard 3."""
    inputs, responses, contexts = map(list, zip(*columns, strict=True))
    shards, numbers = np.full(len(columns), 3, np.int32), np.arange(10, 10 + len(columns))
    return Rows(Instructions(inputs, responses, contexts if with_contexts else None), shards, numbers)


def renderer_of(
    style: str, prompt: str = "templates", *, bos: str = BOS, eos: str = EOS, **marks: Any
) -> PromptRenderer:
    return PromptRenderer(Prompt(**PROMPTS[prompt], format=FORMATS[style](**marks)), bos=bos, eos=eos)


def prompt_and_completion(segments: Sequence[Segment]) -> tuple[str, str]:
    """The text of the prompt and the text of the completion."""
    prompt = prompt_of(segments)
    return text_of(prompt), text_of(segments[len(prompt) :])


def shapes_of(renderings: Renderings) -> list[tuple[Run, ...]]:
    """The shape of each example."""
    return [renderings.shapes[index] for index in renderings.shape_of.tolist()]


def require_equal(renderings: Renderings, expected: Renderings) -> None:
    """Both have the same texts, shapes, rows and segments."""
    assert renderings.texts == expected.texts
    assert shapes_of(renderings) == shapes_of(expected)
    for name in ("rows", "parts", "shards", "numbers", "num_rendered", "continues"):
        np.testing.assert_array_equal(getattr(renderings, name), getattr(expected, name), name)
    for name, values in expected.layout._asdict().items():
        np.testing.assert_array_equal(getattr(renderings.layout, name), values, name)
    for index in range(len(expected)):
        assert tuple(renderings.segments(index)) == tuple(expected.segments(index))


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("style", FORMATS)
@settings(max_examples=15)
@given(columns=columns, with_contexts=st.booleans(), spells_marks=st.booleans())
def test_rows_are_rendered_to_the_runs_of_their_segments(
    style: str, prompt: str, columns: list[tuple[str, str, list[str]]], with_contexts: bool, spells_marks: bool
) -> None:
    marks = {"BOS": BOS, "EOS": EOS} if spells_marks else {}
    renderer, rows = renderer_of(style, prompt, **marks), rows_of(columns, with_contexts=with_contexts)
    segments = [renderer.segments(message_of(rows, index)) for index in range(len(rows))]
    indices = np.arange(len(rows))
    expected = Renderings.of_segments(segments, rows=indices, shards=rows.shards, numbers=rows.rows)
    require_equal(renderer.render(rows), expected)


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("style", FORMATS)
@settings(max_examples=15)
@given(columns=columns)
def test_each_example_has_an_untrained_and_then_a_trained_run(
    style: str, prompt: str, columns: list[tuple[str, str, list[str]]]
) -> None:
    renderer, rows = (
        renderer_of(style, prompt),
        rows_of([(question, answer + "x", more) for question, answer, more in columns]),
    )
    renderings = renderer.render(rows)
    assert renderings.continues.tolist() == [False, True] * len(rows)
    assert renderings.layout.borders[:, 0].tolist() == [*range(1, 2 * len(rows), 2)]
    for index in range(len(rows)):
        example_texts = prompt_and_completion(renderer.segments(message_of(rows, index)))
        assert tuple(renderings.texts[2 * index : 2 * index + 2]) == example_texts
        assert text_of(renderer.prompt_segments(rows, index)) == example_texts[0]
        assert renderer.full_text(rows, index).removesuffix(EOS) == "".join(example_texts).removesuffix(EOS)


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("style", FORMATS)
@settings(max_examples=15)
@given(columns=columns)
def test_the_bos_and_the_eos_of_the_format_are_removed_at_both_ends(
    style: str, prompt: str, columns: list[tuple[str, str, list[str]]]
) -> None:
    renderer = renderer_of(style, prompt, BOS=BOS, EOS=EOS)
    rows = rows_of([(question, answer + "x", contexts) for question, answer, contexts in columns])
    for index in range(len(rows)):
        whole_prompt, whole_completion = prompt_and_completion(renderer.prompt.segments(message_of(rows, index)))
        prompt_text, completion = prompt_and_completion(renderer.segments(message_of(rows, index)))
        assert BOS + prompt_text == whole_prompt
        assert completion + EOS == whole_completion


def test_the_bos_stays_if_the_tokenizer_adds_none() -> None:
    rows = rows_of([("Hi", "Yes", [])])
    assert renderer_of("VicunaFormat", "plain", bos="").render(rows).texts == ["<s>USER: Hi\nASSISTANT:", " Yes"]


def test_the_eos_of_another_model_stays() -> None:
    rows = rows_of([("Hi", "Yes", [])])
    texts = renderer_of("VicunaFormat", "plain", eos="<eos>").render(rows).texts
    assert texts == ["USER: Hi\nASSISTANT:", " Yes</s>"]


def test_an_eos_at_the_end_of_a_suffix_is_removed() -> None:
    rows = rows_of([("Hi", "Yes", [])])
    texts = renderer_of("ChatMLFormat", "plain", eos="<|im_end|>").render(rows).texts
    assert texts == ["<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "Yes"]


def test_a_bos_and_an_eos_that_a_row_spells_stay() -> None:
    renderer = PromptRenderer(Prompt(format=PromptFormat()), bos=BOS, eos=EOS)
    assert renderer.render(rows_of([("<s>Hi", "Yes</s>", [])])).texts == ["<s>Hi\n", "Yes</s>"]


def test_a_completion_continues_its_prompt_also_if_the_prompt_is_empty() -> None:
    plain = PromptFormat(role_separator="")
    renderings = PromptRenderer(Prompt(format=plain), bos="", eos="").render(rows_of([("", "Yes", [])]))
    assert renderings.texts == ["", "Yes"]
    assert renderings.continues.tolist() == [False, True]


def test_rows_that_are_rendered_alike_share_one_shape() -> None:
    rows = rows_of([("a", "b", []), ("c", "d", ["e"]), ("f", "g", [])])
    renderings = renderer_of("ChatMLFormat").render(rows)
    assert len(renderings.shapes) == 2
    assert renderings.shape_of.tolist() == [0, 1, 0]


# ------------------------------------------------------------------------------------ rows with any number of examples


def segment(text: str, *, is_trained: bool) -> Segment:
    return Segment(text, from_row=not text.isupper(), trained=is_trained)


EXAMPLES = st.lists(
    st.lists(st.builds(segment, st.sampled_from(["", "A", "b", "C", "d"]), is_trained=st.booleans()), max_size=6),
    max_size=5,
)


@given(examples=EXAMPLES, data=st.data())
def test_renderings_of_segments_have_the_runs_of_each_example(
    examples: list[list[Segment]], data: st.DataObject
) -> None:
    num_rows = data.draw(st.integers(1, 5))
    rows = np.array(sorted(data.draw(st.integers(0, num_rows - 1)) for _ in examples), np.int64)
    shards, numbers = np.zeros(num_rows, np.int32), np.arange(num_rows)
    renderings = Renderings.of_segments(examples, rows=rows, shards=shards, numbers=numbers)
    runs = [runs_of(segments) for segments in examples]
    assert len(renderings) == len(examples)
    assert renderings.texts == [text for run_texts, _ in runs for text in run_texts]
    assert shapes_of(renderings) == [shape for _, shape in runs]
    trained = [run.trained for _, shape in runs for run in shape]
    assert np.diff(renderings.layout.offsets).tolist() == [len(shape) for _, shape in runs]
    assert renderings.layout.borders[:, 0].tolist() == np.flatnonzero(trained).tolist()
    assert renderings.continues.tolist() == [number > 0 for _, shape in runs for number in range(len(shape))]
    assert renderings.num_rendered.tolist() == [rows.tolist().count(row) for row in range(num_rows)]
    assert renderings.parts.tolist() == [rows[:index].tolist().count(row) for index, row in enumerate(rows.tolist())]


def test_a_run_is_the_neighbours_of_one_kind_with_the_texts_of_the_format() -> None:
    conversation = [
        segment("USER: ", is_trained=False),
        segment("hi", is_trained=False),
        segment("BOT:", is_trained=False),
        segment(" hello", is_trained=True),
        segment("</S>", is_trained=True),
        segment("USER: ", is_trained=False),
        segment("bye", is_trained=False),
    ]
    texts, shape = runs_of(conversation)
    assert texts == ["USER: hiBOT:", " hello</S>", "USER: bye"]
    assert shape == (
        Run(trained=False, continues=False, fixed=("USER: ", "BOT:")),
        Run(trained=True, continues=True, fixed=("</S>",)),
        Run(trained=False, continues=True, fixed=("USER: ",)),
    )


def test_a_message_without_a_response_is_the_prompt_of_the_row() -> None:
    renderer, rows = renderer_of("VicunaFormat"), rows_of([("Hi", "Yes", ["A", "B"])])
    unanswered = Message("Hi", None, ("A", "B"))
    assert tuple(renderer.prompt_segments(rows, 0)) == tuple(renderer.segments(unanswered))
