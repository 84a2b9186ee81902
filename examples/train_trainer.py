"""Trains a tiny Llama on packed dialogues with the Hugging Face Trainer: a minute on a CPU, offline.

Run it from anywhere: `python examples/train_trainer.py`. Stop it after step 100, and
`python examples/train_trainer.py --resume` goes on from there as if nothing had happened.
"""

import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import common
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.utils.logging import disable_progress_bar

from samsum_stream import SFTStream, last_complete_checkpoint


def main() -> None:
    """From a YAML file to a summary."""
    options = common.parser("Train a tiny Llama with the Hugging Face Trainer.").parse_args()
    disable_progress_bar()  # of checkpoints that are written in a blink
    folder = common.output_folder("train_trainer", resume=options.resume)
    stream = common.open_stream()
    model = common.tiny_llama(stream)
    common.show_example(stream)

    common.heading("Training")
    trainer = Trainer(model, training_arguments(stream, folder, options))
    stream.attach(trainer)
    progress = ShowProgress()
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(progress)
    start = time.perf_counter()
    # A job that was killed while it saved leaves a torn checkpoint, which is passed over.
    trainer.train(resume_from_checkpoint=last_complete_checkpoint(folder) if options.resume else None)
    common.show_speed(stream, steps=options.max_steps - progress.first_step, seconds=time.perf_counter() - start)
    common.show_summary(stream, model)
    common.require_learning([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])


def training_arguments(stream: SFTStream, folder: Path, options: Namespace) -> TrainingArguments:
    """The Trainer's own business: with `max_steps`, a stream has no end."""
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=options.max_steps,
        per_device_train_batch_size=stream.config.batch_size,
        learning_rate=common.LEARNING_RATE,
        lr_scheduler_type="cosine",
        warmup_steps=options.max_steps // 10,
        logging_steps=max(options.max_steps // 10, 1),
        save_steps=options.save_steps,
        save_total_limit=2,
        use_cpu=True,
        dataloader_pin_memory=False,  # pinned memory needs a GPU
        report_to="none",
        disable_tqdm=True,
    )


class ShowProgress(TrainerCallback):
    """Prints the loss on a line of its own, in place of the Trainer's dict."""

    first_step = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.first_step = state.global_step
        if self.first_step:
            common.show_resume(self.first_step)

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
