"""A Trainer evaluates streams: the loss is the mean over all labels, and `compute_metrics` sees each row once."""

import functools
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch.nn.functional import cross_entropy, log_softmax
from torch.overrides import TorchFunctionMode
from transformers import Trainer

from samsum_stream import ConfigError, SFTStream
from tests.jobs.evaluation import CASES, SMALL, TOO_SMALL, Case, Recorder, evaluate
from tests.jobs.killing import Jobs
from tests.models import make_model
from tests.streams import labels_of_row, make_rows, make_stream, tokens_of_row
from tests.training.trainers import NUM_ROWS, arguments, attached, layout_of, losses, small_stream
from tests.training.trainers import Recorder as RowRecorder

SMOOTHING = 0.2
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def eval_stream(num_rows: int = NUM_ROWS, **changes: Any) -> SFTStream:
    return make_stream(make_rows(num_rows), **{"lanes": 1, "shuffle": False, "epochs": 1, **changes})


def trainer_for(folder: Path, *, kind: type[Trainer] = Trainer, **changes: Any) -> Trainer:
    """An attached Trainer; changes that `TrainingArguments` does not have are arguments of the Trainer."""
    own = {key: changes.pop(key) for key in ("eval_dataset", "compute_metrics", "compute_loss_func") if key in changes}
    trainer = kind(make_model("llama"), arguments(folder, **changes), **own)
    small_stream().attach(trainer)
    return trainer


def loss_of_documents(loss: Loss, rows: Iterable[int] = range(NUM_ROWS)) -> float:
    """The mean over all labels, from each document in a batch of its own. `loss` takes logits and their labels."""
    model, total, count = make_model("llama").eval(), 0.0, 0
    for row in rows:
        labels = torch.tensor(labels_of_row(row)[1:])
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([tokens_of_row(row)]), use_cache=False).logits[0, :-1]
        trained = labels != -100
        total += loss(logits[trained], labels[trained]).sum().item()
        count += int(trained.sum())
    return total / count


