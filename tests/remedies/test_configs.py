"""The remedies of messages about the keys of a config, lanes, and tokenizers."""

from typing import Any

import datasets

from tests.conftest import SMALL_TOKENIZER
from tests.contracts.conversations import small_tokenizer
from tests.remedies.following import REMOVED, Remedy, columns, follow, parametrized, source

ROWS: list[Any] = [{"input": f"in {number}", "response": f"out {number}"} for number in range(40)]
MEMORY: dict[str, Any] = {"rows": ROWS}
FILES: dict[str, Any] = {"files": {"a.jsonl": ROWS, "b.jsonl": ROWS}}


def mixture(**kwargs: Any) -> dict[str, Any]:
    children = {name: {"method": "jsonl", "kwargs": {"path": f"{name}.jsonl"}} for name in "ab"}
    return {"source_config": {"method": "mixture", "kwargs": {"sources": children, **kwargs}}}


def of_memory(text: str, fails: dict[str, Any], works: dict[str, Any]) -> Remedy:
    return Remedy(text, {**MEMORY, **fails}, works)


def packing(method: str | None = None, **kwargs: Any) -> dict[str, Any]:
    return {"packing_config": {"kwargs": kwargs} | ({"method": method} if method else {})}


def collator(method: str, **kwargs: Any) -> dict[str, Any]:
    return {"collator_config": {"method": method, "kwargs": kwargs}}


def faults(**kwargs: Any) -> dict[str, Any]:
    return {"fault_config": kwargs}


def streamed() -> datasets.IterableDataset:
    return datasets.Dataset.from_list(ROWS).to_iterable_dataset(num_shards=2)


BAD = [*ROWS, {"input": "one", "response": ""}, {"input": "one", "response": ""}]

