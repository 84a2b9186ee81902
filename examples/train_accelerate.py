"""Trains a tiny Llama on packed dialogues in a loop with accelerate: a minute on a CPU, offline.

Run it from any folder: `python examples/train_accelerate.py`, or on two processes:
`accelerate launch --cpu --num_processes 2 examples/train_accelerate.py`. Stop it after step 50. Then the same command
with `--resume` continues exactly from there.
"""

import time
from itertools import islice
from pathlib import Path
from typing import Any

import common
import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from transformers import get_cosine_schedule_with_warmup

from samsum_stream import IGNORE_INDEX


def main() -> None:
    """Train from a YAML file, and generate a summary."""
    arguments = common.parser("Train a tiny Llama with accelerate.", max_steps=100, save_steps=50)
    arguments.add_argument("--num-workers", type=int, default=0, help="processes that produce the batches")
    arguments.add_argument("--accumulation", type=int, default=2, help="batches of each process in a step")
    options = arguments.parse_args()
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),  # else processes without a GPU do not form a group
        gradient_accumulation_steps=options.accumulation,
        step_scheduler_with_optimizer=False,  # else it steps the schedule once for each process
    )
    common.console.quiet = not accelerator.is_main_process
    with accelerator.main_process_first():
        folder = common.output_folder("train_accelerate", resume=options.resume)
    stream = common.open_stream()
    model = common.tiny_llama(stream)

    common.heading(f"Training, {accelerator.num_processes} x {options.accumulation} batches in a step")
    loader = stream.loader(model=model, num_workers=options.num_workers, batches_per_step=options.accumulation)
    optimizer = torch.optim.AdamW(model.parameters(), lr=common.LEARNING_RATE)
    scheduler = get_cosine_schedule_with_warmup(optimizer, options.max_steps // 10, options.max_steps)
    model, optimizer, scheduler, loader = accelerator.prepare(model, optimizer, scheduler, loader)
    if options.resume:
        load(accelerator, folder, loader)
    first_step = loader.batch // (options.accumulation * accelerator.num_processes)
    if first_step:
        common.show_resume(first_step)
    log = common.LossLog(max_steps=options.max_steps)
    start = time.perf_counter()
    model.train()
    batches = iter(loader)
    for step in range(first_step + 1, options.max_steps + 1):
        micro_batches = send_to_device(list(islice(batches, options.accumulation)), accelerator.device)
        log.add(step, train_step(accelerator, model, optimizer, micro_batches))
        scheduler.step()
        if step % options.save_steps == 0:
            save(accelerator, folder, loader)
    common.show_speed(
        stream,
        steps=options.max_steps - first_step,
        seconds=time.perf_counter() - start,
        batches_per_step=options.accumulation * accelerator.num_processes,
    )
    if accelerator.is_main_process:
        common.show_summary(stream, accelerator.unwrap_model(model))
    common.require_learning(log.losses, resumed=options.resume)
    accelerator.wait_for_everyone()
    accelerator.end_training()


def train_step(accelerator: Accelerator, model: Any, optimizer: Any, micro_batches: list[dict[str, Any]]) -> float:
    """One step on the batches of all processes; returns the mean loss over all their labels."""
    num_labels = accelerator.reduce(sum((batch["labels"] != IGNORE_INDEX).sum() for batch in micro_batches))
    # accelerate takes the mean over the batches of the step and over the processes, but the sum is needed.
    num_terms = len(micro_batches) * accelerator.num_processes
    total = torch.zeros((), device=accelerator.device)
    for batch in micro_batches:
        with accelerator.accumulate(model):
            loss = model(**batch, num_items_in_batch=num_labels).loss  # the sum over labels / num_labels
            accelerator.backward(loss * num_terms)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        total += loss.detach()
    return accelerator.reduce(total).item()


def save(accelerator: Accelerator, folder: Path, loader: Any) -> None:
    """Write a checkpoint to `folder/batch-M`. The loader saves last: its file makes the checkpoint valid.

    The loader keeps the last two checkpoints.
    """
    accelerator.save_state(folder / f"batch-{loader.batch}")
    loader.save(folder)


def load(accelerator: Accelerator, folder: Path, loader: Any) -> None:
    """Resume from the newest checkpoint, if there is one."""
    if loader.load(folder, missing_ok=True):
        accelerator.load_state(folder / f"batch-{loader.batch}")
        accelerator.step = 0  # it counts batches of a process, and the number of batches in a step may have changed


if __name__ == "__main__":
    main()
