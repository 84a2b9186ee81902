"""C6, C7 and C8 on conversations: rows with several examples, with one, with none, and bad ones.

`python -m tests.contracts.split_conversations` checks many chains of topologies.
"""

import json
import os
import pickle
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import Trainer

from samsum_stream import IGNORE_INDEX, RowError, SFTStream
from samsum_stream.loader.loader import StreamLoader
from samsum_stream.values.examples import Example
from tests.chains import Reference, check_chain, random_chain
from tests.contracts.split_conversations import (
    MAX_LENGTH,
    conversation,
    conversations,
    make_references,
    make_stream,
    tokenizer_with,
)
from tests.models import make_model, one_thread
from tests.resuming import assert_resumes_exactly, equal, in_process, make_source, take
from tests.streams import workers_that_end_at_once, write_lines
from tests.training.trainers import arguments, losses

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]
NUM_ROWS = 60
SKIP = {"on_bad_row": "skip", "max_bad_rows": 100}
Key = tuple[int, int]


def examples_of(stream: SFTStream) -> dict[Key, Example]:
    """The examples of one epoch, by row and by number in the row."""
    found = [example for pack in stream for example in pack.examples]
    examples = {(example.position.row, example.position.part): example for example in found}
    assert len(examples) == len(found), "an example occurs twice"
    return examples


def ids_of(examples: dict[Key, Example]) -> dict[Key, list[int]]:
    return {key: example.input_ids.tolist() for key, example in examples.items()}


def labels_of(examples: dict[Key, Example]) -> dict[Key, list[int]]:
    return {key: example.labels.tolist() for key, example in examples.items()}


def all_examples(rows: Sequence[Any], **changes: Any) -> dict[Key, Example]:
    """The examples of rows without a limit on their length."""
    return examples_of(make_stream(rows, max_length=100_000, lanes=1, **changes))


def trained_text(example: Example) -> list[str]:
    decode = tokenizer_with("forgets").decode
    return [decode(example.input_ids[start:end]) for start, end in example.spans]


# ----------------------------------------------------------------------------------------------------- resuming


def mixed_source(folder: Path) -> dict[str, Any]:
    """Conversations, rows with an input and a response, and rows with a prompt and a completion."""
    kinds = {
        "chat": conversations(30),
        "instructions": [{"input": f"i{n}", "response": f"o{n}" + " yes" * (n % 4)} for n in range(30)],
        "completions": [{"prompt": f"p{n}", "completion": f"c{n}"} for n in range(30)],
    }
    sources = {
        name: {"method": "jsonl", "kwargs": {"path": str(write_lines(folder / f"{name}.jsonl", rows))}}
        for name, rows in kinds.items()
    }
    kwargs = {"sources": sources, "stopping_strategy": "all_exhausted"}
    return {"source_config": {"method": "mixture", "kwargs": kwargs}}


CASES: dict[str, dict[str, Any]] = {
    "list": {"workers": 0, "epochs": None},
    "gzip jsonl": {"workers": 2, "epochs": 1, "fault_config": SKIP, "template": "refuses"},
}
SLOW_CASES: dict[str, dict[str, Any]] = {
    "mixture of kinds": {"workers": 0, "epochs": 1},
    "turns": {"workers": 3, "epochs": 1, "truncation_config": {"method": "turns"}, "method": "greedy"},
    "sequence from a callable": {"workers": 2, "epochs": None, "loss_config": {"prompts": True}},
    "generator from a callable": {"workers": 0, "epochs": 1},
    "parquet": {"workers": 3, "epochs": 1},
    "dataset": {"workers": 0, "epochs": 1, "truncation_config": {"method": "last_turns"}},
    "streaming": {"workers": 0, "epochs": 1},
    "right": {"workers": 0, "epochs": None, "truncation_config": {"method": "right"}, "method": "none"},
}


