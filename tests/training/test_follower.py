"""A Trainer resumes at its position in the data, and logs data metrics."""

import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from transformers import Trainer, TrainerCallback

from samsum_stream import StateError
from samsum_stream.inspection.trace import read_state, trace_batch
from tests.models import make_model
from tests.streams import make_rows, make_stream
from tests.training.trainers import NUM_ROWS, Recorder, arguments, attached, layout_of, losses, small_stream


class TestResume:
    """From the Trainer's checkpoint, without other settings."""

    @pytest.mark.parametrize("layout", ["packed", "padded", "padding_free"])
    @pytest.mark.parametrize("changes", [{"num_train_epochs": 2.5}, {"max_steps": 30}])
    def test_rows_and_losses_are_those_of_an_uninterrupted_run(
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

    def test_a_second_resume_continues_after_the_first(self, tmp_path: Path) -> None:
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

    def test_works_if_the_trainer_creates_its_callbacks_again(self, tmp_path: Path) -> None:
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
            recorder = Recorder(
                make_model("llama"), arguments(tmp_path, **changes), eval_dataset=small_stream(shuffle=False)
            )
            small_stream().attach(recorder)
            return recorder

        whole = trainer()
        whole.train()
        first = min(tmp_path.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
        step = int(first.name.split("-")[1])
        resumed = trainer()
        resumed.train(resume_from_checkpoint=str(first))
        assert resumed.rows == whole.rows[step:]

    def test_the_position_of_a_callback_that_saves_is_that_of_its_step(self, tmp_path: Path) -> None:
        """The callback may have been added after the callbacks of the stream."""
        trainer = attached(tmp_path, small_stream(), num_train_epochs=1)
        trainer.add_callback(SaveAt(5))
        trainer.train()
        state = json.loads((tmp_path / "checkpoint-5" / "trainer_state.json").read_text())
        assert state["stateful_callbacks"]["DataPosition"]["attributes"]["position"]["batch"] == 5

    def test_more_epochs_continue_after_the_end_of_fewer(self, tmp_path: Path) -> None:
        saves = {"save_strategy": "epoch"}
        first = attached(tmp_path, small_stream(), **saves, num_train_epochs=1)
        first.train()
        num_steps = first.state.global_step
        more = attached(tmp_path, small_stream(), **saves, num_train_epochs=2)
        more.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{num_steps}"))
        assert sorted(chain.from_iterable(more.rows)) == list(range(NUM_ROWS))
        assert more.rows != first.rows
        assert more.state.epoch == 2

    def test_another_stream_is_refused_with_the_difference(self, tmp_path: Path) -> None:
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


def test_logs_have_data_metrics(tmp_path: Path) -> None:
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


def test_with_epochs_a_step_must_have_the_same_number_of_batches_after_a_restart(tmp_path: Path) -> None:
    saves = {"save_strategy": "steps", "save_steps": 2, "num_train_epochs": 2}
    attached(tmp_path, small_stream(), **saves).train()
    other = attached(tmp_path, small_stream(), gradient_accumulation_steps=4, **saves)
    with pytest.raises(StateError, match=r"a step had 2 packs .* and has 8 now, .*; keep the product"):
        other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


def test_the_rows_after_a_checkpoint_can_be_traced(tmp_path: Path) -> None:
    """The Trainer has other epochs than the config."""
    trainer = attached(tmp_path, small_stream(), max_steps=6, save_strategy="steps", save_steps=3)
    trainer.train()
    state = read_state(tmp_path / "checkpoint-3")
    for batch in (3, 4, 5):
        info = trace_batch(small_stream(epochs=2), batch, state=state)
        assert sorted(position.row for pack in info.positions for position in pack) == sorted(trainer.rows[batch])


class TestOtherMicroBatches:
    """A run continues with another micro-batch size and accumulation: each step has the same documents."""

    @pytest.mark.parametrize(
        ("layout", "size", "changes"),
        [
            ("packed", 1, {"num_train_epochs": 2}),
            ("packed", 8, {"max_steps": 12}),
            ("padded", 1, {"num_train_epochs": 2}),
            ("padded", 2, {"max_steps": 12}),
            ("padding_free", 8, {"num_train_epochs": 2}),
        ],
    )
    def test_the_steps_are_those_of_the_same_run(
        self, layout: str, size: int, changes: dict[str, Any], tmp_path: Path
    ) -> None:
        def trainer(batch_size: int) -> Recorder:
            stream = small_stream(batch_size=batch_size, collator_config=layout_of(layout))
            saves = {"save_strategy": "steps", "save_steps": 2, "gradient_accumulation_steps": 8 // batch_size}
            return attached(tmp_path, stream, **saves, **changes)

        whole = trainer(4)
        whole.train()
        num_steps = whole.state.global_step
        other = trainer(size)
        other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
        require_same_steps(other, whole)
        assert rows_of_steps(other, 8 // size) == rows_of_steps(whole, 2)[2:]
        assert other.state.global_step == num_steps
        again = trainer(4)  # from a checkpoint of the run with other micro-batches
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
        require_same_steps(again, whole)
        assert rows_of_steps(again, 2) == rows_of_steps(whole, 2)[4:]

    def test_another_product_is_refused(self, tmp_path: Path) -> None:
        saves = {"save_strategy": "steps", "save_steps": 2, "num_train_epochs": 2}
        attached(tmp_path, small_stream(batch_size=4), **saves, gradient_accumulation_steps=2).train()
        other = attached(tmp_path, small_stream(batch_size=2), **saves, gradient_accumulation_steps=2)
        with pytest.raises(StateError, match=r"a step had 8 packs .* and has 4 now, .*; keep the product"):
            other.train(resume_from_checkpoint=True)

    def test_an_endless_run_may_have_another_product_of_whole_batches(self, tmp_path: Path) -> None:
        saves = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
        first = attached(tmp_path, small_stream(batch_size=4), **saves, gradient_accumulation_steps=2)
        first.train()
        other = attached(tmp_path, small_stream(batch_size=2), **saves, gradient_accumulation_steps=2)
        other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
        assert rows_of_steps(other, 4) == rows_of_steps(first, 2)[2:3]
        half = attached(tmp_path, small_stream(batch_size=2), **saves)
        with pytest.raises(StateError, match="a step has 2 packs of each rank, .* must be a multiple of 4"):
            half.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))

    def test_a_size_that_does_not_fit_is_refused(self, tmp_path: Path) -> None:
        saves = {"save_strategy": "steps", "save_steps": 2, "max_steps": 8}
        attached(tmp_path, small_stream(batch_size=4), **saves).train()
        other = attached(tmp_path, small_stream(batch_size=3), **saves)
        with pytest.raises(StateError, match="per_device_train_batch_size is 3 .* batches of 4 packs.* multiple of 4"):
            other.train(resume_from_checkpoint=True)

    def test_a_new_run_after_a_resumed_one_has_its_own_batches(self, tmp_path: Path) -> None:
        saves = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
        attached(tmp_path, small_stream(batch_size=4), **saves, gradient_accumulation_steps=1).train()
        other = attached(tmp_path, small_stream(batch_size=2), **saves, gradient_accumulation_steps=2)
        other.train(resume_from_checkpoint=True)
        num_resumed = len(other.rows)
        other.train()
        fresh = attached(tmp_path / "fresh", small_stream(batch_size=2), max_steps=4, gradient_accumulation_steps=2)
        fresh.train()
        assert other.rows[num_resumed:] == fresh.rows


def rows_of_steps(trainer: Recorder, accumulation: int) -> list[list[int]]:
    """The rows of each step; a row that is in several micro-batches counts once."""
    starts = range(0, len(trainer.rows), accumulation)
    return [sorted({*chain.from_iterable(trainer.rows[start : start + accumulation])}) for start in starts]


def require_same_steps(trainer: Recorder, whole: Recorder) -> None:
    for (step, epoch, loss), (other_step, other_epoch, expected) in zip(losses(trainer), losses(whole), strict=True):
        assert (step, epoch) == (other_step, pytest.approx(other_epoch))
        assert loss == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ({"num_train_epochs": 2}, {"max_steps": 9}, "trained with num_train_epochs, and this run has max_steps: their"),
        ({"max_steps": 9}, {"num_train_epochs": 2}, "trained with max_steps, and this run has num_train_epochs: their"),
        ({"num_train_epochs": 2}, {"num_train_epochs": 1}, "num_train_epochs was 2 and is 1; resume with 2, and stop"),
    ],
)
def test_another_end_is_an_error_with_the_names_of_the_trainer(
    before: dict[str, Any], after: dict[str, Any], message: str, tmp_path: Path
) -> None:
    saves = {"save_strategy": "steps", "save_steps": 3}
    attached(tmp_path, small_stream(), **saves, **before).train()
    with pytest.raises(StateError, match=message):
        attached(tmp_path, small_stream(), **saves, **after).train(
            resume_from_checkpoint=str(tmp_path / "checkpoint-3")
        )
