"""An unmodified Trainer on one process follows the stream: batches, epochs, checkpoints, logs and evaluation."""

import json
import math
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from samsum_stream import ConfigError, ContaminationError, SFTStream, StateError
from samsum_stream.inspection.trace import read_state, trace_batch
from tests.models import make_model, one_thread
from tests.streams import make_rows, make_stream, rows_of_batch

NUM_ROWS = 60


@pytest.fixture(autouse=True)
def single_thread() -> Iterator[None]:
    with one_thread():
        yield


class Recorder(Trainer):
    """A Trainer of the user's own, which remembers what it was given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rows: list[list[int]] = []

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        self.rows.append(rows_of_batch(inputs))
        return super().training_step(model, inputs, *args, **kwargs)


def arguments(folder: Path, **changes: Any) -> TrainingArguments:
    own = {
        "output_dir": str(folder),
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
    }
    return TrainingArguments(**{**own, **changes})


def small_stream(**changes: Any) -> SFTStream:
    """With the attention said, since a measurement may find another one as fast from run to run."""
    return make_stream(make_rows(NUM_ROWS), **{"lanes": 2, "collator_config": layout_of("packed"), **changes})


def layout_of(name: str) -> dict[str, Any]:
    return {"method": name, "kwargs": {"attention": "position_ids"} if name == "packed" else {}}


def attached(folder: Path, stream: SFTStream, *, model: str = "llama", **changes: Any) -> Recorder:
    trainer = Recorder(make_model(model), arguments(folder, **changes))
    stream.attach(trainer)
    return trainer


def losses(trainer: Trainer) -> list[tuple[int, float, float]]:
    return [(log["step"], log["epoch"], log["loss"]) for log in trainer.state.log_history if "loss" in log]


def rows_of_epochs(trainer: Recorder, num_batches: int) -> list[list[int]]:
    """The rows of each epoch, sorted."""
    starts = range(0, len(trainer.rows), num_batches)
    return [sorted(chain.from_iterable(trainer.rows[start : start + num_batches])) for start in starts]


class TestEpochs:
    def test_each_row_is_trained_once_an_epoch_and_the_lengths_are_exact(self, tmp_path: Path) -> None:
        trainer = attached(tmp_path, small_stream(), num_train_epochs=2)
        trainer.train()
        num_batches = len(trainer.get_train_dataloader())
        assert rows_of_epochs(trainer, num_batches) == [list(range(NUM_ROWS))] * 2
        assert trainer.state.global_step == trainer.state.max_steps == 2 * num_batches
        assert [epoch for _, epoch, _ in losses(trainer)] == pytest.approx(
            [step / num_batches for step in range(1, 2 * num_batches + 1)]
        )

    def test_a_fraction_of_an_epoch_just_works(self, tmp_path: Path) -> None:
        trainer = attached(tmp_path, small_stream(), num_train_epochs=1.5)
        trainer.train()
        num_batches = len(trainer.get_train_dataloader())
        assert trainer.state.global_step == math.ceil(1.5 * num_batches)
        assert trainer.state.epoch == pytest.approx(trainer.state.global_step / num_batches)

    @pytest.mark.parametrize("accumulation", [2, 5])
    def test_accumulation_never_sees_a_partial_window(self, accumulation: int, tmp_path: Path) -> None:
        """As it would where an epoch had a number of batches that the window does not divide."""
        stream = small_stream(lanes=1)
        assert len(stream.loader()) % accumulation
        trainer = attached(tmp_path, stream, num_train_epochs=2, gradient_accumulation_steps=accumulation)
        trainer.train()
        num_batches = len(trainer.get_train_dataloader())
        assert num_batches % accumulation == 0
        assert len(trainer.rows) == accumulation * trainer.state.global_step
        assert rows_of_epochs(trainer, num_batches) == [list(range(NUM_ROWS))] * 2

    def test_max_steps_mean_a_stream_without_an_end(self, tmp_path: Path) -> None:
        stream = small_stream()
        trainer = attached(tmp_path, stream, max_steps=40)
        trainer.train()
        assert trainer.state.global_step == 40
        assert trainer.state.epoch == pytest.approx(stream.stats.rows / NUM_ROWS)
        assert trainer.state.epoch > 1
        assert stream.pipeline.epochs is None

    def test_training_twice_starts_from_the_beginning_twice(self, tmp_path: Path) -> None:
        trainer = attached(tmp_path, small_stream(), num_train_epochs=1)
        trainer.train()
        first = list(trainer.rows)
        trainer.train()
        assert trainer.rows == first * 2


class TestBatches:
    def test_are_those_of_the_streams_own_loader(self, tmp_path: Path) -> None:
        trainer = attached(tmp_path, small_stream(), num_train_epochs=1)
        trainer.train()
        assert trainer.rows == [rows_of_batch(batch) for batch in small_stream().loader()]

    def test_come_from_workers_where_the_trainer_says_so(self, tmp_path: Path) -> None:
        trainer = attached(tmp_path, small_stream(), num_train_epochs=1, dataloader_num_workers=2)
        trainer.train()
        assert trainer.rows == [rows_of_batch(batch) for batch in small_stream().loader()]
        assert trainer.get_train_dataloader().loader.num_workers == 2

    def test_have_the_size_that_the_config_says(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        trainer = attached(tmp_path, small_stream(batch_size=3), max_steps=2)
        assert trainer.args.per_device_train_batch_size == 3
        assert "per_device_train_batch_size was 8 and is 3 now, as batch_size in the config says" in caplog.text
        trainer.train()
        assert trainer.state.train_batch_size == 3

    def test_have_the_trainers_size_where_the_config_says_none(self, tmp_path: Path) -> None:
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
    together, apart = (
        attached(
            tmp_path,
            small_stream(collator_config=layout_of(layout), shuffle=False),
            max_steps=1,
            gradient_accumulation_steps=number,
            max_grad_norm=0.0,
        )
        for number in (4, 1)
    )
    together.train()
    model = make_model("llama").train()
    model.config.use_cache = False
    batches = [batch for batch, _ in zip(apart.get_train_dataloader(), range(4), strict=False)]
    num_labels = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in batches)
    with torch.no_grad():
        expected = sum(model(**batch, num_items_in_batch=num_labels).loss.item() for batch in batches)
    assert losses(together)[0][2] == pytest.approx(expected, rel=1e-5)


class TestResume:
    """From the Trainer's own checkpoint, with nothing else to be set."""

    @pytest.mark.parametrize("layout", ["packed", "padded", "padding_free"])
    @pytest.mark.parametrize("changes", [{"num_train_epochs": 2.5}, {"max_steps": 30}])
    def test_rows_and_losses_are_those_of_a_run_without_a_break(
        self, changes: dict[str, Any], layout: str, tmp_path: Path
    ) -> None:
        def trainer() -> Recorder:
            stream = small_stream(collator_config=layout_of(layout))
            saves = {"save_strategy": "steps", "save_steps": 4, "gradient_accumulation_steps": 2, "seed": 3}
            return attached(tmp_path, stream, **saves, **changes)

        whole = trainer()
        whole.train()
        assert whole.state.global_step > 12
        for step in (4, 12):
            resumed = trainer()
            resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
            assert losses(resumed) == losses(whole)
            assert resumed.rows == whole.rows[2 * step :]
            assert resumed.state.epoch == whole.state.epoch

    def test_a_second_resume_goes_on_from_the_first(self, tmp_path: Path) -> None:
        saves = {"save_strategy": "steps", "save_steps": 3, "num_train_epochs": 2}
        whole = attached(tmp_path / "whole", small_stream(), **saves)
        whole.train()
        stopped = attached(tmp_path / "a", small_stream(), **saves)
        stopped.add_callback(StopAt(4))
        stopped.train()
        again = attached(tmp_path / "a", small_stream(), **saves)
        again.add_callback(StopAt(8))
        again.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-3"))
        last = attached(tmp_path / "a", small_stream(), **saves)
        last.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-6"))
        assert last.rows == whole.rows[6:]
        assert losses(last) == losses(whole)

    def test_goes_on_where_the_trainer_makes_its_callbacks_anew(self, tmp_path: Path) -> None:
        saves = {"save_strategy": "steps", "save_steps": 3, "num_train_epochs": 1}
        whole = attached(tmp_path, small_stream(), **saves)
        whole.train()
        resumed = attached(tmp_path, small_stream(), **saves, restore_callback_states_from_checkpoint=True)
        resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
        assert resumed.rows == whole.rows[3:]
        again = attached(tmp_path, small_stream(), **saves)
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
        assert again.rows == whole.rows[6:]

    @pytest.mark.parametrize("strategy", ["epoch", "best"])
    def test_a_checkpoint_of_an_epochs_end_or_of_the_best_loss_has_its_position(
        self, strategy: str, tmp_path: Path
    ) -> None:
        evaluation = {"eval_strategy": "steps", "eval_steps": 5, "metric_for_best_model": "loss"}
        changes = {"save_strategy": strategy, "num_train_epochs": 2, **(evaluation if strategy == "best" else {})}

        def trainer() -> Recorder:
            made = Recorder(
                make_model("llama"), arguments(tmp_path, **changes), eval_dataset=small_stream(shuffle=False)
            )
            small_stream_attached = small_stream()
            small_stream_attached.attach(made)
            return made

        whole = trainer()
        whole.train()
        places = sorted(tmp_path.glob("checkpoint-*"), key=lambda place: int(place.name.split("-")[1]))
        step = int(places[0].name.split("-")[1])
        resumed = trainer()
        resumed.train(resume_from_checkpoint=str(places[0]))
        assert resumed.rows == whole.rows[step:]

    def test_the_position_of_a_callback_that_saves_is_that_of_its_step(self, tmp_path: Path) -> None:
        """It may have been added behind ours."""
        trainer = attached(tmp_path, small_stream(), num_train_epochs=1)
        trainer.add_callback(SaveAt(5))
        trainer.train()
        kept = json.loads((tmp_path / "checkpoint-5" / "trainer_state.json").read_text())
        assert kept["stateful_callbacks"]["DataPosition"]["attributes"]["position"]["batch"] == 5

    def test_more_epochs_go_on_where_fewer_ended(self, tmp_path: Path) -> None:
        saves = {"save_strategy": "epoch"}
        first = attached(tmp_path, small_stream(), **saves, num_train_epochs=1)
        first.train()
        num_steps = first.state.global_step
        more = attached(tmp_path, small_stream(), **saves, num_train_epochs=2)
        more.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{num_steps}"))
        assert sorted(chain.from_iterable(more.rows)) == list(range(NUM_ROWS))
        assert more.rows != first.rows
        assert more.state.epoch == 2

    def test_another_stream_is_refused_with_what_differs(self, tmp_path: Path) -> None:
        saves = {"save_strategy": "steps", "save_steps": 3, "num_train_epochs": 1}
        attached(tmp_path, small_stream(), **saves).train()
        other = attached(tmp_path, small_stream(seed=5), **saves)
        with pytest.raises(StateError, match="seed was 0 and is 5"):
            other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))

    def test_a_checkpoint_of_a_trainer_without_a_stream_is_refused(self, tmp_path: Path) -> None:
        plain = Trainer(make_model("llama"), arguments(tmp_path, max_steps=4, save_strategy="steps", save_steps=2))
        plain.get_train_dataloader = lambda: small_stream(epochs=None).loader()  # type: ignore[method-assign]
        plain.train()
        trainer = attached(tmp_path, small_stream(), max_steps=8)
        with pytest.raises(StateError, match="the checkpoint of step 4 has no position in the data"):
            trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))


class StopAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop |= state.global_step == self.step


class SaveAt(StopAt):
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_save |= state.global_step == self.step


def test_logs_say_what_the_data_is_like(tmp_path: Path) -> None:
    rows = [*make_rows(NUM_ROWS), {"input": "20", "response": "20 " * 50}]
    stream = make_stream(rows, lanes=1)
    trainer = attached(tmp_path, stream, num_train_epochs=1)
    trainer.train()
    logs = [log for log in trainer.state.log_history if "loss" in log]
    assert {name for name in logs[-1] if name.startswith("data/")} == {
        f"data/{name}"
        for name in (
            "efficiency", "padding", "rows_dropped", "rows_skipped", "rows_truncated", "seconds_waited",
            "seconds_waited_for_files", "tokens_per_second", "trained_share",
        )
    }  # fmt: skip
    last = logs[-1]
    assert (last["data/rows_dropped"], last["data/rows_truncated"]) == (1, 0)
    assert last["data/efficiency"] == pytest.approx(1 - last["data/padding"]) == stream.stats.efficiency
    assert last["data/trained_share"] == stream.stats.trained_tokens / stream.stats.tokens
    assert last["data/tokens_per_second"] > 0
    assert 0 < last["data/seconds_waited"] <= stream.stats.seconds_waited
    assert last["data/seconds_waited_for_files"] == 0


