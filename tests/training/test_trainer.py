"""An unmodified Trainer on one process trains on the batches of the stream that is attached to it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, GenerationConfig

from samsum_stream import ConfigError, ContaminationError, SFTStream
from tests.models import make_model
from tests.streams import make_rows, make_stream, rows_of_batch
from tests.training.trainers import NUM_ROWS, Recorder, arguments, attached, layout_of, losses, small_stream


class TestBatches:
    def test_are_those_of_the_streams_own_loader(self, tmp_path: Path) -> None:
        trainer = attached(tmp_path, small_stream(), num_train_epochs=1)
        trainer.train()
        assert trainer.rows == [rows_of_batch(batch) for batch in small_stream().loader()]

    def test_come_from_workers_if_the_trainer_has_workers(self, tmp_path: Path) -> None:
        trainer = attached(tmp_path, small_stream(), num_train_epochs=1, dataloader_num_workers=2)
        trainer.train()
        assert trainer.rows == [rows_of_batch(batch) for batch in small_stream().loader()]
        assert trainer.get_train_dataloader().loader.num_workers == 2

    def test_have_the_size_in_the_config(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        trainer = attached(tmp_path, small_stream(batch_size=3), max_steps=2)
        assert trainer.args.per_device_train_batch_size == 3
        assert "per_device_train_batch_size was 8 and is now 3, the batch_size of the config" in caplog.text
        trainer.train()
        assert trainer.state.train_batch_size == 3

    def test_have_the_trainers_size_if_the_config_has_none(self, tmp_path: Path) -> None:
        config = {
            "tokenizer_config": {"backend": "hf"},
            "packing_config": {"kwargs": {"max_length": 32}},
            "collator_config": {"kwargs": {"attention": "position_ids"}},
            "lanes": 1,
        }
        tokenizer = make_stream().tokenizer
        for size in (4, 5):
            stream = SFTStream.from_config(config, rows=make_rows(NUM_ROWS), tokenizer=tokenizer)
            trainer = attached(tmp_path, stream, max_steps=2, per_device_train_batch_size=size)
            assert next(iter(trainer.get_train_dataloader()))["input_ids"].shape == (size, 32)

    def test_and_epochs_of_the_trainer_leave_the_stream_unchanged(self, tmp_path: Path) -> None:
        stream = small_stream(epochs=None)
        trainer = attached(tmp_path, stream, num_train_epochs=2, per_device_train_batch_size=2)
        assert trainer.get_train_dataloader().loader.pipeline.epochs == 2
        assert stream.pipeline.epochs is None
        trainer.train()
        assert stream.stats.rows == 2 * NUM_ROWS

    def test_are_exact_on_the_trainers_model(self, tmp_path: Path) -> None:
        auto = {"method": "packed"}
        trainer = attached(tmp_path, small_stream(collator_config=auto), model="opt", max_steps=2)
        assert "attention_mask" in next(iter(trainer.get_train_dataloader()))
        with pytest.raises(ContaminationError, match="padded"):
            attached(tmp_path, small_stream(collator_config=auto), model="mamba", max_steps=2)

    def test_are_trained_without_a_cache(self, tmp_path: Path) -> None:
        assert not attached(tmp_path, small_stream(), max_steps=2, use_cache=True).model.config.use_cache


@pytest.mark.parametrize("layout", ["packed", "padded", "padding_free"])
def test_the_loss_of_a_step_is_the_mean_over_its_labels_with_accumulation(layout: str, tmp_path: Path) -> None:
    accumulating, single = (
        attached(
            tmp_path,
            small_stream(collator_config=layout_of(layout), shuffle=False),
            max_steps=1,
            gradient_accumulation_steps=number,
            max_grad_norm=0.0,
        )
        for number in (4, 1)
    )
    accumulating.train()
    model = make_model("llama").train()
    model.config.use_cache = False
    batches = [batch for batch, _ in zip(single.get_train_dataloader(), range(4), strict=False)]
    num_labels = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in batches)
    with torch.no_grad():
        expected = sum(model(**batch, num_items_in_batch=num_labels).loss.item() for batch in batches)
    assert losses(accumulating)[0][2] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("trainer", "stream", "message"),
    [
        ({"auto_find_batch_size": True}, {}, "auto_find_batch_size: must be false"),
        ({}, {"ignore_index": -7}, "ignore_index: must be -100, the value that the Trainer expects, got -7"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    trainer: dict[str, Any], stream: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        attached(tmp_path, small_stream(**stream), **trainer)


def test_another_object_and_an_attached_trainer_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="attach takes a transformers.Trainer"):
        small_stream().attach("trainer")  # type: ignore[arg-type]
    trainer = attached(tmp_path, small_stream())
    with pytest.raises(ConfigError, match="this trainer has a stream already"):
        small_stream().attach(trainer)


def test_an_eval_stream_must_be_another_stream(tmp_path: Path) -> None:
    trainer, stream = Recorder(make_model("llama"), arguments(tmp_path)), small_stream()
    with pytest.raises(ConfigError, match="eval_stream must be an SFTStream; got a list"):
        stream.attach(trainer, eval_stream=[])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="cannot be the evaluation stream; make another stream"):
        stream.attach(trainer, eval_stream=stream)


def test_what_the_trainer_was_given_for_its_own_data_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small_stream().attach(Recorder(make_model("llama"), arguments(tmp_path)))
    assert "have no effect" not in caplog.text
    given = {"data_seed": 1, "dataloader_drop_last": True, "train_sampling_strategy": "group_by_length"}
    settings = arguments(tmp_path, **given)
    trainer = Recorder(make_model("llama"), settings, train_dataset=[{"input_ids": [1]}], data_collator=list)
    small_stream().attach(trainer)
    [text] = [record.getMessage() for record in caplog.records if "have no effect" in record.getMessage()]
    assert text.endswith(": train_dataset, data_collator, data_seed, train_sampling_strategy, dataloader_drop_last")


def test_a_checkpoint_has_the_tokenizer_of_the_stream(tmp_path: Path) -> None:
    stream = small_stream()
    attached(tmp_path, stream, max_steps=1, save_strategy="steps", save_steps=1).train()
    checkpoint = tmp_path / "checkpoint-1"
    assert AutoTokenizer.from_pretrained(checkpoint).get_vocab() == stream.tokenizer.get_vocab()
    generation = GenerationConfig.from_pretrained(checkpoint)
    eos = generation.eos_token_id if isinstance(generation.eos_token_id, list) else [generation.eos_token_id]
    assert stream.tokenizer.eos_token_id in eos


def test_arguments_that_change_after_attach_take_effect(tmp_path: Path) -> None:
    trainer = attached(tmp_path, small_stream(batch_size=2), num_train_epochs=1)
    trainer.args.num_train_epochs, trainer.args.gradient_accumulation_steps = 2, 2
    trainer.train()
    rows = [row for batch in trainer.rows for row in batch]
    assert sorted(rows) == sorted([*range(NUM_ROWS)] * 2)
    trainer.args.neftune_noise_alpha = 5.0
    with pytest.raises(ConfigError, match="neftune_noise_alpha"):
        trainer.train()


def test_no_stream_is_measured_if_attach_says_so(tmp_path: Path) -> None:
    trainer = Recorder(make_model("opt"), arguments(tmp_path, max_steps=1))
    evaluated = make_stream(make_rows(10), epochs=1, collator_config=layout_of("packed"))
    small_stream().attach(trainer, eval_stream=evaluated, measure=False)
    trainer.train()
    trainer.evaluate()
    assert not trainer.model.config.use_cache
    with pytest.raises(ContaminationError):
        evaluated.loader(model=trainer.model)
