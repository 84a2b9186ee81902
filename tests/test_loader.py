"""`StreamLoader`: whole batches out of worker processes, epoch after epoch."""

import pickle
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from samsum_stream import RowError, SFTStream
from samsum_stream.pipeline import Pipeline
from samsum_stream.stats import Counts
from tests.streams import NUM_WORDS, make_rows, make_stream, rows_of_batches, workers_that_end_at_once

# torch warns where workers outnumber the cores of the machine that runs the tests.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

NUM_ROWS = 60
ALL_ROWS = Counter(range(NUM_ROWS))
WORKERS = pytest.mark.parametrize("num_workers", [0, 2])


@pytest.fixture(autouse=True)
def quick_workers() -> Iterator[None]:
    with workers_that_end_at_once():
        yield


def test_a_loader_is_a_dataloader_of_whole_batches() -> None:
    loader = make_stream(batch_size=3).loader()
    assert isinstance(loader, DataLoader)
    batches = list(loader)
    assert {len(batch["input_ids"]) for batch in batches[:-1]} == {3}
    assert 1 <= len(batches[-1]["input_ids"]) <= 3


@pytest.mark.parametrize(("num_workers", "persistent"), [(0, False), (2, False), (2, True)])
def test_the_next_for_goes_on_with_the_next_epoch(num_workers: int, persistent: bool) -> None:
    loader = make_stream().loader(num_workers=num_workers, persistent_workers=persistent)
    epochs = [rows_of_batches(loader) for _ in range(3)]
    assert [Counter(rows) for rows in epochs] == [ALL_ROWS] * 3
    assert len(set(map(tuple, epochs))) == 3


@pytest.mark.parametrize(
    "num_workers", [0, pytest.param(2, marks=pytest.mark.xfail(strict=True, reason="workers start at epoch 0 anew"))]
)
def test_a_plain_dataloader_goes_on_with_the_next_epoch(num_workers: int) -> None:
    stream = make_stream()
    loader = DataLoader(stream, batch_size=2, collate_fn=stream.collator, num_workers=num_workers)
    epochs = [rows_of_batches(loader) for _ in range(3)]
    assert [Counter(rows) for rows in epochs] == [ALL_ROWS] * 3
    assert len(set(map(tuple, epochs))) == 3


@WORKERS
def test_a_bad_row_reaches_the_training_process_as_itself(num_workers: int) -> None:
    rows = [*make_rows(200), {"input": "20", "response": 5}]
    loader = make_stream(rows, shuffle=False).loader(num_workers=num_workers)
    with pytest.raises(RowError, match=r"rows:200 \(epoch 0\): field 'response' must be a str, got int: 5"):
        list(loader)


def test_num_proc_is_how_many_workers_a_loader_starts_where_nobody_says() -> None:
    assert make_stream(num_proc=3).loader().num_workers == 3
    assert make_stream(num_proc=3).loader(num_workers=0).num_workers == 0
    assert make_stream(num_proc=1).loader().num_workers == make_stream().loader().num_workers == 0


@pytest.mark.parametrize("num_workers", [0, 2])
def test_leaving_early_ends_the_workers(num_workers: int) -> None:
    loader = make_stream(epochs=None).loader(num_workers=num_workers)
    start = time.perf_counter()
    assert len(list(islice(loader, 3))) == 3
    for batch in loader:
        assert batch
        break
    assert time.perf_counter() - start < 30


@WORKERS
def test_prefetched_batches_that_nobody_took_are_not_counted(num_workers: int) -> None:
    stream = make_stream(epochs=None, lanes=2)
    taken = list(islice(stream.loader(num_workers=num_workers), 4))
    assert stream.stats.packs == sum(len(batch["input_ids"]) for batch in taken) == 8
    assert stream.stats.examples == len(rows_of_batches(taken))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_rows_that_are_dropped_behind_the_last_batch_are_counted(num_workers: int) -> None:
    long = {"input": "20", "response": " ".join(["21"] * 60)}
    stream = make_stream([*make_rows(32), long, long], method="none", shuffle=False, lanes=1)
    assert len(list(stream.loader(num_workers=num_workers))) == 16
    assert stream.stats.dropped == {"longer_than_max_length": 2}
    assert stream.stats.rows == 34


