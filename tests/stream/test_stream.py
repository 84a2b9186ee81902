"""`SFTStream` alone and in a plain DataLoader: its values, its epochs, its counts."""

import gzip
import json
import multiprocessing
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import yaml
from torch.utils.data import DataLoader, IterableDataset

import samsum_stream
from samsum_stream import ConfigError, Example, Pack, RowError, RowPosition, SFTStream, load_config, parse_config
from tests.streams import (
    BOS,
    labels_of_row,
    make_config,
    make_rows,
    make_stream,
    num_tokens,
    num_words,
    rows_of_batches,
    rows_of_packs,
    tokens_of_row,
    word_tokenizer,
    write_lines,
)

# torch warns if there are more workers than cores on the machine that runs the tests.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

NUM_ROWS = 60
ALL_ROWS = list(range(NUM_ROWS))


# ------------------------------------------------------------------------------------ values and their names


def test_a_stream_is_an_iterable_dataset_of_packs() -> None:
    stream = make_stream()
    assert isinstance(stream, IterableDataset)
    pack = next(iter(stream))
    assert isinstance(pack, Pack)
    assert pack.num_tokens == sum(len(example.input_ids) for example in pack.examples) <= 32


def test_an_example_has_its_tokens_its_labels_and_its_position() -> None:
    for pack in make_stream():
        for example in pack.examples:
            assert isinstance(example, Example)
            assert isinstance(example.position, RowPosition)
            row = example.position.row
            assert example.input_ids.tolist() == tokens_of_row(row)
            assert example.labels.tolist() == labels_of_row(row)
            assert example.input_ids.dtype == example.labels.dtype == np.int32


def test_the_text_of_a_position_has_source_shard_row_and_epoch(tmp_path: Path) -> None:
    (tmp_path / "samsum").mkdir()
    path = write_lines(tmp_path / "samsum" / "train.jsonl", make_rows(3))
    stream = make_stream(source_config={"method": "jsonl", "kwargs": {"path": str(path)}}, shuffle=False)
    positions = [example.position for pack in stream for example in pack.examples]
    assert list(map(str, positions)) == [f"samsum/train.jsonl:{row} (epoch 0)" for row in range(3)]
    assert positions[1] == RowPosition(source="samsum", shard="train.jsonl", row=1, epoch=0)
    assert [example.position.epoch for pack in stream for example in pack.examples] == [1, 1, 1]


def test_the_text_of_a_position_without_a_shard_has_the_source() -> None:
    assert str(RowPosition("rows", "", 7, 2)) == "rows:7 (epoch 2)"
    assert str(RowPosition("rows", "", 7, 2, part=1)) == "rows:7 part 1 (epoch 2)"


def test_the_collator_of_a_stream_makes_tensors_of_its_packs() -> None:
    stream = make_stream()
    batch = stream.collator(list(islice(stream, 3)))
    assert batch["input_ids"].shape == (3, 32)
    assert all(isinstance(value, torch.Tensor) for value in batch.values())


def test_all_lists_the_public_names_in_order() -> None:
    names = samsum_stream.__all__
    assert names == sorted(set(names), key=lambda name: (not name.isupper(), name))
    assert all(hasattr(samsum_stream, name) for name in names)


# ----------------------------------------------------------------------------------------- ways to build one


def test_a_yaml_file_a_dict_and_a_config_make_the_same_stream(tmp_path: Path) -> None:
    rows = write_lines(tmp_path / "rows.jsonl", make_rows(NUM_ROWS))
    word_tokenizer().save_pretrained(tmp_path / "tokenizer")
    config = make_config(
        source_config={"method": "jsonl", "kwargs": {"path": str(rows)}}, base_model=str(tmp_path / "tokenizer")
    )
    path = tmp_path / "stream.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    streams = [
        SFTStream.from_yaml(path),
        SFTStream.from_yaml(str(path)),
        SFTStream.from_config(config),
        SFTStream(load_config(path)),
        SFTStream(parse_config(config)),
        SFTStream(parse_config(config), tokenizer=word_tokenizer()),
    ]
    orders = [rows_of_packs(stream) for stream in streams]
    assert all(order == orders[0] for order in orders)
    assert sorted(orders[0]) == ALL_ROWS