KEYS = {
    "key": of_memory('did you mean "batch_size"?', {"batch_sise": 2}, {"batch_sise": REMOVED, "batch_size": 2}),
    "method": of_memory('did you mean "best_fit"?', packing("bestfit"), packing("best_fit")),
    "section": of_memory(
        "it belongs in packing_config.kwargs", {"max_length": 64}, {"max_length": REMOVED, **packing(max_length=64)}
    ),
    "quotes": of_memory("write 2 without quotes", {"batch_size": "2"}, {"batch_size": 2}),
    "whole": of_memory("write 2", {"batch_size": 2.0}, {"batch_size": 2}),
    "null": of_memory("leave the key out for the defaults", {"loss_config": None}, {"loss_config": {}}),
    "name": of_memory(
        "write {method: ChatMLFormat}",
        {"prompt_format_config": "ChatMLFormat"},
        {"prompt_format_config": {"method": "ChatMLFormat"}},
    ),
    "limit, number": of_memory(
        "write a number per rank (10)", faults(on_bad_row="skip"), faults(on_bad_row="skip", max_bad_rows=10)
    ),
    "limit, share": of_memory(
        "or a share of 1,000 rows of a lane (0.005)",
        faults(on_bad_row="skip"),
        faults(on_bad_row="skip", max_bad_rows=0.005),
    ),
    "share": of_memory(
        "write a whole number of rows",
        faults(on_bad_row="skip", max_bad_rows=2.0),
        faults(on_bad_row="skip", max_bad_rows=2),
    ),
    "list without skip": of_memory("write skip", faults(max_bad_rows=2), faults(on_bad_row="skip", max_bad_rows=2)),
    "list without skip, key": of_memory("or remove this key", faults(max_bad_rows=2), faults()),
    "too many": of_memory(
        "or raise max_bad_rows",
        {"rows": BAD, **faults(on_bad_row="skip", max_bad_rows=1)},
        faults(on_bad_row="skip", max_bad_rows=2),
    ),
    "too many, rows": of_memory(
        "fix the rows", {"rows": BAD, **faults(on_bad_row="skip", max_bad_rows=1)}, {"rows": BAD[:-1]}
    ),
    "padded": of_memory("write none", {**packing("greedy"), **collator("padded")}, packing("none")),
    "padded, packed": of_memory(
        "or collator_config.method: packed", {**packing("greedy"), **collator("padded")}, collator("packed")
    ),
    "argument of a collator": of_memory(
        'belongs to method "padded"', collator("packed", padding_side="left"), collator("padded", padding_side="left")
    ),
    "overlap": of_memory(
        "write split, or remove this key",
        {"truncation_config": {"method": "drop", "kwargs": {"overlap": 2}}},
        {"truncation_config": {"method": "drop"}},
    ),
    "overlap, split": of_memory(
        "write split",
        {"rows": [{"text": "a b"}], "truncation_config": {"method": "drop", "kwargs": {"overlap": 2}}},
        {"truncation_config": {"method": "split", "kwargs": {"overlap": 2}}},
    ),
    "split": of_memory(
        "write drop or another method",
        {"truncation_config": {"method": "split"}},
        {"truncation_config": {"method": "drop"}},
    ),
    "split, text": of_memory(
        "(`columns: {text: ...}`)", {"truncation_config": {"method": "split"}}, columns(text="input")
    ),
    "cut of texts": of_memory(
        "write split, right or drop",
        {"rows": [{"text": "a b"}], "truncation_config": {"method": "input"}},
        {"truncation_config": {"method": "right"}},
    ),
    "too long": of_memory(
        "raise packing_config.kwargs.max_length",
        {"truncation_config": {"method": "error"}, **packing(max_length=2)},
        packing(max_length=64),
    ),
    "none left": of_memory("raise packing_config.kwargs.max_length", packing(max_length=2), packing(max_length=64)),
    "chunksize": of_memory("keep one of the two", {"chunksize": 32, **packing(max_length=64)}, {"chunksize": 64}),
    "chunksize, removed": of_memory(
        "keep one of the two", {"chunksize": 32, **packing(max_length=64)}, {"chunksize": REMOVED}
    ),
    "code": of_memory(
        "remove this key", {"tokenizer_config": {"kwargs": {"trust_remote_code": True}}}, {"tokenizer_config": {}}
    ),
    "prompt": of_memory(
        "put it in quotes",
        {"prompt_config": {"kwargs": {"system_message": 1}}},
        {"prompt_config": {"kwargs": {"system_message": "1"}}},
    ),
    "template": of_memory(
        "put {text} there",
        {"prompt_config": {"kwargs": {"response_template": "Answer:"}}},
        {"prompt_config": {"kwargs": {"response_template": "Answer: {text}"}}},
    ),
    "prompt argument": of_memory(
        'did you mean "input_template"?',
        {"prompt_config": {"kwargs": {"input_tmplate": "{text}"}}},
        {"prompt_config": {"kwargs": {"input_template": "{text}"}}},
    ),
}

READING = {
    "slice": of_memory(
        "write a smaller start", {"source_config": {"slice": [50, None]}}, {"source_config": {"slice": [30, None]}}
    ),
    "slice of shards": Remedy(
        "or write max_rows", {"rows": streamed, "source_config": {"slice": [1, 9]}}, {"source_config": {"max_rows": 9}}
    ),
    "slice of shards, one": Remedy(
        "slice a source with one shard",
        {"rows": streamed, "source_config": {"slice": [1, 9]}},
        {"rows": lambda: datasets.Dataset.from_list(ROWS).to_iterable_dataset()},
    ),
    "slice, stop": of_memory(
        "a stop above its start", {"source_config": {"slice": [9, 3]}}, {"source_config": {"slice": [3, 9]}}
    ),
    "held out": of_memory("write a smaller number", {"holdout": 40}, {"holdout": 39}),
    "held out, share": Remedy("write a share, such as 0.01", {"rows": streamed, "holdout": 9}, {"holdout": 0.01}),
    "lanes": of_memory("use fewer lanes", {"lanes": 41}, {"lanes": 40, "batch_size": 1}),
    "lanes, examples": of_memory(
        "lower lanes",
        {"rows": ROWS[:3], "lanes": 2, "batch_size": 1, **packing("none"), "shuffle": False},
        {"lanes": 1},
    ),
    "lanes, batches": of_memory(
        "or make larger batches",
        {"rows": ROWS[:3], "lanes": 2, "batch_size": 1, **packing("none"), "shuffle": False},
        {"batch_size": 2},
    ),
    "endless": Remedy(
        "or first_exhausted or all_exhausted",
        {**FILES, **mixture(stopping_strategy="endless")},
        mixture(stopping_strategy="all_exhausted"),
    ),
    "columns of a mixture": Remedy(
        "write max_rows beside the method of each child",
        {**FILES, "source_config": {**mixture()["source_config"], "max_rows": 9}},
        mixture(
            sources={"a": {"method": "jsonl", "kwargs": {"path": "a.jsonl"}, "max_rows": 9}},
        ),
    ),
    "child": Remedy(
        "this key is missing",
        {**FILES, **mixture(sources={"a": {"kwargs": {"path": "a.jsonl"}}})},
        mixture(sources={"a": {"method": "jsonl", "kwargs": {"path": "a.jsonl"}}}),
    ),
    "no source": Remedy("known: ", {**FILES}, source("jsonl", "a.jsonl")),
    "no source, rows": Remedy("or pass SFTStream(..., rows=rows)", {}, MEMORY),
    "argument": Remedy('did you mean "path"?', {**FILES, **source("jsonl", pth="a.jsonl")}, source("jsonl", "a.jsonl")),
}

