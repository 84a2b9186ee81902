"""Streams in `Seq2SeqTrainer` and in the `SFTTrainer` of TRL."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import PreTrainedModel, Seq2SeqTrainer, Seq2SeqTrainingArguments, Trainer, TrainerCallback
from trl import SFTConfig, SFTTrainer

from samsum_stream import ConfigError, SFTStream
from samsum_stream.training.real_tokens import real_tokens
from tests.jobs.evaluation import Recorder
from tests.models import make_model
from tests.streams import BOS, make_rows, make_stream, word_tokenizer
from tests.training.trainers import layout_of

pytestmark = [  # TRL itself causes these warnings
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:`return_outputs=True`:FutureWarning"),
]

ACCUMULATION = 2
COMMON = {
    "use_cpu": True,
    "bf16": False,
    "report_to": "none",
    "disable_tqdm": True,
    "save_strategy": "no",
    "logging_steps": 1,
    "max_steps": 2,
    "max_grad_norm": 0.0,
    "gradient_accumulation_steps": ACCUMULATION,
}
LAYOUTS = {
    **{name: layout_of(name) for name in ("packed", "padded", "padding_free")},
    "block_mask": {"method": "packed", "kwargs": {"attention": "block_mask"}},
}


class Steps(TrainerCallback):
    """Records the gradient of each step, and the batches and weights from which it comes."""

    def __init__(self, trainer: Trainer) -> None:
        self.gradients: list[torch.Tensor] = []
        self.batches: list[dict[str, Any]] = []
        self.weights = [{name: value.clone() for name, value in trainer.model.state_dict().items()}]
        trainer.add_callback(self)
        original = trainer.training_step

        def training_step(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
            self.batches.append(dict(inputs))
            return original(model, inputs, *args, **kwargs)

        trainer.training_step = training_step

    def on_pre_optimizer_step(self, *args: Any, model: Any, **kwargs: Any) -> None:
        self.gradients.append(gradient_of(model))

    def on_step_end(self, *args: Any, model: Any, **kwargs: Any) -> None:
        self.weights.append({name: value.clone() for name, value in model.state_dict().items()})


def gradient_of(model: PreTrainedModel) -> torch.Tensor:
    return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])


def documents(batch: dict[str, Any]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The ids and labels of each document of a batch, shape `[1, T]`."""
    mask = real_tokens(batch)
    ids, labels = batch["input_ids"][mask], batch["labels"][mask]
    starts = [*(ids == BOS).nonzero().flatten().tolist(), len(ids)]
    return ((ids[None, start:end], labels[None, start:end]) for start, end in pairwise(starts))


def step_of_documents(weights: dict[str, torch.Tensor], batches: list[dict[str, Any]]) -> tuple[float, torch.Tensor]:
    """The loss and the gradient of a step with each document in a batch of its own."""
    model = make_model("llama")
    model.load_state_dict(weights)
    pairs = [pair for batch in batches for pair in documents(batch)]
    num_labels = sum(int((labels[:, 1:] != -100).sum()) for _, labels in pairs)
    total = 0.0
    for ids, labels in pairs:
        loss = model(input_ids=ids, labels=labels, use_cache=False, num_items_in_batch=num_labels).loss
        loss.backward()
        total += loss.item()
    return total, gradient_of(model)


def stream_of(layout: str, *, num_rows: int = 60, **changes: Any) -> SFTStream:
    changes = {"lanes": 1, "batch_size": 3, "collator_config": LAYOUTS[layout], **changes}
    return make_stream(make_rows(num_rows), **changes)


def eval_stream(layout: str = "packed") -> SFTStream:
    return stream_of(layout, num_rows=20, shuffle=False)


def sft_trainer(folder: Path, *, compute_metrics: Any = None, **changes: Any) -> SFTTrainer:
    """TRL needs a dataset. After `attach`, it has no effect."""
    one_row = Dataset.from_dict({"input_ids": [[BOS, 10]], "labels": [[BOS, 10]]})
    arguments = SFTConfig(str(folder), **{**COMMON, **changes})
    return SFTTrainer(
        make_model("llama"),
        arguments,
        train_dataset=one_row,
        eval_dataset=one_row if arguments.eval_strategy != "no" else None,
        processing_class=word_tokenizer(),
        compute_metrics=compute_metrics,
    )


def seq2seq_trainer(folder: Path, *, compute_metrics: Any = None, **changes: Any) -> Seq2SeqTrainer:
    arguments = Seq2SeqTrainingArguments(str(folder), **{**COMMON, **changes})
    return Seq2SeqTrainer(make_model("llama"), arguments, compute_metrics=compute_metrics)


TRAINERS = {"sft": sft_trainer, "seq2seq": seq2seq_trainer}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", TRAINERS)
def test_each_step_has_the_loss_and_the_gradient_of_its_documents(kind: str, layout: str, tmp_path: Path) -> None:
    trainer = TRAINERS[kind](tmp_path)
    stream_of(layout).attach(trainer)
    steps = Steps(trainer)
    trainer.train()
    logged = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    assert len(logged) == len(steps.gradients) == 2
    for number, (loss, gradient) in enumerate(zip(logged, steps.gradients, strict=True)):
        batches = steps.batches[number * ACCUMULATION : (number + 1) * ACCUMULATION]
        expected_loss, expected = step_of_documents(steps.weights[number], batches)
        assert loss == pytest.approx(expected_loss, rel=1e-5)
        assert (gradient - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.parametrize("kind", TRAINERS)
def test_evaluate_and_predict_give_the_exact_loss(kind: str, tmp_path: Path) -> None:
    recorder = Recorder()
    changes = {"eval_strategy": "steps", "eval_steps": 1} if kind == "sft" else {}
    trainer = TRAINERS[kind](tmp_path, compute_metrics=recorder, **changes)
    trainer.preprocess_logits_for_metrics = lambda logits, labels: logits.argmax(-1)
    stream_of("packed").attach(trainer, eval_stream=eval_stream("padded"))
    expected, _ = step_of_documents(trainer.model.state_dict(), list(eval_stream().loader()))
    metrics = trainer.evaluate()
    assert metrics["eval_loss"] == pytest.approx(expected, rel=1e-5)
    assert metrics["eval_rows"] == len(recorder.seen) == 20
    assert trainer.evaluate(eval_stream())["eval_loss"] == pytest.approx(expected, rel=1e-5)
    assert trainer.evaluate({"a": eval_stream()})["eval_a_loss"] == pytest.approx(expected, rel=1e-5)
    assert trainer.predict(eval_stream()).metrics["test_loss"] == pytest.approx(expected, rel=1e-5)
    trainer.train()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_num_tokens_of_trl_are_the_tokens_of_documents(layout: str, tmp_path: Path) -> None:
    trainer = sft_trainer(tmp_path)
    stream = stream_of(layout)
    stream.attach(trainer)
    trainer.train()
    assert [log["num_tokens"] for log in trainer.state.log_history if "num_tokens" in log][-1] == stream.stats.tokens


def test_generation_from_the_batches_of_a_stream_is_refused(tmp_path: Path) -> None:
    trainer = seq2seq_trainer(tmp_path, predict_with_generate=True)
    message = "set predict_with_generate=False, and generate from stream.inference_ids"
    with pytest.raises(ConfigError, match=message):
        stream_of("packed").attach(trainer, eval_stream=eval_stream())
    trainer = seq2seq_trainer(tmp_path, predict_with_generate=True)
    stream_of("packed").attach(trainer)
    for use in (trainer.evaluate, trainer.predict):
        with pytest.raises(ConfigError, match=message):
            use(eval_stream())
