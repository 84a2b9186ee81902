"""A Trainer evaluates streams: the loss is the mean over all labels."""

from pathlib import Path

import pytest
import torch

from samsum_stream import ConfigError
from tests.models import make_model
from tests.streams import make_rows, make_stream
from tests.training.trainers import Recorder, arguments, attached, layout_of, losses, small_stream


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

    def test_each_stream_in_the_trainers_eval_dataset_is_evaluated(self, tmp_path: Path) -> None:
        first, second = small_stream(shuffle=False), make_stream(make_rows(20), lanes=1, shuffle=False)
        trainer = Recorder(make_model("llama"), arguments(tmp_path), eval_dataset={"a": first, "b": second})
        small_stream().attach(trainer)
        metrics = trainer.evaluate()
        assert metrics["eval_a_loss"] == pytest.approx(trainer.evaluate(first)["eval_loss"])
        assert metrics["eval_b_loss"] == pytest.approx(trainer.evaluate(second)["eval_loss"])
        assert metrics["eval_a_loss"] != pytest.approx(metrics["eval_b_loss"])

    def test_evaluation_during_training_does_not_change_the_training(self, tmp_path: Path) -> None:
        plain = attached(tmp_path, small_stream(), num_train_epochs=1)
        plain.train()
        changes = {"eval_strategy": "steps", "eval_steps": 3, "num_train_epochs": 1}
        trainer = Recorder(
            make_model("llama"), arguments(tmp_path, **changes), eval_dataset=small_stream(shuffle=False)
        )
        small_stream().attach(trainer)
        trainer.train()
        assert losses(trainer) == losses(plain)

    def test_an_endless_stream_is_refused(self, tmp_path: Path) -> None:
        trainer = Recorder(make_model("llama"), arguments(tmp_path))
        with pytest.raises(ConfigError, match="evaluation needs an end; write epochs: 1"):
            small_stream().attach(trainer, eval_stream=small_stream(epochs=None))
