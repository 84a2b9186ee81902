"""The remedies of messages about columns, and about rows that are no conversations."""

from collections.abc import Iterator
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
from datasets.distributed import split_dataset_by_node

from tests.prompts.chat.templates import CHATML
from tests.remedies.following import GOOD, Remedy, columns, follow, parametrized, row, setting

GOODS = [GOOD, {"input": "three", "response": "four"}]


def template(input_template: str, **kwargs: Any) -> dict[str, Any]:
    return {"prompt_config": {"kwargs": {"input_template": input_template, **kwargs}}}


def rows_with(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"rows": [*rows], **more}


QA = {"question": "one", "answer": "two"}
ALPACA = {"instruction": "one", "input": "a", "output": "two"}
BOTH = {"prompt": "one", "completion": "two", **GOOD}
MESSAGES = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
CHAT = {"template": CHATML}
CHATML_FORMAT = {"prompt_format_config": {"method": "ChatMLFormat"}}
TOPIC = {**GOOD, "topic": "sea"}
LABELS = pa.table({"input": ["one"], "response": ["two"], "label": [1]})
PREFERENCE = {"prompt": "one", "chosen": "two", "rejected": "three"}

COLUMNS = {
    "two columns": Remedy(
        "`columns: {input: question, response: answer}`",
        rows_with(QA, QA),
        columns(input="question", response="answer"),
    ),
    "alpaca": Remedy(
        "`columns: {input: instruction, contexts: input, response: output}`",
        rows_with({**ALPACA, "input": "a"}, {"instruction": "one", "output": "two"}),
        {"rows": [ALPACA, ALPACA], **columns(input="instruction", contexts="input", response="output")},
    ),
    "alpaca alone": Remedy(
        "`columns: {input: instruction, response: output}`",
        rows_with({"instruction": "one", "output": "two"}),
        columns(input="instruction", response="output"),
    ),
    "misspelt": Remedy(
        'did you mean "response"?', rows_with(*GOODS, **columns(response="respnse")), columns(response="response")
    ),
    "other rows": row(
        "if other rows have the column, fix the row, or skip bad rows by fault_config", {"input": "one"}, GOOD
    ),
    "template, name": Remedy(
        'did you mean "topic"?', rows_with(TOPIC, **template("{text} {topc}")), template("{text} {topic}")
    ),
    "template, braces": Remedy(
        "or {{topc}} if the braces are text", rows_with(TOPIC, **template("{text} {topc}")), template("{text} {{topc}}")
    ),
    "template, column": Remedy(
        "`columns: {topc: topic}`", rows_with(TOPIC, **template("{text} {topc}")), columns(topc="topic")
    ),
    "unknown": Remedy("known: input", rows_with(*GOODS, **columns(inputs="input")), columns(input="input")),
    "two forms named": Remedy(
        "name the fields of one form",
        rows_with(BOTH, **columns(input="input", prompt="prompt")),
        columns(input="input"),
    ),
    "two forms, first": Remedy(
        "`columns: {prompt: prompt, completion: completion}`",
        rows_with(BOTH),
        columns(prompt="prompt", completion="completion"),
    ),
    "two forms, second": Remedy(
        "`columns: {input: input, response: response}`", rows_with(BOTH), columns(input="input", response="response")
    ),
    "two forms, messages": Remedy(
        "`columns: {messages: conversations}`",
        rows_with({**GOOD, "conversations": MESSAGES}, **CHAT),
        columns(messages="conversations"),
    ),
    "preference": Remedy(
        "`columns: {prompt: prompt, completion: chosen}`",
        rows_with(PREFERENCE),
        columns(prompt="prompt", completion="chosen"),
    ),
    "preference, messages": Remedy(
        "`columns: {messages: chosen}`",
        rows_with({"chosen": MESSAGES, "rejected": MESSAGES}, **CHAT),
        columns(messages="chosen"),
    ),
    "preference, label": Remedy(
        "`columns: {prompt: prompt, completion: completion}`",
        rows_with({"prompt": "one", "completion": "two", "label": True}),
        columns(prompt="prompt", completion="completion"),
    ),
    "context twice": Remedy(
        "keep one of them", rows_with(*GOODS, **columns(contexts="input", context="input")), columns(contexts="input")
    ),
    "two contexts": setting(
        "name one of them, as in `columns: {contexts: contexts}`",
        {**GOOD, "contexts": ["a"], "context": ["b"]},
        columns(contexts="contexts"),
        good={**GOOD, "contexts": ["a"]},
    ),
    "input not read": Remedy(
        "put {text} there",
        rows_with(TOPIC, **template("{topic}"), **columns(input="input")),
        template("{text} {topic}"),
    ),
    "input not read, key": Remedy(
        "or remove this key", rows_with(TOPIC, **template("{topic}"), **columns(input="input")), columns()
    ),
    "system of texts": Remedy(
        "remove these columns from `columns:`",
        rows_with({"prompt": "one", "completion": "two", "system": "be"}, **columns(system="system")),
        columns(),
    ),
    "system of texts, messages": Remedy(
        "write both as lists of messages",
        rows_with({"prompt": "one", "completion": "two", "system": "be"}, **columns(system="system"), **CHAT),
        rows_with({"prompt": MESSAGES[:1], "completion": MESSAGES[1:], "system": "be"}),
    ),
    "history and names": Remedy(
        "remove these columns, or the other names in the templates",
        rows_with({**TOPIC, "history": []}, **template("{text} {topic}"), **columns(history="history"), **CHAT),
        columns(),
    ),
    "history and names, names": Remedy(
        "remove these columns, or the other names in the templates",
        rows_with({**TOPIC, "history": []}, **template("{text} {topic}"), **columns(history="history"), **CHAT),
        template("{text}"),
    ),
    "names and conversations": Remedy(
        "write {text} alone",
        rows_with({"messages": MESSAGES, "topic": "sea"}, **template("{text} {topic}"), **CHATML_FORMAT),
        template("{text}"),
    ),
    "names and completions": Remedy(
        "write `columns: {input: prompt, response: completion}`",
        rows_with(
            {"prompt": "one", "completion": "two", "topic": "sea"}, **template("{text} {topic}"), **CHATML_FORMAT
        ),
        columns(input="prompt", response="completion"),
    ),
}