def plain(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return cross_entropy(logits, labels, reduction="none")


def smoothed(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (1 - SMOOTHING) * plain(logits, labels) - SMOOTHING * log_softmax(logits, -1).mean(-1)


def squared(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return plain(logits, labels) ** 2


def squared_mean(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """A `compute_loss_func` of a user."""
    trained = labels[:, 1:] != -100
    values = squared(outputs["logits"][:, :-1][trained], labels[:, 1:][trained])
    return values.sum() / (len(values) if num_items_in_batch is None else num_items_in_batch)


class SquaringTrainer(Trainer):
    """A user's Trainer whose loss is a mean over the batch."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        outputs = model(input_ids=inputs["input_ids"], position_ids=inputs.get("position_ids"))
        loss = squared_mean(outputs, inputs["labels"])
        return (loss, outputs) if return_outputs else loss


class TrainerWithABadBatch(Trainer):
    """Its second batch has a loss that is not a number."""

    steps: Iterator[int]

    def prediction_step(self, *args: Any, **kwargs: Any) -> Any:
        loss, *others = super().prediction_step(*args, **kwargs)
        return (loss * float("nan") if next(self.steps) == 1 else loss, *others)


class NoFloat64(TorchFunctionMode):
    """A device without float64."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch.is_tensor(result) and result.dtype == torch.float64:
            raise TypeError(f"{func} gives float64")
        return result


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The results of two ranks, by case."""
    folder = tmp_path_factory.mktemp("evaluation")
    with Jobs(folder) as jobs:
        jobs.start("tests.jobs.evaluation", folder, ranks=2).finish()
    return [json.loads((folder / f"rank-{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]


class TestHeldOutRows:
    """The rows of `stream.holdout()`, which the same Trainer does not train on."""

    @pytest.mark.parametrize("form", ["eval_dataset", "eval_stream", "dict"])
    def test_are_evaluated_and_not_trained(self, form: str, tmp_path: Path) -> None:
        stream = small_stream(holdout=10)
        held_out = stream.holdout()
        rows = sorted(example.position.row for pack in stream.holdout() for example in pack.examples)
        datasets = {"eval_dataset": held_out, "eval_stream": None, "dict": {"rows": held_out}}
        changes = {"num_train_epochs": 2, "learning_rate": 0.0}
        trainer = RowRecorder(make_model("llama"), arguments(tmp_path, **changes), eval_dataset=datasets[form])
        stream.attach(trainer, eval_stream=held_out if form == "eval_stream" else None)
        trainer.train()
        trained = [row for batch in trainer.rows for row in batch]
        assert sorted(trained) == sorted(2 * [row for row in range(NUM_ROWS) if row not in rows])
        (loss,) = [value for name, value in trainer.evaluate().items() if name in ("eval_loss", "eval_rows_loss")]
        assert loss == pytest.approx(loss_of_documents(plain, rows), rel=1e-5)

    def test_are_evaluated_during_training(self, tmp_path: Path) -> None:
        stream = small_stream(holdout=10)
        changes = {"num_train_epochs": 2, "eval_strategy": "epoch", "learning_rate": 0.0}
        trainer = Trainer(make_model("llama"), arguments(tmp_path, **changes), eval_dataset=stream.holdout())
        stream.attach(trainer)
        trainer.train()
        rows = [example.position.row for pack in stream.holdout() for example in pack.examples]
        losses = [log["eval_loss"] for log in trainer.state.log_history if "eval_loss" in log]
        assert losses == pytest.approx(2 * [loss_of_documents(plain, rows)], rel=1e-5)

    def test_have_their_own_layout_and_length(self, tmp_path: Path) -> None:
        stream = small_stream(holdout=10)
        rows = [example.position.row for pack in stream.holdout() for example in pack.examples]
        held_out = stream.holdout(
            collator_config=layout_of("padded"), packing_config={"method": "none", "kwargs": {"max_length": 128}}
        )
        metrics = trainer_for(tmp_path).evaluate(held_out)
        assert metrics["eval_loss"] == pytest.approx(loss_of_documents(plain, rows), rel=1e-5)


class TestTheLoss:
    @pytest.mark.parametrize("layout", ["packed", "padded", "padding_free"])
    @pytest.mark.parametrize("batch_size", [1, 7])
    def test_is_the_mean_over_all_labels(self, layout: str, batch_size: int, tmp_path: Path) -> None:
        stream = eval_stream(collator_config=layout_of(layout), batch_size=batch_size)
        metrics = trainer_for(tmp_path).evaluate(stream)
        assert metrics["eval_loss"] == pytest.approx(loss_of_documents(plain), rel=1e-5)

    @pytest.mark.parametrize(
        ("changes", "loss"),
        [
            ({"label_smoothing_factor": SMOOTHING}, smoothed),
            ({"compute_loss_func": squared_mean}, squared),
            ({"kind": SquaringTrainer}, squared),
            ({"prediction_loss_only": True, "compute_metrics": Recorder()}, plain),
        ],
        ids=["label_smoothing_factor", "compute_loss_func", "compute_loss", "prediction_loss_only"],
    )
    def test_is_the_mean_over_all_labels_with(self, changes: Any, loss: Loss, tmp_path: Path) -> None:
        metrics = trainer_for(tmp_path, **changes).evaluate(eval_stream(batch_size=7))
        assert metrics["eval_loss"] == pytest.approx(loss_of_documents(loss), rel=1e-5)

    def test_needs_no_float64(self, tmp_path: Path) -> None:
        trainer = trainer_for(tmp_path)
        with NoFloat64():
            assert trainer.evaluate(eval_stream(4))["eval_loss"] > 0

    def test_that_is_not_a_number_is_reported(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        trainer = trainer_for(tmp_path, kind=TrainerWithABadBatch)
        trainer.steps = itertools.count()
        assert math.isnan(trainer.evaluate(eval_stream(batch_size=2))["eval_loss"])
        assert "eval_loss is nan: the loss of at least one batch is not a finite number" in caplog.text

    def test_that_is_not_computed_is_reported(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        trainer = trainer_for(tmp_path, label_names=["start_positions"])
        assert "eval_loss" not in trainer.evaluate(eval_stream(4))
        assert "eval_loss: the Trainer computed no loss; leave label_names out, or add labels to it" in caplog.text


class TestBatches:
    def test_have_the_size_in_the_config(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        trainer = trainer_for(tmp_path)
        assert (
            len(trainer.get_eval_dataloader(eval_stream(21, batch_size=3, collator_config={"method": "padded"}))) == 7
        )
        assert trainer.args.per_device_eval_batch_size == 3
        assert "per_device_eval_batch_size was 8 and is now 3, the batch_size of the config" in caplog.text

    def test_have_the_trainers_size_if_the_config_has_none(self, tmp_path: Path) -> None:
        config = {"tokenizer_config": {"backend": "hf"}, "collator_config": {"method": "padded"}, "lanes": 1}
        stream = SFTStream.from_config(config, rows=make_rows(20), tokenizer=make_stream().tokenizer)
        trainer = trainer_for(tmp_path, per_device_eval_batch_size=5)
        assert [len(batch["input_ids"]) for batch in trainer.get_eval_dataloader(stream)] == [5] * 4

    def test_give_the_speed_in_packs_and_steps(self, tmp_path: Path) -> None:
        stream = eval_stream(20, batch_size=3, collator_config={"method": "padded"})
        metrics = trainer_for(tmp_path).evaluate(stream)
        speeds = [metrics[f"eval_{name}_per_second"] for name in ("samples", "steps")]
        assert speeds[0] / speeds[1] == pytest.approx(20 / 7, rel=0.05)


class TestPredict:
    def test_gives_predictions_labels_and_the_exact_loss(self, tmp_path: Path) -> None:
        output = trainer_for(tmp_path).predict(eval_stream(20, batch_size=3, collator_config={"method": "padded"}))
        assert output.predictions.shape[:2] == output.label_ids.shape
        labels = [[label for label in row if label != -100] for row in output.label_ids.tolist()]
        assert labels == [[label for label in labels_of_row(row) if label != -100] for row in range(20)]
        assert output.metrics["test_loss"] == pytest.approx(loss_of_documents(plain, range(20)), rel=1e-5)

    def test_of_other_data_is_that_of_the_trainer(self, tmp_path: Path) -> None:
        rows = [{"input_ids": tokens_of_row(9), "labels": labels_of_row(9)} for _ in range(3)]
        attached_trainer, other = trainer_for(tmp_path), Trainer(make_model("llama"), arguments(tmp_path))
        for data in (Dataset.from_list(rows), rows):
            outputs = [trainer.predict(data) for trainer in (attached_trainer, other)]
            assert outputs[0].metrics["test_loss"] == outputs[1].metrics["test_loss"]
            assert (outputs[0].predictions == outputs[1].predictions).all()
        assert attached_trainer.evaluate(rows)["eval_loss"] == other.evaluate(rows)["eval_loss"]


class TestTheRowsOfComputeMetrics:
    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_are_the_same_on_one_rank_and_on_two(
        self, case: Case, results: list[dict[str, Any]], tmp_path: Path
    ) -> None:
        one = evaluate(case, tmp_path)
        for two in (result[str(case)] for result in results):
            assert sorted(two["seen"]) == sorted(one["seen"])
            assert len(two["losses"]) == len(one["losses"]) == len(one["seen"])
            assert two["metrics"]["eval_rows"] == len(two["seen"])
            assert two["metrics"]["eval_loss"] == pytest.approx(one["metrics"]["eval_loss"], rel=1e-6)

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_have_each_label_once(self, case: Case, tmp_path: Path) -> None:
        rows = [labels for _, labels, _ in evaluate(case, tmp_path)["seen"]]
        expected = [label for row in range(case.num_rows) for label in labels_of_row(row) if label != -100]
        assert sorted(label for labels in rows for label in labels) == sorted(expected)
        assert all(rows)  # rows that only fill a batch have no label

    @pytest.mark.parametrize("case", [case for case in CASES if case.batchwise], ids=str)
    def test_come_with_the_mark_of_the_last_batch(
        self, case: Case, results: list[dict[str, Any]], tmp_path: Path
    ) -> None:
        for result in (evaluate(case, tmp_path), *(result[str(case)] for result in results)):
            *others, last = result["ends"]
            assert others
            assert last
            assert not any(others)

    def test_are_read_without_workers_if_they_are_too_few(self, results: list[dict[str, Any]]) -> None:
        assert [len(result[str(SMALL)]["seen"]) for result in results] == [SMALL.num_rows] * 2

    def test_that_are_fewer_than_ranks_are_refused(self, results: list[dict[str, Any]]) -> None:
        assert "2 lanes need at least 2 rows, but the source has 1" in results[0][str(TOO_SMALL)]["error"]


class TestRefused:
    @pytest.mark.parametrize("place", ["eval_stream", "eval_dataset", "a dict"])
    def test_an_endless_stream_by_attach(self, place: str, tmp_path: Path) -> None:
        endless = small_stream(epochs=None)
        dataset = {"eval_stream": None, "eval_dataset": endless, "a dict": {"a": endless}}[place]
        trainer = Trainer(make_model("llama"), arguments(tmp_path), eval_dataset=dataset)
        with pytest.raises(ConfigError, match="evaluation reads each row once, got null; write epochs: 1"):
            small_stream().attach(trainer, eval_stream=endless if place == "eval_stream" else None)

    def test_an_endless_stream_afterwards(self, tmp_path: Path) -> None:
        trainer, endless = trainer_for(tmp_path), small_stream(epochs=None)
        trainer.eval_dataset = {"a": endless}
        for use in (
            trainer.evaluate,
            functools.partial(trainer.evaluate, endless),
            functools.partial(trainer.evaluate, {"b": endless}),
            functools.partial(trainer.predict, endless),
        ):
            with pytest.raises(ConfigError, match="evaluation reads each row once, got null; write epochs: 1"):
                use()

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"eval_use_gather_object": True}, "set eval_use_gather_object=False"),
            (
                {"batch_eval_metrics": True, "include_for_metrics": ["inputs"], "compute_metrics": Recorder()},
                "leave out inputs, or set batch_eval_metrics=False",
            ),
        ],
    )
    def test_arguments_with_which_rows_would_not_match(self, changes: Any, message: str, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=message):
            trainer_for(tmp_path, **changes).evaluate(eval_stream())

    def test_another_ignore_index(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="must be -100, the value that the Trainer expects, got -7"):
            trainer_for(tmp_path).evaluate(eval_stream(ignore_index=-7))

    def test_the_training_stream(self, tmp_path: Path) -> None:
        stream, trainer = small_stream(), Trainer(make_model("llama"), arguments(tmp_path))
        stream.attach(trainer)
        with pytest.raises(ConfigError, match="cannot be the evaluation stream; make another stream"):
            trainer.evaluate(stream)

    def test_a_stream_with_fewer_rows_than_lanes_before_the_first_step(self, tmp_path: Path) -> None:
        trainer = trainer_for(tmp_path, max_steps=4, eval_strategy="steps", eval_steps=2, eval_dataset=eval_stream())
        trainer.eval_dataset = eval_stream(3, lanes=4)
        with pytest.raises(ConfigError, match="4 lanes need at least 4 rows, but the source has 3; use fewer lanes"):
            trainer.train()
        assert trainer.state.global_step == 0


class TestSmallStreams:
    @pytest.mark.parametrize("num_rows", [1, 3])
    def test_use_fewer_workers(self, num_rows: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        stream = eval_stream(num_rows, lanes="auto", batch_size=1, collator_config={"method": "padded"})
        metrics = trainer_for(tmp_path, dataloader_num_workers=2).evaluate(stream)
        assert metrics["eval_loss"] == pytest.approx(loss_of_documents(plain, range(num_rows)), rel=1e-5)
        assert "too few rows for 2 workers, so no worker is used" in caplog.text


class TestDuringTraining:
    def test_evaluation_does_not_change_the_training(self, tmp_path: Path) -> None:
        alone = attached(tmp_path, small_stream(), num_train_epochs=1)
        alone.train()
        trainer = trainer_for(
            tmp_path, eval_strategy="steps", eval_steps=3, num_train_epochs=1, eval_dataset=eval_stream()
        )
        trainer.train()
        assert losses(trainer) == losses(alone)

    def test_each_stream_of_a_dict_is_evaluated(self, tmp_path: Path) -> None:
        first, second = eval_stream(), eval_stream(20)
        trainer = trainer_for(tmp_path, eval_dataset={"a": first, "b": second})
        metrics = trainer.evaluate()
        assert metrics["eval_a_loss"] == trainer.evaluate(first)["eval_loss"]
        assert metrics["eval_b_loss"] == trainer.evaluate({"c": second})["eval_c_loss"]
        assert metrics["eval_a_loss"] != pytest.approx(metrics["eval_b_loss"])

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"eval_strategy": "steps", "eval_steps": 2, "eval_on_start": True}, [0, 2, 4]),
            ({"eval_strategy": "steps", "eval_steps": 1, "eval_delay": 3}, [3, 4]),
            ({"eval_strategy": "epoch", "max_steps": -1, "num_train_epochs": 2}, [10, 20]),
        ],
    )
    def test_evaluations_come_when_the_arguments_say(
        self, changes: dict[str, Any], expected: list[int], tmp_path: Path
    ) -> None:
        trainer = trainer_for(tmp_path, eval_dataset=eval_stream(9), **{"max_steps": 4, **changes})
        before = [trainer.evaluate()["eval_loss"] for _ in range(2)]
        assert before[0] == before[1]
        trainer.train()
        steps = [log["step"] for log in trainer.state.log_history if "eval_loss" in log]
        assert steps == expected

    def test_the_best_model_is_that_of_the_best_loss(self, tmp_path: Path) -> None:
        """Each step lowers the loss. Here the highest loss is the best, so the first model is loaded at the end."""
        trainer = trainer_for(
            tmp_path,
            max_steps=3,
            learning_rate=1e-2,
            eval_strategy="steps",
            eval_steps=1,
            save_strategy="best",
            load_best_model_at_end=True,
            metric_for_best_model="eval_a_loss",
            greater_is_better=True,
            eval_dataset={"a": eval_stream(20), "b": eval_stream(9)},
        )
        trainer.train()
        logged = {log["step"]: log["eval_a_loss"] for log in trainer.state.log_history if "eval_a_loss" in log}
        assert logged[1] > logged[2] > logged[3]
        assert trainer.state.best_metric == logged[1]
        assert trainer.evaluate(eval_stream(20))["eval_loss"] == pytest.approx(logged[1], rel=1e-6)