class TestEvaluation:
    @pytest.mark.parametrize("layout", ["packed", "padded", "padding_free"])
    def test_the_loss_is_the_mean_over_all_labels(self, layout: str, tmp_path: Path) -> None:
        evaluated = small_stream(shuffle=False, collator_config=layout_of(layout), batch_size=3)
        trainer = Recorder(make_model("llama"), arguments(tmp_path, max_steps=1))
        small_stream().attach(trainer, eval_stream=evaluated)
        model = make_model("llama").eval()
        total, count = 0.0, 0
        for batch in evaluated.loader():
            labels = int((batch["labels"][:, 1:] != -100).sum())
            with torch.no_grad():
                total += model(**batch, use_cache=False).loss.item() * labels
            count += labels
        assert trainer.evaluate()["eval_loss"] == pytest.approx(total / count, rel=1e-6)

    def test_a_stream_is_evaluated_wherever_the_trainer_has_it(self, tmp_path: Path) -> None:
        first, second = small_stream(shuffle=False), make_stream(make_rows(20), lanes=1, shuffle=False)
        trainer = Recorder(make_model("llama"), arguments(tmp_path), eval_dataset={"a": first, "b": second})
        small_stream().attach(trainer)
        metrics = trainer.evaluate()
        assert metrics["eval_a_loss"] == pytest.approx(trainer.evaluate(first)["eval_loss"])
        assert metrics["eval_b_loss"] == pytest.approx(trainer.evaluate(second)["eval_loss"])
        assert metrics["eval_a_loss"] != pytest.approx(metrics["eval_b_loss"])

    def test_evaluating_in_between_does_not_move_the_training(self, tmp_path: Path) -> None:
        plain = attached(tmp_path, small_stream(), num_train_epochs=1)
        plain.train()
        changes = {"eval_strategy": "steps", "eval_steps": 3, "num_train_epochs": 1}
        trainer = Recorder(
            make_model("llama"), arguments(tmp_path, **changes), eval_dataset=small_stream(shuffle=False)
        )
        small_stream().attach(trainer)
        trainer.train()
        assert losses(trainer) == losses(plain)

    def test_a_stream_without_an_end_is_refused(self, tmp_path: Path) -> None:
        trainer = Recorder(make_model("llama"), arguments(tmp_path))
        with pytest.raises(ConfigError, match="evaluation needs an end; write epochs: 1"):
            small_stream().attach(trainer, eval_stream=small_stream(epochs=None))