def loaders(name: str, folder: Path) -> Callable[[], StreamLoader]:
    """A function that makes loaders of a case; the first loader has a separate stream."""
    changes = {**CASES, **SLOW_CASES}[name]
    workers, packing = changes["workers"], changes.get("method", "best_fit")
    config = {key: value for key, value in changes.items() if key not in ("workers", "method")}
    config["packing_config"] = {"method": packing, "kwargs": {"max_length": MAX_LENGTH, "buffer_size": 5}}
    rows: list[dict[str, Any]] = conversations(NUM_ROWS)
    if "fault_config" in changes:
        rows[7], rows[20] = {"messages": []}, {"messages": [*rows[20]["messages"], *LOST]}
    if name == "mixture of kinds":
        source = mixed_source(folder)
    else:
        source = make_source("list" if name in ("turns", "right") else name, rows, folder)
    first, second = (make_stream(**{"rows": None, **source}, lanes=6, **config) for _ in range(2))
    streams = chain([first], repeat(second))
    return lambda: in_process(next(streams).loader(num_workers=workers))


@pytest.mark.parametrize("name", [*CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_CASES)])
def test_restored_at_every_step(name: str, tmp_path: Path) -> None:
    make_loader = loaders(name, tmp_path)
    loader, num_steps = make_loader(), 40
    if loader.pipeline.epochs is not None:
        num_steps = len(loader) + 5
    assert_resumes_exactly(make_loader, num_steps=num_steps)


def test_states_are_taken_between_the_examples_of_a_row() -> None:
    loader = make_stream(epochs=None, lanes=2).loader()
    starts = set()
    for _ in take(loader, 40):
        for lane in loader.state_dict()["lanes"].values():
            starts |= {number > 0 for number in lane["waiting"][:1]}
    assert starts == {True, False}


@pytest.fixture(scope="module")
def references() -> list[Reference]:
    return make_references()


@pytest.mark.parametrize("index", range(3))
def test_chains_of_topologies_give_the_sequence_of_one_process(references: list[Reference], index: int) -> None:
    chooser = random.Random(index)
    assert sum(check_chain(references[index], random_chain(chooser)) for _ in range(1 + (index == 0)))


@pytest.mark.slow
@pytest.mark.parametrize("index", range(3))
def test_many_chains_of_topologies(references: list[Reference], index: int) -> None:
    chooser = random.Random(100 + index)
    assert sum(check_chain(references[index], random_chain(chooser)) for _ in range(25))


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_worker_processes_give_the_batches_of_one_process(context: str) -> None:
    expected = [*take(make_stream(lanes=6).loader(), 30)]
    with workers_that_end_at_once():
        loader = make_stream(lanes=6).loader(num_workers=2, multiprocessing_context=context)
        found = [*take(loader, 30)]
    assert all(map(equal, found, expected))


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_encoder_pickles_before_and_after_it_has_rendered(when: str) -> None:
    stream = make_stream(template="refuses", fault_config=SKIP)
    rows, encoder = stream.pipeline.source.take(np.arange(NUM_ROWS)), stream.pipeline.encoder
    if when == "after":
        encoder.encode(rows, epoch=0)
    other = pickle.loads(pickle.dumps(encoder))
    for _ in range(2):  # the second time with frames
        found, expected = other.encode(rows, epoch=0), encoder.encode(rows, epoch=0)
        assert found.chunk.ids == expected.chunk.ids
        assert found.chunk.spans.tolist() == expected.chunk.spans.tolist()
        assert found.outcomes == expected.outcomes


@pytest.mark.slow
def test_a_trainer_resumes_with_the_losses_of_an_uninterrupted_run(tmp_path: Path) -> None:
    def trainer(folder: str) -> Trainer:
        size = {"vocab_size": len(tokenizer_with("forgets")), "max_position_embeddings": MAX_LENGTH}
        saves = {"save_strategy": "steps", "save_steps": 4, "per_device_train_batch_size": 2, "num_train_epochs": 2}
        model = make_model("llama", **size, bos_token_id=None, eos_token_id=None, pad_token_id=None)
        found = Trainer(model, arguments(tmp_path / folder, **saves))
        stream = make_stream(lanes=2, collator_config={"kwargs": {"attention": "position_ids"}})
        stream.attach(found)
        return found

    with one_thread():
        whole = trainer("whole")
        whole.train()
        resumed = trainer("resumed")
        resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-8"))
    assert len(losses(whole)) > 20
    assert losses(resumed) == losses(whole)


# --------------------------------------------------------------------------------------------------- epoch ends