def test_what_makes_batches_pickles_and_goes_on_where_it_is_unpickled() -> None:
    stream = make_stream()
    pipeline = pickle.loads(pickle.dumps(stream.pipeline))
    assert isinstance(pipeline, Pipeline)
    sizes = [[[item[0] for item in pack] for pack in batch] for batch in stream.pipeline.batches(Counts())]
    assert [[[item[0] for item in pack] for pack in batch] for batch in pipeline.batches(Counts())] == sizes
    other = pickle.loads(pickle.dumps(stream))
    assert isinstance(other, SFTStream)
    assert sum(pack.num_tokens for pack in other) == sum(map(sum, (p for b in sizes for p in b)))


# ------------------------------------------------------------------------------------------------------- Trainer


class Recorder(LlamaForCausalLM):
    """A Llama that remembers what it was given."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.seen: list[dict[str, Any]] = []

    def forward(self, input_ids: Any = None, labels: Any = None, **inputs: Any) -> Any:
        self.seen.append({"input_ids": input_ids, "labels": labels, **inputs})
        return super().forward(input_ids=input_ids, labels=labels, **inputs)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """A model this small is slower on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def train(stream: SFTStream, folder: Any, *, num_workers: int, **arguments: Any) -> tuple[Recorder, Trainer]:
    torch.manual_seed(0)
    model = Recorder(
        LlamaConfig(
            vocab_size=NUM_WORDS,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=4,
            max_position_embeddings=128,
        )
    )
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=2,
            learning_rate=1e-2,
            report_to=[],
            save_strategy="no",
            logging_steps=1,
            use_cpu=True,
            disable_tqdm=True,
            dataloader_num_workers=num_workers,
            # Pinning warns on a machine without an accelerator.
            dataloader_pin_memory=False,
            **arguments,
        ),
        train_dataset=stream,
        data_collator=stream.collator,
    )
    trainer.train()
    return model, trainer


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("layout", "num_workers"), [("packed", 0), ("packed", 2), ("padded", 0), ("padding_free", 0), ("padding_free", 2)]
)
def test_a_trainer_takes_the_batches_as_they_are(layout: str, num_workers: int, tmp_path: Any) -> None:
    kinds: dict[str, Any] = {"collator_config": {"method": layout}, "lanes": 2, "epochs": None}
    # Dispatching cuts every tensor to as many entries as there are rows: borders are cut to the first.
    arguments = {"accelerator_config": {"dispatch_batches": False}} if layout == "padding_free" else {}
    model, trainer = train(make_stream(**kinds), tmp_path, num_workers=num_workers, max_steps=3, **arguments)
    assert trainer.state.global_step == 3
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 3
    assert all(0 < loss < 20 for loss in losses)
    stream = make_stream(**kinds)
    expected = DataLoader(stream, batch_size=2, collate_fn=stream.collator, num_workers=num_workers)
    for seen, batch in zip(model.seen, islice(expected, 3), strict=True):
        for name, value in batch.items():
            assert torch.equal(torch.as_tensor(seen[name]), torch.as_tensor(value)), name


@pytest.mark.usefixtures("one_thread")
def test_a_trainer_that_knows_its_steps_passes_over_the_rows_epoch_by_epoch(tmp_path: Any) -> None:
    stream = make_stream(collator_config={"method": "padded"}, batch_size=2)
    model, trainer = train(stream, tmp_path, num_workers=0, max_steps=75)
    rows = rows_of_batches(model.seen)
    assert trainer.state.global_step == 75
    assert Counter(rows[:NUM_ROWS]) == Counter(rows[NUM_ROWS : 2 * NUM_ROWS]) == ALL_ROWS
    assert rows[:NUM_ROWS] != rows[NUM_ROWS : 2 * NUM_ROWS]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_loader_writes_nothing(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    list(make_stream().loader())
    assert list(tmp_path.iterdir()) == []