@pytest.mark.parametrize(
    ("trainer", "stream", "message"),
    [
        ({"auto_find_batch_size": True}, {}, "auto_find_batch_size: smaller batches would be others"),
        ({}, {"ignore_index": -7}, "ignore_index: the Trainer counts labels that are not -100, and the config says -7"),
    ],
)
def test_what_cannot_fit_together_is_refused(
    trainer: dict[str, Any], stream: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        attached(tmp_path, small_stream(**stream), **trainer)


def test_what_is_no_trainer_and_what_is_attached_already_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="attach takes a transformers.Trainer"):
        small_stream().attach("trainer")  # type: ignore[arg-type]
    trainer = attached(tmp_path, small_stream())
    with pytest.raises(ConfigError, match="attached to this trainer already"):
        small_stream().attach(trainer)


def test_what_is_no_other_stream_is_not_evaluated(tmp_path: Path) -> None:
    trainer, stream = Recorder(make_model("llama"), arguments(tmp_path)), small_stream()
    with pytest.raises(ConfigError, match="eval_stream must be an SFTStream; got a list"):
        stream.attach(trainer, eval_stream=[])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="cannot be the one that is evaluated; make another one"):
        stream.attach(trainer, eval_stream=stream)


def test_with_epochs_a_step_has_as_many_batches_after_a_restart(tmp_path: Path) -> None:
    saves = {"save_strategy": "steps", "save_steps": 2, "num_train_epochs": 2}
    attached(tmp_path, small_stream(), **saves).train()
    other = attached(tmp_path, small_stream(), gradient_accumulation_steps=4, **saves)
    with pytest.raises(StateError, match=r"a step was 1 batches .* and is 4 now, .*; keep the product"):
        other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


def test_a_checkpoint_says_which_rows_follow_it(tmp_path: Path) -> None:
    """Also where the Trainer decided on other epochs than the config."""
    trainer = attached(tmp_path, small_stream(), max_steps=6, save_strategy="steps", save_steps=3)
    trainer.train()
    state = read_state(tmp_path / "checkpoint-3")
    for batch in (3, 4, 5):
        info = trace_batch(small_stream(epochs=2), batch, state=state)
        assert sorted(position.row for pack in info.positions for position in pack) == sorted(trainer.rows[batch])


def test_a_tokenizer_that_is_not_the_models_is_told(tmp_path: Path) -> None:
    model = make_model("llama")
    model.resize_token_embeddings(20)
    with pytest.raises(ConfigError, match=r"gives the id \d+, and LlamaForCausalLM has a vocabulary of 20"):
        small_stream().loader(model=model)