@pytest.mark.parametrize(("ranks", "epochs"), [(1, 1), (3, 2), pytest.param(6, 1, marks=pytest.mark.slow)])
def test_each_example_is_in_one_batch_of_an_epoch_and_len_is_exact(ranks: int, epochs: int) -> None:
    changes = {"epochs": epochs, "lanes": 6, "collator_config": {"method": "padding_free"}}
    stream = make_stream(**changes)
    seen, lengths = Counter[tuple[int, ...]](), set()
    for rank in range(ranks):
        loader = stream.loader(rank=rank, world_size=ranks)
        num_batches = 0
        for batch in loader:
            num_batches += 1
            assert (batch["labels"] >= 0).any()
            positions = (position for pack in loader.last_batch_info.positions for position in pack)
            seen.update((position.epoch, position.row, position.part) for position in positions)
        assert num_batches == len(loader)
        lengths.add(num_batches)
    assert len(lengths) == 1
    keys = [
        key for key, example in all_examples(conversations(NUM_ROWS)).items() if len(example.input_ids) <= MAX_LENGTH
    ]
    assert max(part for _, part in keys) == 2
    assert seen == Counter((epoch, *key) for epoch in range(epochs) for key in keys)


def test_examples_are_counted_by_what_happened_to_them() -> None:
    stream, every = make_stream(lanes=3), all_examples(conversations(NUM_ROWS))
    kept = examples_of(stream)
    too_long = [key for key, example in every.items() if len(example.input_ids) > MAX_LENGTH]
    assert ids_of(kept) == {key: ids for key, ids in ids_of(every).items() if key not in too_long}
    stats = stream.stats
    assert stats.rows == NUM_ROWS
    assert stats.examples == len(kept)
    assert stats.dropped == {"longer_than_max_length": len(too_long)}
    assert stats.counts["splits.history"] == sum(part > 0 for _, part in every)
    assert stats.trained_tokens == sum(int((example.labels >= 0).sum()) for example in kept.values())


# ----------------------------------------------------------------------------------------------------- bad rows

LOST = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "This is (lost)."}]
BAD: dict[int, tuple[Any, str, str]] = {
    3: ({"messages": []}, "messages", "empty_messages"),
    11: ({"messages": [{"role": "user", "content": "Hi"}]}, "messages", "no_assistant"),
    17: ({"messages": [{"role": "nobody", "content": "Hi"}]}, "messages", "bad_message"),
    23: ({"messages": LOST}, "messages", "content_is_lost"),
    31: ({"messages": [{"role": "user", "content": "This is (forbidden)."}, LOST[1]]}, "messages", "template_refuses"),
    43: ({"messages": [*conversation(3)["messages"], *LOST]}, "messages", "content_is_lost"),
}


def rows_with_bad_ones() -> list[dict[str, Any]]:
    return [BAD[number][0] if number in BAD else row for number, row in enumerate(conversations(NUM_ROWS))]


@pytest.mark.parametrize("epochs", [1, 2])
def test_bad_conversations_are_listed_once_per_epoch_and_the_others_are_read(epochs: int, tmp_path: Path) -> None:
    faults = {**SKIP, "quarantine_path": str(tmp_path / "bad.jsonl")}
    rows = rows_with_bad_ones()
    stream = make_stream(rows, template="refuses", fault_config=faults, lanes=6, epochs=epochs)
    loader, seen = stream.loader(), Counter[Key]()
    for _ in loader:
        positions = (position for pack in loader.last_batch_info.positions for position in pack)
        seen.update((position.row, position.part) for position in positions)
    good = {row for row, _ in all_examples(conversations(NUM_ROWS))} - BAD.keys()
    assert {row for row, _ in seen} == good
    assert {*seen.values()} == {epochs}
    assert stream.stats.skipped.total() == epochs * len(BAD)
    found = {bad.position.row: (bad.field, bad.reason) for bad in stream.stats.quarantine}
    assert found.keys() == BAD.keys()
    assert {row: reason for row, (_, reason) in found.items() if row in (23, 31, 43)} == {
        23: "content_is_lost",
        31: "template_refuses",
        43: "content_is_lost",
    }
    lines = [json.loads(line) for path in tmp_path.glob("bad*.jsonl") for line in path.read_text().splitlines()]
    assert {(line["row"], line["field"], line["reason"]) for line in lines} == {
        (row, *what) for row, what in found.items()
    }


