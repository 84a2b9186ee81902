"""The training loop of `elastic_torchrun.py` and `elastic_ray.py`: it goes on if the number of ranks changes.

The batches of a step are the same for 1, 2, 3, 4, 6 or 12 ranks. Each rank accumulates its share of them, and the loss
is the mean over all trained tokens of the step.
"""

import os
import time
from argparse import ArgumentParser, Namespace
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import common
import torch
import torch.distributed as dist
from accelerate.utils import send_to_device
from journal import Journal
from torch.nn.parallel import DistributedDataParallel
from transformers import get_cosine_schedule_with_warmup

from samsum_stream import IGNORE_INDEX

BATCHES_PER_STEP = 12
"""The batches of all ranks in an optimizer step, and the lanes: 4 ranks x 3 batches, 3 x 4, 2 x 6 or 1 x 12."""

CONFIG = {"lanes": BATCHES_PER_STEP, "batch_size": 1}

LEARNING_RATE = 1e-3
"""At `common.LEARNING_RATE`, rounding grows: after 60 steps, the losses of three ranks and of one differ by 1e-5."""

MODEL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}


def parser(description: str) -> ArgumentParser:
    """The command-line arguments of both scripts. A run always resumes if its folder has a checkpoint."""
    parser = common.parser(description, save_steps=10, has_resume=False)
    parser.add_argument(
        "--folder", type=Path, default=common.ROOT / "outputs" / "elastic", help="folder of the checkpoints"
    )
    parser.add_argument("--num-workers", type=int, default=0, help="processes of each rank that produce the batches")
    parser.add_argument("--timeout", type=int, default=120, help="seconds to wait for other ranks")
    parser.add_argument("--journal", type=Path, help="a folder; each rank writes there which rows a step has read")
    return parser


def train(options: Namespace) -> None:
    """Train in the process group of the launcher, from the newest checkpoint to `options.max_steps`."""
    num_ranks, start = dist.get_world_size(), time.perf_counter()
    batches_of_rank = share_of(num_ranks)
    common.console.quiet = dist.get_rank() > 0
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    stream = common.open_stream(**CONFIG)
    model = common.tiny_llama(stream, **MODEL).to(device)
    loader = stream.loader(model=model, num_workers=options.num_workers, batches_per_step=batches_of_rank)
    trained = with_optimizer(model, max_steps=options.max_steps)
    journal = Journal(options.journal, prepared=time.perf_counter() - start)
    started, start = first_rank(time.time_ns(), device), time.perf_counter()
    if load(options.folder, loader, trained):
        common.show_resume(loader.batch // BATCHES_PER_STEP)
    parallel = DistributedDataParallel(model)  # after `load`: it broadcasts the weights of rank 0
    batches = journal.recorded(loader, loaded=time.perf_counter() - start)
    for step in range(loader.batch // BATCHES_PER_STEP + 1, options.max_steps + 1):
        loss = backward(parallel, send_to_device(list(islice(batches, batches_of_rank)), device))
        update(**trained)
        common.console.print(f"step {step:4d}   loss {loss:7.4f}   ranks {num_ranks}")
        journal.write(start=started, step=step, loss=loss, num_ranks=num_ranks)
        if step % options.save_steps == 0 or step == options.max_steps:
            save(options.folder, loader, trained)


def with_optimizer(model: torch.nn.Module, *, max_steps: int) -> dict[str, Any]:
    """The model, its optimizer and the schedule: what a checkpoint holds beside the position in the data."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    scheduler = get_cosine_schedule_with_warmup(optimizer, max_steps // 10, max_steps)
    return {"model": model, "optimizer": optimizer, "scheduler": scheduler}


def update(*, model: torch.nn.Module, optimizer: Any, scheduler: Any) -> None:
    """Update the weights from the gradients of all ranks."""
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()


def share_of(num_ranks: int) -> int:
    """The batches of one rank in a step."""
    if BATCHES_PER_STEP % num_ranks:
        fitting = [number for number in range(1, BATCHES_PER_STEP + 1) if BATCHES_PER_STEP % number == 0]
        raise SystemExit(
            f"{num_ranks} ranks cannot share the {BATCHES_PER_STEP} batches of a step evenly; start "
            f"{', '.join(map(str, fitting[:-1]))} or {fitting[-1]} ranks, or change BATCHES_PER_STEP"
        )
    return BATCHES_PER_STEP // num_ranks


def backward(model: DistributedDataParallel, batches: list[dict[str, Any]]) -> float:
    """Compute the gradients of a step; returns the mean loss over the trained tokens of all batches and ranks."""
    counts = [(batch["labels"][..., 1:] != IGNORE_INDEX).sum() for batch in batches]
    num_tokens = summed(torch.stack(counts).sum())
    losses = []
    for batch, count in zip(batches, counts, strict=True):
        is_last = len(losses) == len(batches) - 1
        with nullcontext() if is_last else model.no_sync():  # ranks exchange gradients once in a step
            loss = model(**batch).loss * count / num_tokens  # the model returns a mean over `count` tokens
            (loss * dist.get_world_size()).backward()  # DDP takes the mean over the ranks, but the sum is needed
        losses.append(loss.detach())
    return summed(torch.stack(losses).sum()).item()


def summed(value: torch.Tensor) -> torch.Tensor:
    """The sum over all ranks."""
    dist.all_reduce(value)
    return value


def first_rank(number: int, device: torch.device) -> int:
    """The number of rank 0, on all ranks."""
    value = torch.tensor(number, device=device)
    dist.broadcast(value, src=0)
    return int(value.item())


def save(folder: Path, loader: Any, trained: dict[str, Any]) -> None:
    """Write a checkpoint to `folder/batch-M`. The loader saves last: the files of all ranks make the checkpoint valid.

    The loader keeps the last two checkpoints. The weights are renamed when they are complete, because an earlier run
    may have left files of its ranks in the same folder.
    """
    if loader.ranks.rank == 0:
        checkpoint = folder / f"batch-{loader.batch}"
        checkpoint.mkdir(parents=True, exist_ok=True)
        torch.save({name: value.state_dict() for name, value in trained.items()}, checkpoint / "trained.part")
        os.replace(checkpoint / "trained.part", checkpoint / "trained.pt")
    loader.save(folder)


def load(folder: Path, loader: Any, trained: dict[str, Any]) -> bool:
    """Resume from the newest checkpoint that all ranks completed; returns whether there is one."""
    if is_resumed := loader.load(folder, missing_ok=True):
        states = torch.load(folder / f"batch-{loader.batch}" / "trained.pt", map_location="cpu")
        for name, state in states.items():
            trained[name].load_state_dict(state)
    return is_resumed
