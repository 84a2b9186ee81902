"""Datasets that TRL and `datasets.map` prepared: the stream has the tokens and the labels of their own collators."""

from pathlib import Path
from typing import Any

import datasets
import pytest
from transformers import PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer

from samsum_stream import SFTStream
from tests.models import make_model
from tests.real_data import load_rows, load_tokenizer, needs_real_data

NUM_ROWS, MAX_LENGTH = 200, 512
Documents = list[tuple[list[int], list[int]]]

pytestmark = [needs_real_data, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer("qwen3")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    return [
        {"prompt": row["input"] + "\nSummary:", "completion": f" {row['response']}"}
        for row in load_rows("samsum")[:NUM_ROWS]
    ]


def documents_of(stream: SFTStream) -> Documents:
    """The ids and labels of each document, in the order of the rows."""
    examples = [example for pack in stream for example in pack.examples]
    examples.sort(key=lambda example: (example.position.row, example.position.part))
    return [(example.input_ids.tolist(), example.labels.tolist()) for example in examples]


def stream_of(rows: Any, tokenizer: PreTrainedTokenizerBase, layout: str = "packed", **columns: str) -> SFTStream:
    config = {
        "source_config": {"columns": columns},
        "packing_config": {"kwargs": {"max_length": MAX_LENGTH}},
        "collator_config": {"method": layout},
        "truncation_config": {"method": "right"},
    }
    return SFTStream.from_config(config, rows=rows, tokenizer=tokenizer)


def prepared_by_trl(rows: list[dict[str, str]], tokenizer: Any, folder: Path, *, packing: bool) -> Any:
    """A Trainer of TRL with its prepared dataset and its collator."""
    arguments = SFTConfig(
        str(folder),
        max_length=MAX_LENGTH,
        packing=packing,
        padding_free=packing,
        use_cpu=True,
        report_to="none",
        bf16=False,
    )
    model = make_model("llama", vocab_size=len(tokenizer), num_hidden_layers=1)
    return SFTTrainer(model, arguments, train_dataset=datasets.Dataset.from_list(rows), processing_class=tokenizer)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layout", ["packed", "padded"])
@pytest.mark.parametrize("packing", [False, True])
def test_a_dataset_of_trl(
    rows: list[dict[str, str]], tokenizer: PreTrainedTokenizerBase, tmp_path: Path, layout: str, packing: bool
) -> None:
    trainer = prepared_by_trl(rows, tokenizer, tmp_path, packing=packing)
    prepared = trainer.train_dataset
    borders = {"seq_lengths": "seq_lengths"} if packing else {}
    stream = stream_of(prepared, tokenizer, layout, input_ids="input_ids", labels="labels", **borders)
    expected: Documents = []
    for row in prepared:
        batch = trainer.data_collator([row])
        ids, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
        lengths = row["seq_lengths"] if packing else [len(ids)]
        for start, length in zip([sum(lengths[:number]) for number in range(len(lengths))], lengths, strict=True):
            expected.append((ids[start : start + length], labels[start : start + length]))
    assert len(expected) >= NUM_ROWS - 5  # TRL drops documents without a trained token
    assert documents_of(stream) == [(ids, [-100, *labels[1:]]) for ids, labels in expected if set(labels[1:]) != {-100}]


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_a_dataset_of_map(rows: list[dict[str, str]], tokenizer: PreTrainedTokenizerBase, layout: str) -> None:
    def prepare(row: dict[str, str]) -> dict[str, list[int]]:
        prompt, completion = tokenizer(row["prompt"]).input_ids, tokenizer(row["completion"]).input_ids
        ids = [*prompt, *completion, tokenizer.eos_token_id][:MAX_LENGTH]
        labels = [-100] * len(prompt) + ids[len(prompt) :]
        padding = MAX_LENGTH - len(ids)
        return {
            "input_ids": ids + [tokenizer.pad_token_id] * padding,
            "labels": labels[:MAX_LENGTH] + [-100] * padding,
            "attention_mask": [1] * len(ids) + [0] * padding,
        }

    prepared = datasets.Dataset.from_list(rows).map(prepare, remove_columns=["prompt", "completion"])
    stream = stream_of(
        prepared, tokenizer, layout, input_ids="input_ids", labels="labels", attention_mask="attention_mask"
    )
    expected = []
    for row in prepared:
        length = sum(row["attention_mask"])
        if set(row["labels"]) != {-100}:
            expected.append((row["input_ids"][:length], row["labels"][:length]))
    assert documents_of(stream) == expected