def number(value: Any) -> dict[str, Any]:
    return {"input": "one", "response": value}


def as_(kind: str, field: str = "response") -> dict[str, Any]:
    return columns(**{field: {"from": field, "as": kind}})


TAGS = {**GOOD, "tags": ["a", "b"]}

VALUES = {
    "as text": Remedy(
        "`columns: {response: {from: response, as: text}}`", rows_with(number(1), number(2)), as_("text")
    ),
    "as json": Remedy("(or `as: json`)", rows_with(number({"a": 1}), number({"a": 2})), as_("json")),
    "list as json": Remedy(
        "`columns: {response: {from: response, as: json}}`",
        rows_with(number(["a"]), number(["b"]), **as_("text")),
        as_("json"),
    ),
    "list in a template": Remedy(
        "`columns: {tags: {from: tags, as: json}}`",
        rows_with(TAGS, TAGS, **template("{text} {tags}")),
        as_("json", "tags"),
    ),
    "list in a template, field": Remedy(
        "write {labels_column} in the template and `columns: {labels_column: {from: labels, as: json}}`",
        rows_with({**GOOD, "labels": ["a"]}, **template("{text} {labels}")),
        {**template("{text} {labels_column}"), **columns(labels_column={"from": "labels", "as": "json"})},
    ),
    "class name": Remedy(
        "write `as: text`",
        {"rows": lambda: LABELS, **columns(response={"from": "label", "as": "class_name"})},
        columns(response={"from": "label", "as": "text"}),
    ),
    "class labels": Remedy(
        "`columns: {response: {from: label, as: class_name}}`",
        {
            "rows": lambda: datasets.Dataset(LABELS).cast_column("label", datasets.ClassLabel(names=["no", "yes"])),
            **columns(response="label"),
        },
        columns(response={"from": "label", "as": "class_name"}),
    ),
    "not a text": Remedy(
        "remove `as`",
        rows_with({"messages": MESSAGES}, **CHAT, **columns(messages={"from": "messages", "as": "json"})),
        columns(messages="messages"),
    ),
    "one number": row("fix the row or leave it out, skip bad rows by fault_config", number(1), number("1")),
    "blank": row("fix the row or leave it out", number(" "), number("1")),
    "other column": Remedy(
        "or name another column under `columns:`", rows_with({**number(1), "answer": "two"}), columns(response="answer")
    ),
    "contexts": row("fix the row or leave it out", {**GOOD, "contexts": [1]}, {**GOOD, "contexts": ["1"]}),
    "surrogate": row("fix the row or leave it out", number("\ud800"), number("x")),
    "no mapping": Remedy("fix the row", {"rows": [GOOD, ["one"]]}, {"rows": [GOOD, GOOD]}),
    "kinds": row(
        "write texts as messages, or leave the row out",
        {"prompt": "one", "completion": "two"},
        {"prompt": MESSAGES[:1], "completion": MESSAGES[1:]},
        good={"prompt": MESSAGES[:1], "completion": MESSAGES[1:]},
        **CHAT,
    ),
    "history": row(
        "write the history as [[question, answer], ...]",
        {**GOOD, "history": [["one"]]},
        {**GOOD, "history": [["one", "two"]]},
        good={**GOOD, "history": [["one", "two"]]},
        **columns(history="history"),
        **CHAT,
    ),
}


