"""Trains a tiny Llama on packed dialogues with the Hugging Face Trainer: a minute on a CPU, offline.

Run it from anywhere: `python examples/train_trainer.py`.
"""

import time
from typing import Any

import common
from transformers import (
    LlamaForCausalLM,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from samsum_stream import SFTStream


def main() -> None:
    """From a YAML file to a summary."""
    max_steps = common.parser("Train a tiny Llama with the Hugging Face Trainer.").parse_args().max_steps
    stream = common.open_stream()
    model = common.tiny_llama(stream)
    common.show_example(stream)

    common.heading("Training")
    trainer = make_trainer(model, stream, max_steps=max_steps)
    start = time.perf_counter()
    trainer.train()
    common.show_speed(stream, steps=max_steps, seconds=time.perf_counter() - start)
    common.show_summary(stream, model)
    common.require_learning([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])


def make_trainer(model: LlamaForCausalLM, stream: SFTStream, *, max_steps: int) -> Trainer:
    """The stream is the training data, its collator makes the batches; the rest is the Trainer's own business."""
    arguments = TrainingArguments(
        output_dir="outputs",
        max_steps=max_steps,  # the stream is endless
        per_device_train_batch_size=stream.config.batch_size,
        learning_rate=common.LEARNING_RATE,
        lr_scheduler_type="cosine",
        warmup_steps=max_steps // 10,
        logging_steps=max(max_steps // 10, 1),
        use_cpu=True,
        dataloader_pin_memory=False,  # pinned memory needs a GPU
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=stream, data_collator=stream.collator)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(ShowLoss)
    return trainer


class ShowLoss(TrainerCallback):
    """Prints the loss on a line of its own, in place of the Trainer's dict."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs and "loss" in logs:
            common.show_loss(state.global_step, float(logs["loss"]))


if __name__ == "__main__":
    main()