def test_the_quarantine_does_not_depend_on_workers() -> None:
    results = []
    for num_workers in (0, 3):
        stream = make_stream(rows_with_bad_ones(), template="refuses", fault_config=SKIP, lanes=6)
        for _ in in_process(stream.loader(num_workers=num_workers)):
            pass
        results.append((sorted(map(str, stream.stats.quarantine)), dict(stream.stats.counts)))
    assert results[0] == results[1]


@pytest.mark.parametrize("number", [23, 31])
def test_without_skip_a_conversation_that_cannot_be_rendered_is_an_error(number: int) -> None:
    stream = make_stream(rows_with_bad_ones()[number : number + 1], template="refuses", lanes=1)
    with pytest.raises(RowError, match=r"rows:0.*message 1: the chat template") as error:
        list(stream)
    assert error.value.reason == BAD[number][2]


def test_a_limit_of_bad_rows_covers_those_found_at_rendering() -> None:
    for limit in (len(BAD), len(BAD) - 1):
        faults = {"on_bad_row": "skip", "max_bad_rows": limit}
        stream = make_stream(rows_with_bad_ones(), template="refuses", fault_config=faults, lanes=6)
        if limit == len(BAD):
            list(stream)
        else:
            with pytest.raises(Exception, match="max_bad_rows"):
                list(stream)


# ----------------------------------------------------------------------------------------------------- mixtures


def test_a_mixture_of_three_kinds_of_rows_has_the_examples_of_each(tmp_path: Path) -> None:
    stream = make_stream(**mixed_source(tmp_path), lanes=3, epochs=1)
    children = stream.config.source_config.kwargs["sources"]
    seen: dict[str, dict[Key, list[int]]] = {name: {} for name in children}
    for pack in stream:
        for example in pack.examples:
            position = example.position
            child = next(name for name in children if name in position.source)
            seen[child][position.row, position.part] = example.input_ids.tolist()
    for name, child in children.items():
        alone = ids_of(examples_of(make_stream(source_config=child, lanes=1)))
        assert seen[name] == alone, name
        assert {row for row, _ in alone} | {5, 18} == {*range(30)} | {5, 18}


# --------------------------------------------------------------------------------------------------- truncation


def prompts_of(messages: Sequence[dict[str, Any]], template: str) -> Iterator[list[int]]:
    """The ids of the prompt of each assistant turn, from transformers."""
    tokenizer = tokenizer_with(template)
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            yield tokenizer.apply_chat_template(list(messages[:index]), add_generation_prompt=True, return_dict=False)