def once() -> Iterator[dict[str, str]]:
    yield from GOODS


def streamed() -> datasets.IterableDataset:
    return datasets.Dataset.from_list(GOODS).to_iterable_dataset()


class Lazy:
    """Like a frame of polars that is not computed."""

    def collect_schema(self) -> None: ...

    def collect(self) -> pd.DataFrame:
        return pd.DataFrame(GOODS)


MEMORY = {
    "dict": Remedy(
        "pass `datasets.Dataset.from_dict(...)`",
        {"rows": {"input": ["one"], "response": ["two"]}},
        {"rows": lambda: datasets.Dataset.from_dict({"input": ["one"], "response": ["two"]})},
    ),
    "lazy": Remedy("pass `.collect()`", {"rows": lambda: Lazy()}, {"rows": lambda: Lazy().collect()}),
    "mixed": Remedy(
        "or pass a list of dicts",
        {"rows": lambda: pd.DataFrame({"input": ["one", "a"], "response": ["two", 2], "x": [{}, 1]}), **as_("text")},
        {"rows": [GOOD, number(2)]},
    ),
    "no rows": Remedy("pass a sequence with at least one row", {"rows": []}, {"rows": [GOOD]}),
    "shuffled": Remedy(
        "let the stream shuffle: `shuffle: true`, `seed: 0`",
        {"rows": lambda: streamed().shuffle(seed=0)},
        {"rows": streamed, "shuffle": True, "seed": 0},
    ),
    "split by node": Remedy(
        "pass the whole dataset",
        {"rows": lambda: split_dataset_by_node(streamed(), rank=0, world_size=2)},
        {"rows": streamed},
    ),
    "table": Remedy(
        "check its filters",
        {"rows": lambda: LABELS.slice(0, 0)},
        {"rows": lambda: LABELS.select(["input", "response"])},
    ),
}

IDS = {"input_ids": [5, 6, 7, 8]}


def ids(text: str, fixed: dict[str, Any], **bad: Any) -> Remedy:
    return row(text, {**IDS, **bad}, {**IDS, **fixed}, good={**IDS, **fixed})


READY = {
    "labels": ids("write them unshifted", {"labels": [-100, 6, 7, 8]}, labels=[6, 7, 8, -100]),
    "length": ids("write one for each id", {"loss_mask": [0, 1, 1, 1]}, loss_mask=[0, 1, 1]),
    "mask": ids("must be 0 or 1 for each token; fix the row", {"loss_mask": [0, 1, 1, 1]}, loss_mask=[0, 2, 1, 1]),
    "hole": ids("give position_ids or seq_lengths", {"seq_lengths": [1, 3]}, attention_mask=[1, 0, 1, 1]),
    "sum": ids("fix the row", {"seq_lengths": [2, 2]}, seq_lengths=[2, 3]),
    "restarts": ids("remove one of them", {"seq_lengths": [2, 2]}, seq_lengths=[2, 2], position_ids=[0, 1, 2, 3]),
    "positions": ids("fix the row, or give seq_lengths", {"seq_lengths": [2, 2]}, position_ids=[0, 1, 1, 2]),
    "padding": ids("leave the row out", {"attention_mask": [1, 1, 1, 0]}, attention_mask=[0, 0, 0, 0]),
    "eos inside": setting(
        "tokenizer_config: {ids_without_borders: one_document}",
        {"input_ids": [5, 1, 7, 8]},
        {"tokenizer_config": {"ids_without_borders": "one_document"}},
        good=IDS,
    ),
    "eos inside, borders": setting(
        "name position_ids or seq_lengths (or attention_mask) under `columns:`",
        {"input_ids": [5, 1, 7, 8], "lengths": [2, 2]},
        columns(input_ids="input_ids", seq_lengths="lengths"),
        good={**IDS, "lengths": [2, 2]},
    ),
    "prompts": Remedy("remove this key", {"rows": [IDS], "loss_config": {"prompts": True}}, {"loss_config": {}}),
}


@parametrized(COLUMNS)
def test_columns_are_named_as_the_message_says(remedy: Remedy) -> None:
    follow(remedy)


@parametrized(VALUES)
def test_values_are_written_or_read_as_the_message_says(remedy: Remedy) -> None:
    follow(remedy)


@parametrized(MEMORY)
def test_rows_in_memory_are_passed_as_the_message_says(remedy: Remedy) -> None:
    follow(remedy)


@parametrized(READY)
def test_ids_are_written_as_the_message_says(remedy: Remedy) -> None:
    follow(remedy)