def test_rows_and_tokenizer_of_the_caller_replace_those_of_the_config() -> None:
    config = make_config(source_config={"method": "jsonl", "kwargs": {"path": "nowhere.jsonl"}}, base_model="nowhere/x")
    stream = SFTStream.from_config(config, rows=make_rows(3), tokenizer=word_tokenizer())
    assert sorted(rows_of_packs(stream)) == [0, 1, 2]


def test_the_stream_uses_the_tokenizer_of_the_caller_and_does_not_change_it() -> None:
    tokenizer = word_tokenizer()
    before = tokenizer.backend_tokenizer.to_str()
    stream = SFTStream.from_config(make_config(), rows=make_rows(5), tokenizer=tokenizer)
    list(stream)
    assert stream.tokenizer is tokenizer
    assert tokenizer.backend_tokenizer.to_str() == before


@pytest.mark.parametrize("contexts", ["contexts", "context", "docs"])
@pytest.mark.parametrize(("question", "answer"), [("input", "response"), ("dialogue", "summary")])
def test_a_row_to_render_may_have_the_names_of_the_columns_or_of_the_fields(
    question: str, answer: str, contexts: str
) -> None:
    columns = {"input": "dialogue", "response": "summary", "contexts": "docs"}
    rows = [{"dialogue": "100", "summary": "200", "docs": ["300"]}]
    stream = make_stream(rows, source_config={"columns": columns})
    row = {question: "101", answer: "201", contexts: ["301"]}
    assert "301" in stream.render(row)
    assert "101" in stream.render(row)
    assert stream.inference_prompt(row) == stream.inference_prompt({question: "101", contexts: ["301"]})
    assert "301" in stream.inference_prompt(row)
    assert "101" in stream.inference_prompt({question: "101"})
    assert stream.render({question: "101", answer: "201"}) == stream.render(
        {question: "101", answer: "201", contexts: []}
    )


def test_the_names_of_the_columns_come_first() -> None:
    backwards = {"input": "response", "response": "input"}
    stream = make_stream([{"response": "100", "input": "200"}], source_config={"columns": backwards})
    assert stream.render({"response": "100", "input": "200"}).split() == ["100", "200"]
    assert stream.inference_prompt({"response": "100"}).split() == ["100"]
    assert stream.inference_prompt({"input": "100"}).split() == ["100"]
    with pytest.raises(RowError, match="field 'response' has no column 'input' to come from"):
        stream.render({"response": "100"})


def test_columns_map_fields_to_columns_of_the_dataset() -> None:
    rows = [{"dialogue": row["input"], "summary": row["response"]} for row in make_rows(4)]
    stream = make_stream(rows, source_config={"columns": {"input": "dialogue", "response": "summary"}})
    assert sorted(rows_of_packs(stream)) == [0, 1, 2, 3]
    assert stream.inference_prompt(rows[0]) == stream.inference_prompt({"input": rows[0]["dialogue"]})


# -------------------------------------------------------------------------------------- text as in training


PROMPT = {"method": "Prompt", "kwargs": {"input_template": "11 {text} 12", "response_template": "13 {text}"}}


def test_inference_sees_the_training_text_up_to_the_response() -> None:
    stream = make_stream(prompt_config=PROMPT)
    row = {"input": "100", "response": "200 201"}
    prompt = stream.inference_prompt(row)
    assert stream.render(row).startswith(prompt)
    assert prompt.split() == ["11", "100", "12", "13"]
    assert prompt == prompt.rstrip(" "), "the space belongs to the response"
    assert stream.render(row).split() == ["11", "100", "12", "13", "200", "201"]
    assert stream.inference_ids(row) == [BOS, 11, 100, 12, 13] == stream.tokenizer(prompt)["input_ids"]


def test_inference_needs_no_response_and_sees_none() -> None:
    stream = make_stream(prompt_config=PROMPT)
    row = {"input": "100"}
    assert stream.inference_prompt(row) == stream.inference_prompt({**row, "response": "200"})
    assert stream.inference_ids(row) == stream.inference_ids({**row, "response": "200"})


def test_inference_ids_start_every_example() -> None:
    rows = make_rows(NUM_ROWS)
    stream = make_stream(rows, prompt_config=PROMPT)
    for pack in stream:
        for example in pack.examples:
            ids = stream.inference_ids(rows[example.position.row])
            assert example.input_ids[: len(ids)].tolist() == ids
            assert (example.labels[: len(ids)] == -100).all()
            assert (example.labels[len(ids) :] != -100).all()


