"""The epochs of a Trainer: each row once, exact lengths, whole windows of accumulation."""

import math
from itertools import chain
from pathlib import Path

import pytest

from tests.training.trainers import NUM_ROWS, Recorder, attached, losses, small_stream


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

    def test_a_fraction_of_an_epoch_works(self, tmp_path: Path) -> None:
        trainer = attached(tmp_path, small_stream(), num_train_epochs=1.5)
        trainer.train()
        num_batches = len(trainer.get_train_dataloader())
        assert trainer.state.global_step == math.ceil(1.5 * num_batches)
        assert trainer.state.epoch == pytest.approx(trainer.state.global_step / num_batches)

    @pytest.mark.parametrize("accumulation", [2, 5])
    def test_accumulation_never_sees_a_partial_window(self, accumulation: int, tmp_path: Path) -> None:
        """The epoch of the stream has a number of batches that the window does not divide."""
        stream = small_stream(lanes=1)
        assert len(stream.loader()) % accumulation
        trainer = attached(tmp_path, stream, num_train_epochs=2, gradient_accumulation_steps=accumulation)
        trainer.train()
        num_batches = len(trainer.get_train_dataloader())
        assert num_batches % accumulation == 0
        assert len(trainer.rows) == accumulation * trainer.state.global_step
        assert rows_of_epochs(trainer, num_batches) == [list(range(NUM_ROWS))] * 2

    def test_max_steps_make_the_stream_endless(self, tmp_path: Path) -> None:
        stream = small_stream()
        trainer = attached(tmp_path, stream, max_steps=40)
        trainer.train()
        assert trainer.state.global_step == 40
        assert trainer.state.epoch == pytest.approx(stream.stats.examples / NUM_ROWS)  # delivered rows, none waits
        assert trainer.state.epoch > 1
        assert trainer.get_train_dataloader().loader.pipeline.epochs is None

    def test_training_twice_starts_from_the_beginning_twice(self, tmp_path: Path) -> None:
        trainer = attached(tmp_path, small_stream(), num_train_epochs=1)
        trainer.train()
        first = list(trainer.rows)
        trainer.train()
        assert trainer.rows == first * 2
