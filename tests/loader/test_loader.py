"""`StreamLoader`: whole batches from worker processes, epoch after epoch."""

import os
import pickle
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import count, islice
from multiprocessing import parent_process
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from samsum_stream import ConfigError, RowError, SFTStream, SourceError, TopologyError, WorkerError
from samsum_stream.lanes.share import Share
from samsum_stream.pipeline.pipeline import Pipeline
from tests.start_methods import START_METHODS
from tests.streams import NUM_WORDS, make_rows, make_stream, rows_of_batches, workers_that_end_at_once

# torch warns if there are more workers than cores on the machine that runs the tests.
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
    assert {tuple(batch["input_ids"].shape) for batch in loader} == {(3, 32)}


@pytest.mark.parametrize("layout", ["padded", "padding_free"])
def test_layouts_without_a_fixed_shape_have_no_rows_of_padding(layout: str) -> None:
    stream = make_stream(batch_size=4, lanes=2, collator_config={"method": layout}, method="none")
    for batch in stream.loader():
        assert 1 <= len(rows_of_batches([batch])) <= 4
        assert (batch["labels"] != -100).any(1).all()


def uneven_stream(**changes: Any) -> SFTStream:
    """Every fourth row fills a pack, and each other row fills an eighth of a pack."""
    rows = [{"input": "20", "response": " ".join(["21"] * (1 if number % 4 else 28))} for number in range(96)]
    return make_stream(rows, **{"shuffle": False, "lanes": 4, **changes})


def test_much_padding_is_a_warning_once(caplog: pytest.LogCaptureFixture) -> None:
    stream = uneven_stream()
    caplog.clear()
    for loader in (stream.loader(), stream.loader()):
        assert len(loader) == len(list(loader)) == len(list(loader)) == 48
    [record] = caplog.records
    assert record.getMessage() == (
        "rows: packs fill 34.4% of the batches of an epoch, and padding fills the rest: the 4 lanes have 3 to 24 "
        "packs, and 12 batches of 2 each; set fewer lanes or a smaller batch_size (to train, also shuffle: true or "
        "epochs: null)"
    )