def test_contexts_are_part_of_the_inference_prompt() -> None:
    stream = make_stream(prompt_config={"method": "Prompt", "kwargs": {"context_template": "14 {text}"}})
    several = stream.inference_prompt({"input": "100", "contexts": ["300", "301"]})
    assert several.split() == ["14", "300", "14", "301", "100"]
    one = stream.inference_prompt({"input": "100", "context": "300"})
    assert one == stream.inference_prompt({"input": "100", "contexts": ["300"]})


# ----------------------------------------------------------------------------------------------- every row once


def generator_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A module of the user that yields rows, and a config that names it."""
    (tmp_path / "user_rows.py").write_text(
        "from tests.streams import make_rows\n\n\ndef rows(count):\n    yield from make_rows(count)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "user_rows", raising=False)
    return {"source_config": {"method": "user_rows::rows", "kwargs": {"count": NUM_ROWS}}, "trust": ["user_rows"]}


def jsonl_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    path = write_lines(tmp_path / "rows.jsonl", make_rows(NUM_ROWS))
    return {"source_config": {"method": "jsonl", "kwargs": {"path": str(path)}}}


def gzip_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    text = "".join(json.dumps(row) + "\n" for row in make_rows(NUM_ROWS))
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    return {"source_config": {"method": "jsonl", "kwargs": {"path": str(tmp_path / "rows.jsonl.gz")}}}


def disk_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    datasets.Dataset.from_list(make_rows(NUM_ROWS)).save_to_disk(tmp_path / "saved")
    return {"source_config": {"method": "load_from_disk", "kwargs": {"dataset_path": str(tmp_path / "saved")}}}


def list_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"rows": make_rows(NUM_ROWS)}


def dataset_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"rows": datasets.Dataset.from_list(make_rows(NUM_ROWS))}


def stream_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"rows": datasets.Dataset.from_list(make_rows(NUM_ROWS)).to_iterable_dataset(num_shards=3)}


MakeSource = Callable[[Path, pytest.MonkeyPatch], dict[str, Any]]
SOURCES: list[MakeSource] = [
    jsonl_source, gzip_source, disk_source, list_source, dataset_source, stream_source, generator_source
]  # fmt: skip
EVERY_SOURCE = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)


def loaders_of(stream: SFTStream, num_workers: int, **kwargs: Any) -> Iterable[Iterable[dict[str, Any]]]:
    """The loader of the stream, and a plain DataLoader."""
    yield stream.loader(num_workers=num_workers, **kwargs)
    yield DataLoader(stream, batch_size=3, collate_fn=stream.collator, num_workers=num_workers, **kwargs)


@EVERY_SOURCE
@pytest.mark.parametrize("num_workers", [0, 2])
def test_each_row_is_read_once_from_every_source(
    source: MakeSource, num_workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = make_stream(**source(tmp_path, monkeypatch))
    for loader in loaders_of(stream, num_workers):
        assert Counter(rows_of_batches(loader)) == Counter(ALL_ROWS)


@pytest.mark.parametrize("num_workers", [1, 3])
@pytest.mark.parametrize("source", [list_source, gzip_source], ids=lambda source: source.__name__)
def test_each_row_is_read_once_by_any_number_of_workers(
    source: MakeSource, num_workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = make_stream(**source(tmp_path, monkeypatch))
    for loader in loaders_of(stream, num_workers):
        assert Counter(rows_of_batches(loader)) == Counter(ALL_ROWS)


@pytest.mark.parametrize("lanes", [1, 4, 12, "auto"])
@pytest.mark.parametrize("source", [list_source, gzip_source], ids=lambda source: source.__name__)
def test_each_row_is_read_once_with_any_number_of_lanes(
    source: MakeSource, lanes: int | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = make_stream(lanes=lanes, **source(tmp_path, monkeypatch))
    assert Counter(rows_of_packs(stream)) == Counter(ALL_ROWS)


@pytest.mark.parametrize(("context", "source"), [("fork", generator_source), ("spawn", dataset_source)])
def test_each_row_is_read_once_by_forked_and_by_spawned_workers(
    context: str, source: MakeSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = make_stream(**source(tmp_path, monkeypatch))
    loader = stream.loader(num_workers=2, multiprocessing_context=multiprocessing.get_context(context))
    assert Counter(rows_of_batches(loader)) == Counter(ALL_ROWS)


def test_a_generator_is_read_by_the_training_process() -> None:
    assert sorted(rows_of_packs(make_stream(row for row in make_rows(NUM_ROWS)))) == ALL_ROWS


# ------------------------------------------------------------------------------------------------ order and epochs


@pytest.mark.parametrize("num_workers", [1, 2, 3, 4])
def test_with_fixed_lanes_the_batches_are_the_same_with_any_workers(num_workers: int) -> None:
    single = list(make_stream(lanes=12).loader(num_workers=0))
    shared = list(make_stream(lanes=12).loader(num_workers=num_workers))
    assert len(single) == len(shared)
    for one, other in zip(single, shared, strict=True):
        assert one["input_ids"].tolist() == other["input_ids"].tolist()


@pytest.mark.parametrize("lanes", [1, 4])
def test_the_loader_and_an_endless_stream_give_the_same_batches(lanes: int) -> None:
    stream = make_stream(epochs=None, lanes=lanes, batch_size=3)
    plain = DataLoader(stream, batch_size=3, collate_fn=stream.collator)
    for one, other in zip(islice(stream.loader(), 60), islice(plain, 60), strict=True):
        assert {name: value.tolist() for name, value in one.items()} == {
            name: value.tolist() for name, value in other.items()
        }


def test_the_loader_partitions_the_packs_of_a_finite_stream_over_its_batches() -> None:
    stream = make_stream(lanes=1, batch_size=3)
    packs = [[example.position.row for example in pack.examples] for pack in stream]
    loader = stream.loader()
    positions = [pack for _ in loader for pack in loader.last_batch_info.positions]
    assert [[position.row for position in pack] for pack in positions] == packs


def test_the_seed_determines_the_order() -> None:
    def order(**changes: Any) -> list[int]:
        return rows_of_packs(make_stream(method="greedy", lanes=1, **changes))

    assert order(seed=1) == order(seed=1) != order(seed=2)
    assert order(shuffle=False) == ALL_ROWS


@pytest.mark.parametrize("source", [list_source, gzip_source], ids=lambda source: source.__name__)
def test_the_next_for_continues_with_the_next_epoch(
    source: MakeSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = make_stream(**source(tmp_path, monkeypatch))
    epochs = [list(stream) for _ in range(3)]
    for number, packs in enumerate(epochs):
        assert sorted(rows_of_packs(packs)) == ALL_ROWS
        assert {example.position.epoch for pack in packs for example in pack.examples} == {number}
    assert len({tuple(rows_of_packs(packs)) for packs in epochs}) == 3


def test_one_for_reads_several_epochs() -> None:
    stream = make_stream(epochs=2)
    for first in (0, 2):
        packs = list(stream)
        seen = Counter((e.position.row, e.position.epoch) for pack in packs for e in pack.examples)
        assert seen == Counter((row, epoch) for row in ALL_ROWS for epoch in (first, first + 1))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_endless_stream_continues_through_the_epochs(num_workers: int) -> None:
    stream = make_stream(epochs=None, lanes=2)
    counts = Counter()
    for batch in islice(stream.loader(num_workers=num_workers), 120):
        counts.update(rows_of_batches([batch]))
    # At the last batch, lanes and windows differ by a few rows.
    assert set(counts) == set(ALL_ROWS)
    assert max(counts.values()) - min(counts.values()) <= 3
    assert min(counts.values()) >= 5


def test_the_end_of_an_epoch_closes_no_pack_of_an_endless_stream() -> None:
    rows = [{"input": "100", "response": "100"}] * 3
    stream = make_stream(rows, epochs=None, lanes=1, max_length=8, method="greedy")
    assert [pack.num_tokens for pack in islice(stream, 9)] == [8] * 9


# ---------------------------------------------------------------------------------------------------------- counts


def test_stats_count_the_delivered_data() -> None:
    stream = make_stream()
    packs = list(stream)
    assert stream.stats.rows == stream.stats.examples == NUM_ROWS
    assert stream.stats.tokens == num_tokens(NUM_ROWS) == sum(pack.num_tokens for pack in packs)
    assert stream.stats.trained_tokens == sum(1 + num_words(row) for row in ALL_ROWS)
    assert stream.stats.packs == len(packs)
    assert stream.stats.capacity == 32 * len(packs)
    assert stream.stats.efficiency == stream.stats.tokens / stream.stats.capacity
    assert (dict(stream.stats.dropped), dict(stream.stats.truncated)) == ({}, {})


@pytest.mark.parametrize("num_workers", [0, 1, 2, 3])
def test_stats_are_the_same_with_any_number_of_workers(num_workers: int) -> None:
    changes = {"max_length": 9, "lanes": 6, "truncation_config": {"method": "right"}}
    rows = [
        *make_rows(NUM_ROWS),
        {"input": " ".join(["20"] * 40), "response": "21"},
        {"input": "</s>", "response": "22"},
    ]
    plain, single, shared = [make_stream(rows, **changes) for _ in range(3)]
    list(plain)
    list(single.loader())
    batches = list(shared.loader(num_workers=num_workers))
    assert shared.stats.counts == single.stats.counts
    # The loader may split packs, and fills batches with rows of padding.
    ignored = dict.fromkeys(("packs", "capacity"), 0)
    assert [{**stream.stats.counts, **ignored} for stream in (shared, plain)] == [
        {**single.stats.counts, **ignored}
    ] * 2
    assert shared.stats.rows == len(rows)
    assert shared.stats.dropped == {"no_trained_token": 1}
    assert shared.stats.truncated["right"] > 0
    assert shared.stats.special_tokens_in_rows == 1
    assert shared.stats.trained_tokens == sum(int((batch["labels"] != -100).sum()) for batch in batches)
    assert shared.stats.tokens == sum(int((batch["input_ids"] != 0).sum()) for batch in batches)
    assert shared.stats.packs == sum(int((batch["labels"] != -100).any(1).sum()) for batch in batches)
    assert shared.stats.capacity == 9 * sum(len(batch["input_ids"]) for batch in batches)


def test_another_run_has_its_own_settings_and_counts_into_the_same_stats() -> None:
    stream = make_stream(lanes=2)
    list(stream)
    run = stream.with_run(epochs=2, batch_size=5, lanes=1)
    batches = list(run.loader())
    assert Counter(rows_of_batches(batches)) == Counter(ALL_ROWS * 2)
    assert batches[0]["input_ids"].shape == (5, 32)
    assert run.loader().state_dict()["fingerprint"]["lanes"] == 1
    assert run.stats is stream.stats
    assert stream.stats.rows == 3 * NUM_ROWS
    assert (stream.pipeline.epochs, stream.pipeline.batch_size, stream.pipeline.num_lanes) == (1, 2, 2)
    assert run.with_run(epochs=None).pipeline.batch_size == 5
    assert stream.with_run(lanes="auto").pipeline.num_lanes is None


def test_rows_are_counted_once_for_all_runs_of_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = make_stream()
    list(stream.with_run(batch_size=3).loader())
    monkeypatch.setattr("samsum_stream.stream.stream.count_lengths", lambda *args, **kwargs: 1 // 0)
    assert sorted(rows_of_batches(stream.loader())) == ALL_ROWS


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "with_run: epochs: must be a whole number of 1 or more, or null; got 0"),
        ({"batch_size": None}, "with_run: batch_size: must be a whole number of 1 or more; got null"),
        ({"lanes": "many"}, 'with_run: lanes: must be "auto" or a whole number of 1 or more; got "many"'),
    ],
)
def test_a_run_is_checked_like_a_config(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_stream().with_run(**settings)


def test_stats_continue_over_the_epochs() -> None:
    stream = make_stream(max_length=10)
    list(stream)
    dropped = stream.stats.dropped["longer_than_max_length"]
    assert dropped == sum(len(tokens_of_row(row)) > 10 for row in ALL_ROWS)
    list(stream)
    assert stream.stats.dropped["longer_than_max_length"] == 2 * dropped
    assert stream.stats.rows == 2 * NUM_ROWS


@pytest.mark.parametrize("method", ["drop", "contexts", "input", "right"])
def test_every_row_is_an_example_or_a_counted_drop(method: str) -> None:
    rows = [{**row, "contexts": ["30 31"] * 3} for row in make_rows(NUM_ROWS)]
    rows += [{"input": " ".join(["20"] * n), "response": " ".join(["21"] * n)} for n in range(1, 30)]
    stream = make_stream(rows, max_length=12, truncation_config={"method": method})
    packs = list(stream)
    assert len(rows_of_packs(packs)) + stream.stats.dropped.total() == len(rows) == stream.stats.rows
    assert all((example.labels != -100).any() for pack in packs for example in pack.examples)
    if method != "drop":
        assert stream.stats.truncated[method] > 0
