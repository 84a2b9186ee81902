"""Rows of every form become conversations in one normal form, and a bad row says what is wrong with it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samsum_stream.errors import ConfigError, RowError, SourceError
from samsum_stream.sources import SOURCES, ConversationRules, IndexedSource, Source, as_source
from samsum_stream.sources.faults import SKIP
from samsum_stream.stream.rows import rows_of_caller
from samsum_stream.values.conversations import Conversation
from samsum_stream.values.rows import Completions, Content, Conversations, Instructions
from tests.real_data import FOLDER, needs_real_data, read

Row = dict[str, Any]

HI = {"role": "user", "content": "Hi"}
HELLO = {"role": "assistant", "content": "Hello"}
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
SCHEMA = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}}
TOOL = {"type": "function", "function": SCHEMA}


def content_of(rows: Sequence[Any], rules: ConversationRules | None = None, **columns: str) -> Content:
    source = as_source(rows, name="rows", columns=columns, rules=rules or ConversationRules())
    assert isinstance(source, IndexedSource)
    return source.take(np.arange(len(rows))).content


def conversations(rows: Sequence[Any], rules: ConversationRules | None = None, **columns: str) -> list[Conversation]:
    content = content_of(rows, rules, **columns)
    assert isinstance(content, Conversations)
    return content.conversations


def conversation(row: Row, rules: ConversationRules | None = None, **columns: str) -> Conversation:
    return conversations([row], rules, **columns)[0]


def of_turns(*messages: Mapping[str, Any], **rules: Any) -> Conversation:
    return conversation({"messages": list(messages)}, ConversationRules(**rules))


def assistant(content: Any = "Hello", **fields: Any) -> Row:
    return {"role": "assistant", "content": content, **fields}


def error_of(row: Row, rules: ConversationRules | None = None, **columns: str) -> RowError:
    with pytest.raises(RowError) as caught:
        conversation(row, rules, **columns)
    return caught.value


FORMS: dict[str, tuple[Row, dict[str, str]]] = {
    "messages": ({"messages": [HI, HELLO]}, {}),
    "json": ({"messages": json.dumps([HI, HELLO])}, {}),
    "json twice": ({"messages": json.dumps(json.dumps([HI, HELLO]))}, {}),
    "sharegpt": ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}, {}),
    "named": ({"chat": [HI, HELLO], "messages": 3}, {"messages": "chat"}),
    "tuple": ({"messages": (HI, HELLO)}, {}),
    "array": ({"messages": np.array([HI, HELLO])}, {}),
    "nulls": ({"messages": [HI | {"name": None}, HELLO | {"tool_calls": None, "reasoning_content": None}]}, {}),
    "unknown keys": ({"messages": [HI | {"id": 3}, HELLO | {"score": 0.5}]}, {}),
    "numpy texts": ({"messages": [{"role": np.str_("user"), "content": np.str_("Hi")}, HELLO]}, {}),
    "parts": ({"messages": [HI | {"content": [{"type": "text", "text": "Hi"}]}, HELLO]}, {}),
    "several parts": (
        {"messages": [HI | {"content": [{"type": "text", "value": "H"}, {"type": "text", "content": "i"}]}, HELLO]},
        {},
    ),
    "completion": ({"prompt": [HI], "completion": [HELLO]}, {}),
    "completion in json": ({"prompt": json.dumps([HI]), "completion": json.dumps([HELLO])}, {}),
    "completion beside a list": ({"prompt": [HI], "completion": json.dumps([HELLO])}, {}),
    "history": ({"q": "Hi", "response": "Hello", "history": None}, {"input": "q", "history": "history"}),
}


@pytest.mark.parametrize("form", FORMS)
def test_rows_of_every_form_give_the_same_conversation(form: str) -> None:
    row, columns = FORMS[form]
    result = conversation(row, **columns)
    assert result == Conversation([HI, HELLO], trained=(1,))
    assert {type(text) for message in result.messages for text in message.values()} == {str}


def test_texts_stay_texts() -> None:
    assert content_of([{"prompt": "a", "completion": "b"}]) == Completions(["a"], ["b"])
    assert content_of([{"prompt": json.dumps([HI]), "completion": "b"}]) == Completions([json.dumps([HI])], ["b"])
    assert content_of([{"prompt": "[]", "completion": "[1]"}]) == Completions(["[]"], ["[1]"])
    assert content_of([{"input": "a", "response": "b", "system": "c"}]) == Instructions(["a"], ["b"])


def test_an_instruction_with_a_history_is_a_conversation() -> None:
    row = {"instruction": "Sum up", "input": "Text", "output": "Short", "history": [["q", "a"]], "system": "Be brief."}
    columns = {"input": "instruction", "contexts": "input", "response": "output", "history": "history"}
    result = conversation(row, **columns, system="system")
    last = [{"role": "user", "content": "Sum up\n\nText"}, assistant("Short")]
    assert result.messages == [SYSTEM, {"role": "user", "content": "q"}, assistant("a"), *last]
    assert result.trained == (2, 4)
    assert conversation({**row, "input": "", "history": "[]"}, **columns).messages[0]["content"] == "Sum up"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("human", "user"), ("developer", "system"), ("bot", "assistant"), ("model", "assistant"), ("ipython", "tool")],
)
def test_usual_roles_are_known(theirs: str, ours: str) -> None:
    before, after = {
        "user": ([], [HELLO]),
        "assistant": ([HI], []),
        "system": ([], [HI, HELLO]),
        "tool": ([HI, assistant(tool_calls=[CALL])], [HELLO]),
    }[ours]
    message = {"role": theirs, "content": "x"}
    assert of_turns(*before, message, *after).messages[len(before)] == {"role": ours, "content": "x"}


def test_names_and_roles_can_be_configured() -> None:
    rules = ConversationRules(fields={"role": "who", "content": "said", "train": "keep"}, roles={"Ann": "user"})
    turns = [{"who": "Ann", "said": "Hi"}, {"who": "assistant", "said": "Hello", "keep": 1, "weight": 0.5}]
    assert conversation({"messages": turns}, rules) == Conversation([HI, HELLO], trained=(1,))
    assert of_turns({"role": "developer", "content": "x"}, HI, HELLO, roles={"developer": "developer"}).messages[0] == {
        "role": "developer",
        "content": "x",
    }
    with pytest.raises(ConfigError, match=r"fields: 'rolle' is not a field .* did you mean \"role\""):
        ConversationRules(fields={"rolle": "x"})
    with pytest.raises(ConfigError, match=r"roles\.x: 'asistant' is not a role"):
        ConversationRules(roles={"x": "asistant"})


CALLS: dict[str, Row] = {
    "openai": assistant(None, tool_calls=[CALL]),
    "json arguments": assistant("", tool_calls=[{"function": {"name": "f", "arguments": '{"x": 1}'}}]),
    "json twice": assistant(None, tool_calls=[{"function": {"name": "f", "arguments": json.dumps('{"x": 1}')}}]),
    "flat": assistant(None, tool_calls=[{"name": "f", "arguments": {"x": 1}, "id": None}]),
    "json calls": {"role": "assistant", "tool_calls": json.dumps([CALL])},
    "legacy": {"role": "assistant", "function_call": {"name": "f", "arguments": '{"x": 1}'}},
    "sharegpt": {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
    "sharegpt list": {"from": "tool_call", "value": '[{"name": "f", "arguments": {"x": 1}}]'},
    "part": assistant([{"type": "tool_call", "value": '{"name": "f", "arguments": {"x": 1}}'}]),
    "numpy": assistant(None, tool_calls=np.array([{"name": "f", "arguments": {"x": np.int64(1)}}])),
}


@pytest.mark.parametrize("form", CALLS)
def test_tool_calls_have_one_form(form: str) -> None:
    result = of_turns(HI, CALLS[form], {"role": "tool", "content": "2"}, HELLO)
    assert result.messages[1] == {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert result.trained == (1, 3)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (None, {}),
        ("", {}),
        ("null", {}),
        ("{}", {}),
        ({"a": None, "b": [None]}, {"a": None, "b": [None]}),
        ({"a": {"b": None}}, {"a": {"b": None}}),
    ],
)
def test_nulls_in_arguments_are_kept(arguments: Any, expected: Any) -> None:
    call = {"id": "c1", "function": {"name": "f", "arguments": arguments}}
    result = of_turns(
        HI, assistant(None, tool_calls=[call]), {"role": "tool", "content": "2", "tool_call_id": "c1"}, HELLO
    )
    assert result.messages[1]["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": expected}}
    ]
    assert result.messages[2] == {"role": "tool", "content": "2", "tool_call_id": "c1"}


@pytest.mark.parametrize(
    ("content", "reasoning", "text"),
    [
        ("<think>\nA\n</think>\n\nB", "A", "B"),
        ("\n<think>A</think>B", "A", "B"),
        ("A\n</think>\nB", "A", "B"),
        ("<reasoning>A</reasoning>B", "A", "B"),
        ("<|begin_of_thought|>A<|end_of_thought|>\n<|begin_of_solution|>\nB\n<|end_of_solution|>", "A", "B"),
        ("<|begin_of_thought|>A<|end_of_thought|>B", "A", "B"),
        ("<think>\n\n</think>\n\nB", None, "B"),
        ("<think></think><think>A</think>B", "A", "B"),
        ("</think>B", None, "B"),
        ("B <think>A</think>", None, "B <think>A</think>"),
        ("<think>A", None, "<think>A"),
        ("<think>A</reasoning>", None, "<think>A</reasoning>"),
        ([{"type": "thinking", "thinking": "A"}, {"type": "text", "text": "B"}], "A", "B"),
        ([{"type": "reasoning", "value": "A"}, {"type": "text", "value": "B"}], "A", "B"),
    ],
)
def test_reasoning_in_a_content_is_found(content: Any, reasoning: str | None, text: str) -> None:
    expected = assistant(text) if reasoning is None else assistant(text, reasoning_content=reasoning)
    assert of_turns(HI, assistant(content)).messages[1] == expected


def test_an_empty_field_gives_way_to_another_name_of_the_field() -> None:
    message = {"role": "assistant", "content": "", "value": "B", "reasoning_content": "", "reasoning": "A"}
    assert conversation(row_of(HI, message)).messages[1] == assistant("B", reasoning_content="A")


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_in_a_field_leaves_the_content_unchanged(name: str) -> None:
    message = of_turns(HI, assistant("<think>x</think>B", **{name: " A\n"})).messages[1]
    assert message == assistant("<think>x</think>B", reasoning_content=" A\n")
    assert of_turns(HI, assistant("B", **{name: "  "})).messages[1] == assistant("B")
    user = {"role": "user", "content": "</think>"}
    assert of_turns(user, HELLO).messages[0] == user


TOOLS: dict[str, Any] = {
    "openai": [TOOL],
    "bare": [SCHEMA],
    "json": json.dumps([TOOL]),
    "json parameters": [{**SCHEMA, "parameters": json.dumps(SCHEMA["parameters"])}],
    "json tools": [json.dumps(SCHEMA)],
    "nulls": [
        {
            **SCHEMA,
            "parameters": {
                "type": "object",
                "properties": {**SCHEMA["parameters"]["properties"], "y": None},
                "required": None,
            },
            "strict": None,
        }
    ],
}


@pytest.mark.parametrize("column", ["tools", "tool_defs", "functions"])
@pytest.mark.parametrize("form", TOOLS)
def test_tools_have_one_form(form: str, column: str) -> None:
    assert conversation({"messages": [HI, HELLO], column: TOOLS[form]}).tools == [TOOL]


@pytest.mark.parametrize("tools", [None, [], "[]", "", "null"])
def test_no_tools_are_null(tools: Any) -> None:
    assert conversation({"messages": [HI, HELLO], "tools": tools}).tools is None


def test_documents_and_variables_are_read() -> None:
    extras = {"documents": ["a", {"title": "t", "text": "b", "id": None}], "template_kwargs": '{"thinking": true}'}
    result = conversation({"messages": [HI, HELLO], **extras})
    assert result.documents == [{"text": "a"}, {"title": "t", "text": "b"}]
    assert result.kwargs == {"thinking": True}
    nulls = {"template_kwargs": {"enable_thinking": False, "date_string": None}, "documents": []}
    result = conversation({"messages": [HI, HELLO], **nulls})
    assert (result.kwargs, result.documents) == ({"enable_thinking": False}, None)


@pytest.mark.parametrize("turns", [[HI, HELLO], [SYSTEM, HI, HELLO]])
def test_a_system_column_is_the_first_message(turns: list[Row]) -> None:
    row = {"messages": turns, "system": "Be brief."}
    assert conversation(row) == Conversation([SYSTEM, HI, HELLO], trained=(2,))
    assert conversation(row, ConversationRules(system="drop")) == Conversation([HI, HELLO], trained=(1,))
    assert conversation({**row, "system": None}).messages == turns


def test_only_turns_of_the_completion_are_trained() -> None:
    row = {
        "prompt": [HI, HELLO, HI],
        "completion": [assistant(tool_calls=[CALL]), {"role": "tool", "content": "2"}, HELLO],
    }
    assert conversation(row).trained == (3, 5)
    assert conversation({**row, "completion": [HELLO, HI]}).num_removed == 1


def test_an_assistant_turn_at_the_end_of_a_prompt_is_a_prefill() -> None:
    row = {"prompt": [HI, assistant("He")], "completion": [assistant("llo")]}
    for rules in (ConversationRules(), ConversationRules(consecutive="merge")):
        assert conversation(row, rules) == Conversation([HI, HELLO], trained=(1,), prefill="He")
    longer = {**row, "completion": [assistant("llo"), HI, HELLO]}
    assert "must end with this turn" in str(error_of(longer))
    expected = Conversation([HI, HELLO, HI, HELLO], trained=(3,))
    assert conversation(longer, ConversationRules(turns="last")) == expected
    error = error_of({"prompt": [HI, assistant("<think>A")], "completion": [assistant("B</think>C")]})
    assert "must have no reasoning" in str(error)


@pytest.mark.parametrize(
    ("turns", "trained", "num_messages"),
    [("all", (1, 3, 4), 5), ("last", (4,), 5), ("last_round", (3, 4), 5)],
)
def test_turns_select_what_is_trained(turns: Any, trained: tuple[int, ...], num_messages: int) -> None:
    tool = {"role": "tool", "content": "2"}
    call = assistant(None, tool_calls=[CALL])
    messages = [HI, HELLO, HI, call, tool, HELLO, HI]
    expected = tuple(index + (index == 4) for index in trained)
    result = of_turns(*messages, turns=turns)
    assert (result.trained, len(result.messages), result.num_removed) == (expected, 6, 1)


@pytest.mark.parametrize("name", ["train", "training", "weight", "loss", "loss_weight"])
@pytest.mark.parametrize("no", [0, 0.0, False, np.float64(0), np.bool_(False)])
def test_flags_turn_training_off(name: str, no: Any) -> None:
    result = of_turns(HI, HELLO, HI | {name: 0.3}, assistant("B", **{name: no}))
    assert (result.trained, result.num_removed, result.messages) == ((1,), 2, [HI, HELLO])
    assert of_turns(HI, assistant("A", **{name: no}), HI, HELLO | {name: 1.0}).trained == (3,)


def test_consecutive_turns_can_be_merged() -> None:
    thought = {"role": "assistant", "content": "", "reasoning_content": "A"}
    called = assistant("B", tool_calls=[CALL])
    result = of_turns(HI, thought, called, assistant("C"), consecutive="merge")
    assert result.messages[1] == assistant("B\n\nC", reasoning_content="A", tool_calls=[CALL])
    assert result.trained == (1,)


@pytest.mark.parametrize("turns", [[HELLO, HI, HELLO], [HI, HI, HELLO], [HELLO], [SYSTEM, HELLO]])
def test_other_orders_are_left_to_the_template(turns: list[Row]) -> None:
    assert of_turns(*turns).messages == turns


def test_a_call_that_is_written_into_the_text_allows_a_result() -> None:
    call = assistant('<tool_call>{"name": "f"}</tool_call>')
    assert of_turns(HI, call, {"role": "tool", "content": "2"}, HELLO).trained == (1, 3)


def row_of(*messages: Any, **columns: Any) -> Row:
    return {"messages": list(messages), **columns}


BAD: dict[str, tuple[Row, str, str, str]] = {
    "late system": (row_of(HI, SYSTEM, HELLO), "bad_conversation", "message 1", "system message must be the first"),
    "two systems": (row_of(SYSTEM, SYSTEM, HI, HELLO), "bad_conversation", "message 1", "system: drop"),
    "role": (row_of(HI | {"role": "usr"}, HELLO), "bad_conversation", "message 0", "did you mean 'user'"),
    "role map": (row_of({"from": "x", "value": "y"}), "bad_conversation", "message 0", "{roles: {x: user}}"),
    "answer typo": (row_of(HI, HELLO | {"role": "asistant"}), "bad_conversation", "message 1", "{asistant: assistant}"),
    "no role": (row_of({"content": "a"}), "missing_field", "message 0", "a role in 'role' or 'from'"),
    "wrong role": (row_of({"role": 3, "content": "a"}), "wrong_type", "message 0", "int: 3"),
    "no content": (row_of(HI, {"role": "assistant", "text": "a"}), "missing_field", "message 1", "role, text"),
    "content": (row_of(HI | {"content": 3}, HELLO), "wrong_type", "message 0", "int: 3"),
    "message": (row_of("Hi", HELLO), "wrong_type", "message 0", "str: 'Hi'"),
    "image": (row_of(HI | {"content": [{"type": "image"}]}, HELLO), "wrong_type", "message 0", "'image'"),
    "no type": (row_of(HI | {"content": [{"text": "a"}]}, HELLO), "wrong_type", "message 0", '"type": "text"'),
    "empty part": (row_of(HI | {"content": [{"type": "text"}]}, HELLO), "missing_field", "message 0", "'value'"),
    "early result": (row_of({"role": "tool", "content": "2"}, HELLO), "bad_conversation", "message 0", "nothing"),
    "stray result": (row_of(HI, {"role": "tool", "content": "2"}, HELLO), "bad_conversation", "message 1", "of user"),
    "uncalled": (
        row_of(HI, HELLO, {"role": "tool", "content": "2"}, HELLO),
        "bad_conversation",
        "message 2",
        "add the",
    ),
    "no answer": (row_of(HI), "bad_conversation", "messages'", "must have an assistant turn"),
    "no messages": (row_of(), "bad_conversation", "messages'", "must have an assistant turn"),
    "null": ({"messages": None}, "bad_conversation", "messages'", "must have an assistant turn"),
    "consecutive": (row_of(HI, HELLO, HELLO), "bad_conversation", "message 2", "consecutive: merge"),
    "empty": (row_of(HI, assistant("")), "empty_response", "message 1", "text, reasoning or a tool call"),
    "blank": (row_of(HI, assistant(" \n")), "empty_response", "message 1", "text, reasoning or a tool call"),
    "untrained": (row_of(HI, assistant("a", weight=0)), "no_trained_turn", "messages'", "must have a turn to train"),
    "weight": (row_of(HI, assistant("a", weight=0.5)), "wrong_type", "message 1", "'weight' must be 0, 1, true"),
    "two reasonings": (
        row_of(HI, assistant([{"type": "reasoning", "value": "a"}, {"type": "text", "text": "b"}], reasoning="c")),
        "bad_conversation",
        "message 1",
        "must have one reasoning",
    ),
    "null role": (row_of({"role": None, "content": "x"}, HELLO), "missing_field", "message 0", "got none or null"),
    "flag": (row_of(HI, assistant("a", train="no")), "wrong_type", "message 1", "'no'"),
    "surrogate": (row_of(HI, assistant("a\ud800")), "not_unicode", "message 1", "lone surrogates"),
    "surrogate in a call": (
        row_of(HI, assistant(None, tool_calls=[{"name": "f", "arguments": '{"a": "\\ud800"}'}])),
        "not_unicode",
        "message 1",
        "lone surrogates",
    ),
    "surrogate in a tool": (row_of(HI, HELLO, tools=[{**SCHEMA, "description": "\ud800"}]), "not_unicode", "tools", ""),
    "json": ({"messages": "[{"}, "not_json", "messages'", "must be valid JSON"),
    "json three times": ({"messages": json.dumps(json.dumps(json.dumps([HI])))}, "wrong_type", "messages'", "a list"),
    "list": ({"messages": {"role": "user"}}, "wrong_type", "messages'", "must be a list"),
    "call of a user": (row_of(HI | {"tool_calls": [CALL]}, HELLO), "bad_conversation", "message 0", "'user'"),
    "reasoning of a user": (row_of(HI | {"thinking": "a"}, HELLO), "bad_conversation", "message 0", "reasoning"),
    "call": (row_of(HI, assistant(None, tool_calls=["f"])), "not_json", "message 1", "a tool call"),
    "call without name": (row_of(HI, assistant(None, tool_calls=[{}])), "wrong_type", "message 1", "with a name"),
    "arguments": (
        row_of(HI, assistant(None, tool_calls=[{"name": "f", "arguments": "[1]"}])),
        "wrong_type",
        "message 1",
        "must be a JSON object",
    ),
    "broken arguments": (
        row_of(HI, assistant(None, tool_calls=[{"name": "f", "arguments": "{"}])),
        "not_json",
        "message 1",
        "arguments of the call of 'f'",
    ),
    "sharegpt call": (row_of(HI, {"from": "function_call", "value": "f()"}), "not_json", "message 1", "a tool call"),
    "tool": (row_of(HI, HELLO, tools=[3]), "wrong_type", "'tools'", "a tool must be a mapping"),
    "tools": (row_of(HI, HELLO, tools=3), "wrong_type", "'tools'", "must be a list"),
    "document": (row_of(HI, HELLO, documents=[3]), "wrong_type", "'documents'", "a text or a mapping"),
    "kwargs": (
        row_of(HI, HELLO, template_kwargs={"tools": []}),
        "bad_conversation",
        "'template_kwargs'",
        "a column of its own",
    ),
    "other kwargs": (row_of(HI, HELLO, template_kwargs={"a": 1}), "bad_conversation", "'template_kwargs'", "leave it"),
    "kwargs list": (row_of(HI, HELLO, template_kwargs=[1]), "wrong_type", "'template_kwargs'", "must be a mapping"),
    "other system": (row_of(SYSTEM, HI, HELLO, system="x"), "bad_conversation", "'system'", "must be the same"),
    "system": (row_of(HI, HELLO, system=3), "wrong_type", "'system'", "must be a text"),
    "nested": (row_of(HI, HELLO, tools=[{"name": "f", "parameters": None}, object()]), "wrong_type", "'tools'", "JSON"),
    "mixed": (
        {"prompt": [HI], "completion": "a"},
        "wrong_type",
        "'completion'",
        "both texts or both lists of messages",
    ),
    "system in the middle": (
        {"prompt": [HI], "completion": [SYSTEM, HELLO]},
        "bad_conversation",
        "'prompt' and field 'completion', message 1",
        "must be the first",
    ),
    "nothing in the completion": (
        {"prompt": [HI, HELLO], "completion": [HI]},
        "no_trained_turn",
        "'completion'",
        "completion has none",
    ),
    "completion role": (
        {"prompt": [HI], "completion": [{"role": "x"}]},
        "bad_conversation",
        "'completion', message 0",
        "",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_says_what_is_wrong(case: str) -> None:
    row, reason, place, part = BAD[case]
    error = error_of(row)
    assert str(error).startswith("rows:0 (epoch 0): field ")
    assert error.reason == reason
    assert place in str(error)
    assert part in str(error)
    assert "; " in str(error)


def test_history_that_is_no_pair_is_bad() -> None:
    columns = {"input": "input", "history": "history"}
    for history in ([["q"]], [["q", 3]], 3, "["):
        error = error_of({"input": "a", "response": "b", "history": history}, **columns)
        assert (error.field, "history" in str(error)) == ("history", True)
    flat = error_of({"input": "a", "response": "b", "history": ["q", "r"]}, **columns)
    assert "got str: 'q'; write the history as [[question, answer], ...]" in str(flat)
    error = error_of({"input": "a", "response": "b", "history": [["q", ""]]}, **columns)
    assert "message 1: an assistant turn must have a text" in str(error)


@pytest.mark.parametrize(
    ("row", "columns", "part"),
    [
        ({"chosen": [HI], "rejected": [HI]}, {}, "columns: {messages: chosen}"),
        ({"prompt": "a", "completion": "b", "label": True}, {}, "leave out the rows with a bad label"),
        ({"messages": [HI], "conversations": [HI]}, {}, "`columns: {messages: messages}` or `columns: {messages: conv"),
        ({"messages": [HI], "input": "a", "response": "b"}, {}, "`columns: {input: input, response: response}`"),
        ({"prompt": "a", "completion": "b", "input": "a", "response": "b"}, {}, "several forms"),
    ],
)
@pytest.mark.parametrize("is_table", [False, True])
def test_rows_of_several_forms_need_columns(row: Row, columns: dict[str, str], part: str, is_table: bool) -> None:
    with pytest.raises(SourceError) as caught:
        content_of(datasets.Dataset.from_list([row]) if is_table else [row], **columns)
    assert part in str(caught.value)
    assert not isinstance(caught.value, RowError)


def test_columns_name_the_form() -> None:
    row = {"messages": [HI, HELLO], "input": "a", "response": "b", "chosen": "c", "rejected": "d"}
    assert isinstance(content_of([row], messages="messages"), Conversations)
    assert isinstance(content_of([row], input="input"), Instructions)
    assert content_of([row], prompt="input", completion="chosen") == Completions(["a"], ["c"])
    with pytest.raises(ConfigError, match="'messages' and 'input' belong to different forms|'input' and 'messages'"):
        content_of([row], messages="messages", input="input")
    with pytest.raises(ConfigError, match="'mesages' is not a field of a row"):
        content_of([row], mesages="messages")
    with pytest.raises(RowError, match="field 'tools' has no column 'tols' to come from"):
        content_of([row], messages="messages", tools="tols")


def test_the_first_row_with_a_form_decides_for_all() -> None:
    rows = [3, {}, row_of(HI, HELLO), {"input": "a", "response": "b"}, row_of(HI, HELLO)]
    source = as_source(rows, name="rows", columns={})
    assert isinstance(source, IndexedSource)
    taken = SKIP.take(source.take, np.arange(len(rows)))
    assert [bad.reason for _, bad in taken.skipped] == ["not_a_row", "missing_field", "missing_field"]
    assert len(taken) == 2


def test_the_first_prompt_decides_whether_all_are_messages() -> None:
    texts, chat = {"prompt": "a", "completion": "b"}, {"prompt": [HI], "completion": [HELLO]}
    mixed = {"prompt": "a", "completion": [HELLO]}
    for rows, kind in (([mixed, texts, chat], Completions), ([mixed, chat, texts], Conversations)):
        source = as_source(rows, name="rows", columns={})
        assert isinstance(source, IndexedSource)
        taken = SKIP.take(source.take, np.arange(len(rows)))
        assert isinstance(taken.content, kind)
        assert [index for index, _ in taken.skipped] == [0, 2]


MIXED_ROWS = [
    row_of(HI, assistant(None, tool_calls=[CALL]), {"role": "tool", "content": "2"}, HELLO, tools=[TOOL], system=None),
    row_of(HI, HELLO, tools=None, system="Be brief."),
    row_of(HI, assistant("B", reasoning_content="A"), HI, tools=[], system=None),
]


def sources(folder: Path) -> dict[str, Source]:
    lines = folder / "rows.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in MIXED_ROWS), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(MIXED_ROWS), folder / "rows.parquet")
    rows: dict[str, object] = {
        "list": MIXED_ROWS,
        "iterable": lambda: iter(MIXED_ROWS),
        "jsonl": SOURCES["jsonl"](path=str(lines)),
        "parquet": SOURCES["parquet"](path=str(folder / "rows.parquet")),
        "dataset": datasets.Dataset.from_list(MIXED_ROWS),
        "stream": datasets.Dataset.from_list(MIXED_ROWS).to_iterable_dataset(),
    }
    return {name: as_source(value, name=name, columns={}) for name, value in rows.items()}


@pytest.mark.parametrize("kind", ["list", "iterable", "jsonl", "parquet", "dataset", "stream"])
def test_every_source_gives_the_same_conversations(tmp_path: Path, kind: str) -> None:
    block = sources(tmp_path)[kind].first_block(8)
    assert block.take(np.arange(block.num_rows)).content == Conversations(conversations(MIXED_ROWS))


TEXT = st.lists(st.sampled_from([*"ab \n<{é", "</think>", "<think>"]), max_size=6).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda value: st.lists(value) | st.dictionaries(TEXT, value),
    max_leaves=4,
)
CALLS_STRATEGY = st.lists(
    st.fixed_dictionaries({"name": st.just("f"), "arguments": st.dictionaries(TEXT, JSON, max_size=2)}), max_size=2
)
ANSWER = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.none() | TEXT},
    optional={"reasoning": TEXT, "tool_calls": CALLS_STRATEGY, "train": st.booleans()},
)
OTHER = st.fixed_dictionaries({"role": st.sampled_from(["user", "tool", "system"]), "content": TEXT})


@settings(max_examples=200, deadline=None)
@given(messages=st.lists(ANSWER | OTHER, min_size=1, max_size=6), merge=st.booleans())
def test_a_normal_form_stays_the_same(messages: list[Row], merge: bool) -> None:
    rules = ConversationRules(consecutive="merge" if merge else "error")
    try:
        first = conversation({"messages": messages, "tools": [SCHEMA]}, rules)
    except RowError:
        return
    again = conversation({"messages": first.messages, "tools": first.tools}, rules)
    assert (again.messages, again.tools) == (first.messages, first.tools)
    assert first.trained
    assert set(first.trained) <= set(again.trained or ())


def test_a_row_of_a_caller_may_lack_the_answer() -> None:
    def prompt(row: Row, **columns: str) -> Content:
        return rows_of_caller(row, columns=columns, training=False).content

    expected = Conversations([Conversation([HI], trained=())])
    assert prompt({"messages": [HI]}) == prompt({"messages": [HI, HELLO]}) == expected
    assert prompt({"prompt": [HI]}) == prompt({"prompt": [HI], "completion": [HELLO]}) == expected
    assert prompt({"chat": [HI]}, messages="chat") == prompt({"messages": [HI]}, messages="chat") == expected
    assert prompt({"prompt": [HI, HELLO]}) == Conversations([Conversation([HI, HELLO], trained=(), prefill="Hello")])
    assert prompt({"prompt": "a"}) == Completions(["a"], ["x"])
    assert prompt({"q": "a"}, input="q", response="r") == Instructions(["a"], ["x"])
    history = prompt({"input": "a", "h": [["q", "r"]]}, history="h")
    assert isinstance(history, Conversations)
    assert [message["role"] for message in history.conversations[0].messages] == ["user", "assistant", "user"]
    with pytest.raises(RowError, match="lone surrogates"):
        prompt({"messages": [HI | {"content": "\ud800"}]})
    whole = rows_of_caller({"messages": [HI, HELLO]}, columns={}, training=True)
    assert whole.content == Conversations([Conversation([HI, HELLO], trained=(1,))])
    with pytest.raises(RowError, match="assistant turn"):
        rows_of_caller({"messages": [HI]}, columns={}, training=True)


REAL: dict[str, tuple[str, dict[str, str], int]] = {
    "glaive": ("llamafactory_demo/glaive_toolcall_en_demo.jsonl.gz", {}, 300),
    "reasoning": ("llamafactory_demo/reason_tool_use_demo.jsonl.gz", {}, 30),
    "weights": ("llamafactory_demo/v1_sft_demo.jsonl.gz", {}, 500),
    "alpaca": (
        "llamafactory_demo/alpaca_en_demo.jsonl.gz",
        {"input": "instruction", "contexts": "input", "response": "output"},
        500,
    ),
    "tau": ("tau_bench/airline.jsonl.gz", {}, 100),
}


@needs_real_data
@pytest.mark.parametrize("name", REAL)
def test_real_rows_are_read(name: str) -> None:
    path, columns, least = REAL[name]
    if not (FOLDER / "datasets" / path).is_file():
        pytest.skip(f"no {path}")
    rows = list(read(FOLDER / "datasets" / path))
    source = as_source(rows, name=name, columns=columns)
    assert isinstance(source, IndexedSource)
    taken = SKIP.take(source.take, np.arange(len(rows)))
    assert len(taken) >= least, taken.skipped[:5]
    if name == "alpaca":
        assert isinstance(taken.content, Instructions)
        return
    assert isinstance(taken.content, Conversations)
    messages = [message for each in taken.content.conversations for message in each.messages]
    assert any("tool_calls" in message for message in messages) == (name != "weights")
    assert any("reasoning_content" in message for message in messages) == (name == "reasoning")