@pytest.mark.parametrize("changes", [{"lanes": 1}, {"collator_config": {"method": "padding_free"}}, {"lanes": 3}])
def test_little_padding_is_no_warning(changes: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    stream = uneven_stream(**changes)
    caplog.clear()
    list(stream.loader())
    assert caplog.text == ""


@pytest.mark.parametrize(("num_workers", "persistent"), [(0, False), (2, False), (2, True)])
def test_the_next_for_continues_with_the_next_epoch(num_workers: int, persistent: bool) -> None:
    loader = make_stream().loader(num_workers=num_workers, persistent_workers=persistent)
    epochs = [rows_of_batches(loader) for _ in range(3)]
    assert [Counter(rows) for rows in epochs] == [ALL_ROWS] * 3
    assert len(set(map(tuple, epochs))) == 3


@pytest.mark.parametrize(
    "num_workers", [0, pytest.param(2, marks=pytest.mark.xfail(strict=True, reason="new workers start at epoch 0"))]
)
def test_a_plain_dataloader_continues_with_the_next_epoch(num_workers: int) -> None:
    stream = make_stream()
    loader = DataLoader(stream, batch_size=2, collate_fn=stream.collator, num_workers=num_workers)
    epochs = [rows_of_batches(loader) for _ in range(3)]
    assert [Counter(rows) for rows in epochs] == [ALL_ROWS] * 3
    assert len(set(map(tuple, epochs))) == 3


@pytest.mark.parametrize("epochs", [1, None])
@pytest.mark.parametrize("method", [None, "fork", "forkserver", pytest.param("spawn", marks=pytest.mark.slow)])
def test_the_error_of_a_bad_row_reaches_the_training_process(method: str | None, epochs: int | None) -> None:
    rows = [*make_rows(200), {"input": "20", "response": 5}]
    stream = make_stream(rows, shuffle=False, epochs=epochs)
    loader = stream.loader(num_workers=2 if method else 0, multiprocessing_context=method)
    with pytest.raises(RowError, match=r"rows:200 \(epoch 0\): field 'response' must be a str, got int: 5"):
        list(loader)


def test_num_proc_is_the_default_number_of_workers() -> None:
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
def test_prefetched_batches_that_are_not_delivered_are_not_counted(num_workers: int) -> None:
    stream = make_stream(epochs=None, lanes=2)
    batches = list(islice(stream.loader(num_workers=num_workers), 4))
    assert stream.stats.packs == sum(len(batch["input_ids"]) for batch in batches) == 8
    assert stream.stats.examples == len(rows_of_batches(batches))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_rows_that_are_dropped_after_the_last_batch_are_counted(num_workers: int) -> None:
    long = {"input": "20", "response": " ".join(["21"] * 60)}
    stream = make_stream([*make_rows(32), long, long], method="none", shuffle=False, lanes=1)
    assert len(list(stream.loader(num_workers=num_workers))) == 16
    assert stream.stats.dropped == {"longer_than_max_length": 2}
    assert stream.stats.rows == 34


def test_a_pipeline_and_a_stream_pickle() -> None:
    stream = make_stream()
    pipeline = pickle.loads(pickle.dumps(stream.pipeline))
    assert isinstance(pipeline, Pipeline)
    sizes = sizes_of(stream.pipeline)
    assert sizes_of(pipeline) == sizes
    other = pickle.loads(pickle.dumps(stream))
    assert isinstance(other, SFTStream)
    assert sum(pack.num_tokens for pack in other) == sum(sum(pack) for batch in sizes for pack in batch)


def sizes_of(pipeline: Pipeline) -> list[list[list[int]]]:
    """The lengths of all examples of an epoch, pack by pack and batch by batch."""
    produced = pipeline.interleaved(Share(0), order=pipeline.order(1), first_epoch=0)
    batches = (batch.batch.packs(pipeline.source.position) for _, batch in produced)
    return [[[len(example.input_ids) for example in pack.examples] for pack in batch] for batch in batches]


# ------------------------------------------------------------------------------------------- positions


def test_each_loader_has_its_own_position_and_starts_at_the_first_epoch() -> None:
    stream = make_stream()
    first, second = stream.loader(), stream.loader()
    epoch = rows_of_batches(first)
    assert rows_of_batches(second) == epoch
    assert rows_of_batches(first) == rows_of_batches(second) != epoch


def test_iterating_the_stream_does_not_move_its_loaders() -> None:
    stream, untouched = make_stream(lanes=2), make_stream(lanes=2).loader()
    loader = stream.loader()
    assert rows_of_batches(loader) == rows_of_batches(untouched)
    list(stream)
    assert rows_of_batches(loader) == rows_of_batches(untouched)


@WORKERS
def test_the_next_for_continues_a_for_that_was_left(num_workers: int) -> None:
    whole = [rows_of_batches([batch]) for batch in make_stream(lanes=2).loader()]
    loader = make_stream(lanes=2).loader(num_workers=num_workers)
    first = [rows_of_batches([batch]) for batch in islice(loader, 3)]
    assert first + [rows_of_batches([batch]) for batch in loader] == whole


@pytest.mark.parametrize("epochs", [1, None])
def test_last_batch_info_has_the_positions_of_the_rows(epochs: int | None) -> None:
    loader = make_stream(lanes=2, epochs=epochs).loader()
    for number, batch in enumerate(islice(loader, 10)):
        info = loader.last_batch_info
        assert (info.batch, info.lane) == (number, number % 2)
        positions = [position for pack in info.positions for position in pack]
        assert [position.row for position in positions] == rows_of_batches([batch])
        assert len(info.positions) == int((batch["labels"] != -100).any(1).sum())
        assert str(positions[0]) in str(info)


@pytest.mark.parametrize("lanes", [1, 4])
def test_the_epoch_of_an_endless_stream_counts_delivered_rows_and_not_those_that_wait(lanes: int) -> None:
    stream = make_stream(make_rows(60), lanes=lanes, epochs=None, buffer_size=20)
    loader = stream.loader()
    assert loader.epoch == 0
    for number, _ in enumerate(islice(loader, 40)):
        assert loader.epoch == pytest.approx(stream.stats.examples / 60), number
    assert 1 < loader.epoch < stream.stats.rows / 60
    resumed = make_stream(make_rows(60), lanes=lanes, epochs=None, buffer_size=20).loader()
    resumed.load_state_dict(loader.state_dict())
    assert resumed.epoch == loader.epoch


# ----------------------------------------------------------------------------------------------------------- epochs


@pytest.mark.parametrize("world_size", [1, 2, 3, 6])
@pytest.mark.parametrize("epochs", [1, 2])
def test_the_length_is_exact_and_the_same_on_every_rank_and_runs_never_shrink(world_size: int, epochs: int) -> None:
    stream = make_stream(lanes=6, epochs=epochs)
    loaders = [stream.loader(rank=rank, world_size=world_size) for rank in range(world_size)]
    longest = len(loaders[0])
    for _ in range(3):
        lengths = [(len(list(loader)), len(loader)) for loader in loaders]
        assert lengths == [(lengths[0][0], lengths[0][0])] * world_size
        assert lengths[0][0] >= longest
        longest = lengths[0][0]


@pytest.mark.parametrize(("world_size", "num_workers"), [(2, 0), (3, 0), (2, 3)])
def test_ranks_together_read_each_row_once_in_the_order_of_one_process(world_size: int, num_workers: int) -> None:
    of_one_process = [rows_of_batches([batch]) for batch in make_stream(lanes=6).loader()]
    ranks = [
        make_stream(lanes=6).loader(num_workers=num_workers, rank=r, world_size=world_size) for r in range(world_size)
    ]
    batches_of_ranks = [[rows_of_batches([batch]) for batch in loader] for loader in ranks]
    assert [batch for batches in zip(*batches_of_ranks, strict=True) for batch in batches] == of_one_process
    assert Counter(row for rows in of_one_process for row in rows) == ALL_ROWS


@pytest.mark.parametrize("num_rows", [25, 40, 60, 61])
def test_every_packed_batch_is_full_and_rows_of_padding_have_no_label(num_rows: int) -> None:
    stream = make_stream(make_rows(num_rows), batch_size=5, lanes=4)
    batches = list(stream.loader())
    assert {len(batch["input_ids"]) for batch in batches} == {5}
    assert Counter(rows_of_batches(batches)) == Counter(range(num_rows))
    num_padding = 0
    for batch in batches:
        padding = (batch["input_ids"] == stream.collator.pad_token_id).all(1)
        assert not padding.all()
        assert (batch["labels"][padding] == -100).all()
        num_padding += int(padding.sum())
    assert stream.stats.packs + num_padding == 5 * len(batches)
    assert stream.stats.capacity == 5 * 32 * len(batches)


def test_an_endless_stream_has_no_length() -> None:
    loader = make_stream(epochs=None).loader()
    with pytest.raises(TypeError, match=r"a stream with epochs: null is endless and has no len\(\)"):
        len(loader)


def test_a_lane_with_fewer_examples_than_batches_is_an_error() -> None:
    # One lane has two rows in two batches, and the other lane has only one row.
    loader = make_stream(make_rows(3), lanes=2, batch_size=1, method="none").loader()
    with pytest.raises(SourceError, match=r"lane 1 of 2, epoch 0: a lane has 1 example .* 2 batches.*lower lanes"):
        len(loader)


# --------------------------------------------------------------------------------------------- workers and lanes


@pytest.mark.parametrize(("lanes", "requested", "fitting"), [(4, 3, 2), (6, 5, 3), (7, 3, 1), (2, 5, 2)])
def test_fewer_workers_are_started_with_a_warning_if_they_cannot_share_the_lanes(
    lanes: int, requested: int, fitting: int, caplog: pytest.LogCaptureFixture
) -> None:
    loader = make_stream(lanes=lanes).loader(num_workers=requested)
    assert loader.num_workers == fitting
    warning = f"with {requested} workers each cannot share {lanes} lanes evenly; {fitting} of each rank will read"
    assert f"lanes: 1 rank {warning}" in caplog.text


def test_workers_that_can_share_the_lanes_are_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    stream = make_stream(lanes=6)
    caplog.clear()
    assert [stream.loader(num_workers=number).num_workers for number in (0, 1, 2, 3, 6)] == [0, 1, 2, 3, 6]
    assert stream.loader(num_workers=3, rank=1, world_size=2).num_workers == 3
    assert caplog.text == ""


def test_ranks_that_cannot_share_the_lanes_are_an_error_that_names_valid_numbers() -> None:
    with pytest.raises(TopologyError, match="6 lanes cannot be shared evenly by 4 ranks; use 1, 2, 3, 6 ranks"):
        make_stream(lanes=6).loader(rank=0, world_size=4)


@pytest.mark.parametrize("name", ["batch_size", "shuffle", "collate_fn", "drop_last", "sampler"])
def test_arguments_that_the_config_decides_are_an_error(name: str) -> None:
    with pytest.raises(ConfigError, match=f"loader: {name} follows from the config"):
        make_stream().loader(**{name: 1})


def rows_that_kill_a_worker(number: int) -> Iterator[dict[str, Any]]:
    """Endless rows. A worker that reads row `number` is killed; the training process is not."""
    for index in count():
        if index == number and parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        yield make_rows(index % 600 + 1)[-1]


@START_METHODS
def test_the_death_of_a_worker_is_an_error_and_loses_no_delivered_batch(method: str) -> None:
    stream = make_stream(partial(rows_that_kill_a_worker, 3_000), epochs=None, lanes=2, shuffle=False)
    loader, delivered = stream.loader(num_workers=2, multiprocessing_context=method), []
    with pytest.raises(
        WorkerError, match=r"worker . of 2 .*loader\.state_dict\(\) has the position, and the next `for`"
    ):
        take_all(loader, delivered)
    assert loader.state_dict()["batch"] == len(delivered) > 0


def take_all(loader: Iterable[dict[str, Any]], delivered: list[list[int]]) -> None:
    for batch in loader:
        delivered.append(rows_of_batches([batch]))


# ------------------------------------------------------------------------------------------------------- Trainer


class Recorder(LlamaForCausalLM):
    """A Llama that records its inputs."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.seen: list[dict[str, Any]] = []

    def forward(self, input_ids: Any = None, labels: Any = None, **inputs: Any) -> Any:
        self.seen.append({"input_ids": input_ids, "labels": labels, **inputs})
        return super().forward(input_ids=input_ids, labels=labels, **inputs)


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
def test_a_trainer_passes_the_batches_to_the_model_unchanged(layout: str, num_workers: int, tmp_path: Any) -> None:
    changes: dict[str, Any] = {"collator_config": {"method": layout}, "lanes": 2, "epochs": None}
    # Dispatching cuts every tensor to the number of rows, which would cut the borders.
    arguments = {"accelerator_config": {"dispatch_batches": False}} if layout == "padding_free" else {}
    model, trainer = train(make_stream(**changes), tmp_path, num_workers=num_workers, max_steps=3, **arguments)
    assert trainer.state.global_step == 3
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 3
    assert all(0 < loss < 20 for loss in losses)
    stream = make_stream(**changes)
    expected = DataLoader(stream, batch_size=2, collate_fn=stream.collator, num_workers=num_workers)
    for seen, batch in zip(model.seen, islice(expected, 3), strict=True):
        for name, value in batch.items():
            assert torch.equal(torch.as_tensor(seen[name]), torch.as_tensor(value)), name


@pytest.mark.usefixtures("one_thread")
def test_a_trainer_with_max_steps_reads_the_rows_epoch_by_epoch(tmp_path: Any) -> None:
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