def shortened(messages: Sequence[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    """The messages without the oldest rounds; the system message stays."""
    start = int(messages[0]["role"] == "system")
    return [*messages[:start], *messages[start + 2 * number :]]


@pytest.mark.parametrize("template", ["forgets", "whole"])
@pytest.mark.parametrize("max_length", [48, pytest.param(64, marks=pytest.mark.slow), 96])
def test_turns_removes_the_fewest_oldest_rounds_and_stays_exact(template: str, max_length: int) -> None:
    rows = conversations(NUM_ROWS, template=template)
    every = all_examples(rows, template=template)
    stream = make_stream(rows, template=template, max_length=max_length, truncation_config={"method": "turns"}, lanes=1)
    cut = examples_of(stream)
    num_cut = 0
    for (row, part), example in cut.items():
        ids = example.input_ids.tolist()
        assert len(ids) <= max_length
        if ids == every[row, part].input_ids.tolist():
            continue
        num_cut += 1
        messages = rows[row]["messages"]
        number = next(n for n in range(1, 5) if shortened_has(shortened(messages, n), template, example))
        longer = all_examples(
            [{"messages": shortened(messages[: last_turn(every[row, part], messages, template) + 1], number - 1)}],
            template=template,
        )
        assert len(longer[max(longer)].input_ids) > max_length, "more rounds than needed were removed"
    assert num_cut == stream.stats.truncated["turns"] > 0
    dropped = every.keys() - cut.keys()
    assert len(dropped) == stream.stats.dropped["longer_than_max_length"]


def shortened_has(messages: Sequence[dict[str, Any]], template: str, example: Example) -> bool:
    """Whether the ids before each trained turn of an example are those of a prompt of these messages."""
    prompts, ids = [*prompts_of(messages, template)], example.input_ids.tolist()
    return bool(prompts) and all(ids[:start] in prompts for start, _ in example.spans.tolist())


def last_turn(example: Example, messages: Sequence[dict[str, Any]], template: str) -> int:
    """The message of the last trained turn of an example."""
    start = int(example.spans[-1, 0])
    turns = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    prompts = [*prompts_of(messages, template)]
    return turns[prompts.index(example.input_ids[:start].tolist())]


@pytest.mark.parametrize("template", ["forgets", "whole"])
@pytest.mark.parametrize("method", ["drop", "right", "last_turns"])
def test_other_methods_keep_the_start_of_an_example(template: str, method: str) -> None:
    rows, max_length = conversations(NUM_ROWS, template=template), 64
    every = all_examples(rows, template=template)
    changes = {"template": template, "max_length": max_length, "truncation_config": {"method": method}}
    stream = make_stream(rows, lanes=1, **changes)
    expected = {}
    for key, example in every.items():
        ends = [len(example.input_ids)]
        if method == "right":
            ends = [min(ends[0], max_length)]
        elif method == "last_turns":
            ends = [end for end in (*example.spans[:, 1].tolist(), *ends) if end <= max_length] or ends
        labels = example.labels[: ends[-1]].tolist()
        if len(labels) <= max_length and any(label != IGNORE_INDEX for label in labels):
            expected[key] = (example.input_ids[: ends[-1]].tolist(), labels)
    found = examples_of(stream)
    assert {key: (example.input_ids.tolist(), example.labels.tolist()) for key, example in found.items()} == expected
    num_cut = sum(len(ids) < len(every[key].input_ids) for key, (ids, _) in expected.items())
    assert stream.stats.truncated.total() == num_cut
    assert (num_cut > 0) == (method == "right" or (method, template) == ("last_turns", "whole"))
    assert stream.stats.dropped.total() == len(every) - len(expected)


def test_error_names_the_row() -> None:
    stream = make_stream(max_length=24, truncation_config={"method": "error"}, lanes=1)
    with pytest.raises(RowError, match=r"rows:\d+.* tokens and max_length is 24"):
        list(stream)


# --------------------------------------------------------------------------------------------------------- loss


@pytest.mark.parametrize("template", ["forgets", "whole"])
def test_trained_prompts_train_each_token_of_a_conversation_once(template: str) -> None:
    rows = conversations(NUM_ROWS, template=template)
    plain = all_examples(rows, template=template)
    trained = all_examples(rows, template=template, loss_config={"prompts": True})
    assert ids_of(trained) == ids_of(plain)
    for (row, part), example in trained.items():
        ids, labels = example.input_ids.tolist(), example.labels.tolist()
        before = trained[row, part - 1].input_ids.tolist() if part else []
        shared = next(
            (n for n, (a, b) in enumerate(zip(ids, before, strict=False)) if a != b), min(len(ids), len(before))
        )
        start = max(shared, 1)
        assert labels == [IGNORE_INDEX] * start + ids[start:]
        # each token that is trained without prompts is trained with them
        assert all(label in (IGNORE_INDEX, mine) for label, mine in zip(plain[row, part].labels, labels, strict=True))


def test_untrained_reasoning_belongs_to_the_prompt() -> None:
    rows = conversations(NUM_ROWS)
    plain, without = (all_examples(rows, loss_config={"reasoning": reasoning}) for reasoning in (True, False))
    assert ids_of(plain) == ids_of(without)
    num_shorter = 0
    for key, example in plain.items():
        [text], [other] = trained_text(example), trained_text(without[key])
        assert text.startswith("<think>")
        reasoning, _, answer = text.partition("</think>")
        assert other == (answer if reasoning != "<think>" else text)
        num_shorter += other != text
    assert num_shorter > NUM_ROWS / 2


@pytest.mark.parametrize("turns", ["last", "last_round"])
def test_only_the_last_turns_are_trained(turns: str) -> None:
    tool = {"role": "tool", "content": "r", "name": "f", "tool_call_id": "abcdefghi"}
    call = {"id": "abcdefghi", "type": "function", "function": {"name": "f", "arguments": {}}}
    rows = conversations(NUM_ROWS)
    for row in rows[::2]:
        asks = {"role": "assistant", "content": "I ask", "tool_calls": [call]}
        row["messages"] = [*row["messages"][:-1], asks, tool, row["messages"][-1]]
    template = {"template": "calls"}
    every, last = all_examples(rows, **template), all_examples(rows, **template, loss_config={"turns": turns})
    for number in range(NUM_ROWS):
        texts = [text for (row, _), example in sorted(last.items()) if row == number for text in trained_text(example)]
        whole = [text for (row, _), example in sorted(every.items()) if row == number for text in trained_text(example)]
        expected = 2 if turns == "last_round" and number % 2 == 0 else 1
        assert texts == whole[-expected:]


def test_a_prefill_belongs_to_the_prompt() -> None:
    rows = [{"input": f"i{n}", "response": f"o{n}"} for n in range(5)]
    prompt = {"kwargs": {"response_template": "Summary: {text}", "system_message": "Be brief."}}
    stream = make_stream(rows, prompt_config=prompt, lanes=1)
    tokenizer = tokenizer_with("forgets")
    for (row, _), example in examples_of(stream).items():
        start = int(example.spans[0, 0])
        assert example.input_ids[:start].tolist() == stream.inference_ids(rows[row])
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"i{row}"}]
        prompt_text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        assert stream.inference_prompt(rows[row]) == f"{prompt_text}<think></think>Summary:"
        assert trained_text(example) == [f" o{row}<|im_end|>"]


