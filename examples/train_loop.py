"""Trains a tiny Llama on packed dialogues in a plain PyTorch loop: a minute on a CPU, offline.

Run it from any folder: `python examples/train_loop.py --num-workers 2`. Stop it after step 100. Then
`python examples/train_loop.py --resume` continues exactly from there.
"""

import time
from pathlib import Path
from typing import Any

import common
import torch
from transformers import get_cosine_schedule_with_warmup


def main() -> None:
    """Train from a YAML file, and generate a summary."""
    arguments = common.parser("Train a tiny Llama in a plain PyTorch loop.")
    arguments.add_argument("--num-workers", type=int, default=0, help="processes that produce the batches")
    options = arguments.parse_args()
    folder = common.output_folder("train_loop", resume=options.resume)
    stream = common.open_stream()
    model = common.tiny_llama(stream)
    common.show_example(stream)

    common.heading("Training")
    optimizer = torch.optim.AdamW(model.parameters(), lr=common.LEARNING_RATE)
    scheduler = get_cosine_schedule_with_warmup(optimizer, options.max_steps // 10, options.max_steps)
    trained = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    # The loader measures the model: documents of a batch do not see each other.
    loader = stream.loader(model=model, num_workers=options.num_workers)
    if options.resume:
        load(folder, loader, trained)
        common.show_resume(loader.batch)
    log = common.LossLog(max_steps=options.max_steps)
    steps = range(loader.batch + 1, options.max_steps + 1)  # a step trains on one batch
    start = time.perf_counter()
    model.train()
    for step, batch in zip(steps, loader, strict=False):
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        log.add(step, loss.item())
        if step % options.save_steps == 0:
            save(folder, loader, trained)
    common.show_speed(stream, steps=len(steps), seconds=time.perf_counter() - start)
    common.show_summary(stream, model)
    common.require_learning(log.losses, resumed=options.resume)


def save(folder: Path, loader: Any, trained: dict[str, Any]) -> None:
    """Write a checkpoint to `folder/batch-M`. The loader saves last: its file makes the checkpoint valid.

    The loader keeps the last two checkpoints.
    """
    checkpoint = folder / f"batch-{loader.batch}"
    checkpoint.mkdir(parents=True, exist_ok=True)
    torch.save({name: value.state_dict() for name, value in trained.items()}, checkpoint / "trained.pt")
    loader.save(folder)


def load(folder: Path, loader: Any, trained: dict[str, Any]) -> None:
    """Resume from the newest checkpoint, if there is one."""
    if loader.load(folder, missing_ok=True):
        for name, state in torch.load(folder / f"batch-{loader.batch}" / "trained.pt").items():
            trained[name].load_state_dict(state)


if __name__ == "__main__":
    main()
