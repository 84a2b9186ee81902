"""Trains a tiny Llama in one to four replica groups with torchft; groups may come and go. It runs offline, on CPUs.

Run the first line on a machine that stays, `HOST`, and the others on each machine. A group is one process:

    torchft_lighthouse --min_replicas=1
    export TORCHFT_LIGHTHOUSE=http://HOST:29510
    torchrun --standalone --nproc-per-node=1 --max-restarts=100 examples/elastic_torchft.py --folder SHARED_FOLDER

If a group is lost, the other groups share the batches of the step again and go on. A new group gets the weights and
the position in the data from one of them. If all groups are lost, they continue from the newest checkpoint.
"""

import functools
import json
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import islice
from typing import Any

import common
import elastic
import torch
from elastic import BATCHES_PER_STEP
from journal import Journal
from torch.distributed import ReduceOp
from torchft import Manager, ProcessGroupGloo

from samsum_stream import IGNORE_INDEX, merge_states


def main() -> None:
    """Join the other groups, and train with them."""
    arguments = elastic.parser("Train a tiny Llama in replica groups that come and go.")
    arguments.set_defaults(timeout=20)
    options, start = arguments.parse_args(), time.perf_counter()
    stream = common.open_stream(**elastic.CONFIG)
    model = common.tiny_llama(stream, **elastic.MODEL)
    trained = elastic.with_optimizer(model, max_steps=options.max_steps)
    whole = stream.loader(model=model, rank=0, world_size=1)  # holds the position of all groups, and reads nothing
    elastic.load(options.folder, whole, trained)
    journal = Journal(options.journal, prepared=time.perf_counter() - start)
    share = Share(functools.partial(stream.loader, num_workers=options.num_workers), journal)
    share.start_at(whole.state_dict())
    manager = join(share, trained, timeout=timedelta(seconds=options.timeout))
    manager.load_state_dict({"step": whole.batch // BATCHES_PER_STEP, "batches_committed": 0})
    while manager.current_step() < options.max_steps:
        manager.start_quorum()  # here groups are lost or added, and this group may get the state of another one
        step, num_groups = manager.current_step() + 1, manager.num_participants()
        try:
            loss, state = attempt(manager, model, share)
        except LostGroupError as error:
            common.console.print(f"step {step:4d}   {error}")
        if not manager.should_commit():
            share.start_at(share.state)
            continue
        elastic.update(**trained)
        share.state = state
        common.console.print(f"step {step:4d}   loss {loss:7.4f}   groups {num_groups}")
        if manager.participating_rank() == 0 and (step % options.save_steps == 0 or step == options.max_steps):
            whole.load_state_dict(state)
            elastic.save(options.folder, whole, trained)
    manager.shutdown(wait=False)


def join(share: "Share", trained: dict[str, Any], *, timeout: timedelta) -> Manager:
    """Join the other groups. The manager copies weights and position from a group that has completed more steps."""

    def state_dict() -> dict[str, Any]:
        return {"data": share.state, **{name: value.state_dict() for name, value in trained.items()}}

    def load_state_dict(states: dict[str, Any]) -> None:
        share.start_at(states["data"])
        for name, value in trained.items():
            value.load_state_dict(states[name])

    return Manager(
        ProcessGroupGloo(timeout),
        load_state_dict,
        state_dict,
        min_replica_size=1,
        use_async_quorum=False,  # else a new group would not train in its first step
        quorum_retries=100,  # a group without a lighthouse waits for a new one
    )


def attempt(manager: Manager, model: torch.nn.Module, share: "Share") -> tuple[float, Any]:
    """Compute the gradients of a step.

    Returns:
        The loss, and the position of all groups after the step.

    Raises:
        LostGroupError: a group was lost in this step.
    """
    rank, num_groups = manager.participating_rank(), manager.num_participants()
    loss = backward(manager, model, share.batches(rank, num_groups))
    reports = gathered(manager, {"time": time.time_ns(), "loss": loss, "data": share.loader.state_dict()})
    loss, start = sum(report["loss"] for report in reports), max(report["time"] for report in reports)
    share.journal.write(start=start, step=manager.current_step() + 1, loss=loss, num_ranks=num_groups)
    for parameter in model.parameters():
        summed(manager, parameter.grad)
    return loss, merge_states([report["data"] for report in reports])


class LostGroupError(Exception):
    """The groups cannot complete the step, and repeat it."""


class Share:
    """The batches of this group. It opens a loader if the groups have changed, or did not complete a step.

    Attributes:
        state: The position of all groups at the start of the next step.
        loader: Reads the batches of this group.
        journal: Records what the loader reads.
    """

    def __init__(self, open_loader: Callable[..., Any], journal: Journal) -> None:
        self._open_loader, self.journal = open_loader, journal

    def start_at(self, state: Any) -> None:
        """Go to a position of all groups."""
        self.state, self.loader = state, None

    def batches(self, rank: int, num_groups: int) -> list[dict[str, Any]]:
        """The batches of this group in the next step."""
        if self.loader is None or self.loader.ranks != (rank, num_groups):
            start = time.perf_counter()
            self.loader = self._open_loader(rank=rank, world_size=num_groups)
            self.loader.load_state_dict(self.state)
            self._batches = self.journal.recorded(self.loader, loaded=time.perf_counter() - start)
        return list(islice(self._batches, elastic.share_of(num_groups)))


def backward(manager: Manager, model: torch.nn.Module, batches: list[dict[str, Any]]) -> float:
    """Compute the gradients of this group; returns its part of the mean loss over the trained tokens of all groups."""
    model.zero_grad()
    counts = [(batch["labels"][..., 1:] != IGNORE_INDEX).sum() for batch in batches]
    num_tokens = summed(manager, torch.stack(counts).sum())
    losses = []
    for batch, count in zip(batches, counts, strict=True):
        losses.append(model(**batch).loss * count / num_tokens)
        losses[-1].backward()
    return sum(loss.item() for loss in losses)


def gathered(manager: Manager, value: Any) -> list[Any]:
    """The values of all groups, which JSON can hold."""
    rank, text = manager.participating_rank(), json.dumps(value).encode()
    sizes = torch.zeros(manager.num_participants(), dtype=torch.int64)
    sizes[rank] = len(text)
    summed(manager, sizes)
    texts = torch.zeros(len(sizes), int(sizes.max()), dtype=torch.uint8)
    texts[rank, : len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    summed(manager, texts)
    return [json.loads(bytes(row[:size].tolist())) for row, size in zip(texts, sizes.tolist(), strict=True)]


def summed(manager: Manager, value: torch.Tensor) -> torch.Tensor:
    """The sum over all groups.

    Raises:
        LostGroupError: a group was lost in this step.
    """
    manager.allreduce(value, reduce_op=ReduceOp.SUM).wait()
    if error := manager.errored():
        raise LostGroupError(f"is repeated, because a group was lost: {error.original_exception}")
    return value


if __name__ == "__main__":
    main()