SPELLED = {"input": "one</s>", "response": "two<|im_end|>"}


def of_folder(**settings: Any) -> dict[str, Any]:
    """The tokenizer in the folder of the examples."""
    tokenizer = {"base_model": str(SMALL_TOKENIZER), "tokenizer": None}
    return {**tokenizer, "tokenizer_config": {"backend": "hf", **settings}}


def without_eos() -> Any:
    tokenizer = small_tokenizer()
    tokenizer.eos_token = None
    return tokenizer


def with_eos() -> Any:
    tokenizer = without_eos()
    tokenizer.add_special_tokens({"eos_token": "</s>"})
    return tokenizer


TOKENIZERS = {
    "none": Remedy("give a Hub id or a folder", {**MEMORY, "tokenizer": None}, of_folder()),
    "none, passed": of_memory(
        "or pass SFTStream(..., tokenizer=tokenizer)", {"tokenizer": None}, {"tokenizer": small_tokenizer}
    ),
    "folder": Remedy(
        "give a folder that holds tokenizer.json", {**MEMORY, **of_folder(), "base_model": "./nowhere"}, of_folder()
    ),
    "spelled": of_memory(
        "set it to text",
        {"rows": [SPELLED, *ROWS], "tokenizer_config": {"special_tokens_in_rows": "error"}},
        {"tokenizer_config": {"special_tokens_in_rows": "text"}},
    ),
    "no eos": of_memory(
        "tokenizer.add_special_tokens({'eos_token': '</s>'})", {"tokenizer": without_eos}, {"tokenizer": with_eos}
    ),
    "eos": Remedy(
        "write it into add_special_tokens, too",
        {**MEMORY, **of_folder(eos_token="<|stop|>")},
        of_folder(eos_token="<|stop|>", add_special_tokens=["<|stop|>"]),
    ),
    "settings": of_memory("remove this key", {"tokenizer_config": {"add_tokens": ["a"]}}, {"tokenizer_config": {}}),
    "settings, tokenizer": of_memory(
        "or do not pass tokenizer=", {"tokenizer_config": {"add_tokens": ["a"]}}, of_folder(add_tokens=["a"])
    ),
    "template": Remedy(
        "or the text of a template",
        {**MEMORY, **of_folder(chat_template="a.jinja")},
        of_folder(chat_template="{{ messages[0].content }}"),
    ),
    "template, file": Remedy(
        "give the path of a .jinja file",
        {**MEMORY, **of_folder(chat_template="a.jinja")},
        {"files": {"a.jinja": "{{ messages[0].content }}"}},
    ),
    "ids": Remedy(
        "give the tokenizer with which the ids were made",
        {"rows": [{"input_ids": [5, 9000]}], "tokenizer": small_tokenizer},
        {"rows": [{"input_ids": [5, 900]}]},
    ),
}


@parametrized(KEYS)
def test_a_key_is_written_as_its_message_says(remedy: Remedy) -> None:
    follow(remedy)


@parametrized(READING)
def test_rows_are_selected_and_shared_as_the_message_says(remedy: Remedy) -> None:
    follow(remedy)


@parametrized(TOKENIZERS)
def test_a_tokenizer_is_given_as_the_message_says(remedy: Remedy) -> None:
    follow(remedy)
