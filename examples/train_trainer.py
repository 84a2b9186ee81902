"""Trains a tiny Llama on packed dialogues with the Hugging Face Trainer: a minute on a CPU, offline.

Run it from any folder: `python examples/train_trainer.py`. Stop it after step 100. Then
`python examples/train_trainer.py --resume` continues exactly from there.
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
    """Train from a YAML file, and generate a summary."""
    options = common.parser("Train a tiny Llama with the Hugging Face Trainer.").parse_args()
    disable_progress_bar()  # of checkpoints, which take no time to write
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
    # A job that is killed while it saves leaves a torn checkpoint. The last complete one is used.
    trainer.train(resume_from_checkpoint=last_complete_checkpoint(folder) if options.resume else None)
    common.show_speed(stream, steps=options.max_steps - progress.first_step, seconds=time.perf_counter() - start)
    common.show_summary(stream, model)
    common.require_learning([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])


def training_arguments(stream: SFTStream, folder: Path, options: Namespace) -> TrainingArguments:
    """The arguments of the Trainer; `max_steps` makes the stream endless."""
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
    """Prints the loss on one line, instead of the dict of the Trainer."""

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