# -------------------------------------------------------------------------------------------------- fingerprint

FINGERPRINTS: dict[str, dict[str, Any]] = {
    "template": {"template": "whole"},
    "kwargs": {"chat": {"template_kwargs": {"x": 1}}},
    "thinking": {"chat": {"thinking": True}},
    "date": {"chat": {"date": "2026-02-03"}},
    "history": {"chat": {"on_rewritten_history": "last_round"}},
    "turns that cannot be rendered": {"chat": {"on_unrenderable_turn": "skip"}},
    "consecutive": {"conversation_config": {"consecutive": "merge"}},
    "fields": {"conversation_config": {"fields": {"content": "content"}}},
    "roles": {"conversation_config": {"roles": {"someone": "user"}}},
    "reasoning": {"conversation_config": {"reasoning": "drop"}},
    "trained turns": {"loss_config": {"turns": "last"}},
    "trained prompts": {"loss_config": {"prompts": True}},
    "trained reasoning": {"loss_config": {"reasoning": False}},
    "spelled tokens": {"tokenizer_config": {"backend": "hf", "special_tokens_in_rows": "parse"}},
}


def fingerprint_of(name: str = "") -> str:
    stream = make_stream(conversations(20), lanes=1, **FINGERPRINTS.get(name, {}))
    return json.dumps(stream.loader().state_dict()["fingerprint"])


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_the_fingerprint_changes_with_what_changes_the_examples(name: str) -> None:
    changes = FINGERPRINTS[name]
    same_tokenizer = "template" not in changes
    assert fingerprint_of(name) != fingerprint_of()
    if same_tokenizer:
        state = make_stream(conversations(20), lanes=1).loader().state_dict()
        with pytest.raises(Exception, match="of another stream"):
            make_stream(conversations(20), lanes=1, **changes).loader().load_state_dict(state)


PROGRAM = """
import json, sys
from transformers import AutoTokenizer
from samsum_stream import SFTStream
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
config, rows = json.loads(sys.argv[2])
stream = SFTStream.from_config(config, rows=rows, tokenizer=tokenizer)
print(json.dumps(stream.loader().state_dict()["fingerprint"]))
"""


@pytest.mark.slow
def test_the_fingerprint_is_the_same_in_all_processes(tmp_path: Path) -> None:
    tokenizer_with("forgets").save_pretrained(tmp_path)
    chat = {"template_kwargs": {"b": 1, "a": {"y": 2, "x": [3]}}, "stop_tokens": ["<|user|>", "<|im_end|>"]}
    config = {"prompt_format_config": {"method": "ChatTemplate", "kwargs": chat}, "lanes": 1}
    config["conversation_config"] = {"roles": {"b": "user", "a": "assistant"}, "fields": {"role": "from"}}
    rows = [{"messages": [{"from": "b", "content": "Hi"}, {"from": "a", "content": "Ho"}]}]
    arguments = [sys.executable, "-c", PROGRAM, str(tmp_path), json.dumps([config, rows])]
    first, second = (
        subprocess.run(
            arguments, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    )
    assert json.loads(first) == json.loads(second)
