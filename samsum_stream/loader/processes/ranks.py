"""The processes that share the rows: data-parallel ranks of a job, and workers of a DataLoader."""

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch.distributed
from torch.distributed.device_mesh import DeviceMesh
from torch.utils.data import get_worker_info

from samsum_stream.errors import StateError, TopologyError, WorkerError
from samsum_stream.errors.wording import shown
from samsum_stream.loader.processes.meshes import rank_in_mesh

logger = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds to wait for other ranks before a warning."""

MORE_TIME = (
    "if they need more time, raise the timeout of the process group (ddp_timeout=7200 of TrainingArguments, or "
    "init_process_group(timeout=timedelta(hours=2))), or use more workers"
)

_ACCELERATE = ("tp", "cp", "sp", "pp")
"""Dimensions of accelerate along which ranks share rows."""


class Ranks(NamedTuple):
    """The rank of this process and the number of ranks, in data parallelism."""

    rank: int
    world_size: int


def find_ranks(
    *, rank: int | None = None, world_size: int | None = None, device_mesh: DeviceMesh | None = None
) -> Ranks:
    """The ranks of data parallelism: from the arguments, else from the mesh, else from torch.distributed or `RANK`.

    Raises:
        TopologyError: the arguments contradict each other, or the global rank is not the rank of data parallelism.
    """
    if rank is not None or world_size is not None:
        return _explicit_ranks(rank, world_size, device_mesh)
    if device_mesh is not None:
        return Ranks(*rank_in_mesh(device_mesh))
    return _ranks_in_job()


def require_one_process() -> None:
    """Raise a `TopologyError` in a job of several processes, because each process would read every row."""
    if (ranks := _processes()).world_size != 1:
        raise TopologyError(
            f"the job has {ranks.world_size} processes (torch.distributed or WORLD_SIZE), and each of them would read "
            "every row from the stream itself, in a plain DataLoader or as the train_dataset of a Trainer; call "
            "stream.attach(trainer), or iterate over stream.loader(), which gives each rank its share"
        )


def is_distributed() -> bool:
    """Whether torch.distributed has a default process group."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def has_group(ranks: Ranks) -> bool:
    """Whether a process group of more than one process exists and has the world size of `ranks`."""
    return is_distributed() and torch.distributed.get_world_size() == ranks.world_size > 1


def gathered(value: T, *, world_size: int, action: str) -> list[T]:
    """The values of all ranks of the process group. Waits for the slowest rank, and warns if that takes a minute.

    Args:
        value: The value of this rank.
        world_size: The number of ranks in the group.
        action: What the other ranks do until they send their values, for messages.

    Raises:
        WorkerError: a rank has ended, or needs more time than the process group allows.
    """
    values: list[Any] = [None] * world_size
    try:
        with _warning_after(PATIENCE, f"waiting for other ranks, which are {action}; {MORE_TIME}"):
            torch.distributed.all_gather_object(values, value)
    except RuntimeError as error:
        raise WorkerError(
            f"waiting for other ranks, which are {action}: one of them ended, or needs more time than the process "
            f"group allows ({type(error).__name__}: {error}); see its error if it ended; {MORE_TIME}"
        ) from error
    return values


@contextmanager
def _warning_after(seconds: float, message: str) -> Iterator[None]:
    """Log a warning if the `with` block takes longer. With NCCL, torch ends the process, and the warning is all."""
    timer = threading.Timer(seconds, logger.warning, ("%s", message))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def require_agreement(value: int | None, ranks: Ranks, *, what: str) -> None:
    """Compare `value` across the process group of `ranks`, and wait for all of them; do nothing without a group.

    Args:
        value: The value of this rank.
        what: The action, for the error message.

    Raises:
        StateError: the ranks have different values.
    """
    if has_group(ranks):
        values: list[Any] = [None] * ranks.world_size
        torch.distributed.all_gather_object(values, value)
        if len(set(values)) > 1:
            raise StateError(f"{what}: ranks found different states, of batches {values}; give all ranks one folder")


def of_first_rank(value: T) -> T:
    """The value of rank 0, on every rank of the process group; `value` itself if no group exists."""
    values = [value]
    if is_distributed():
        torch.distributed.broadcast_object_list(values)
    return values[0]


def of_all_ranks(value: T) -> list[T]:
    """The values of all ranks of the process group, on every rank; only `value` if no group exists."""
    values = [value]
    if is_distributed():
        values *= torch.distributed.get_world_size()
        torch.distributed.all_gather_object(values, value)
    return values


def this_worker() -> tuple[int, int]:
    """The number of this DataLoader worker and the number of workers; `(0, 1)` in the training process."""
    info = get_worker_info()
    return (0, 1) if info is None else (info.id, info.num_workers)


def _explicit_ranks(rank: int | None, world_size: int | None, device_mesh: DeviceMesh | None) -> Ranks:
    if rank is None or world_size is None or device_mesh is not None:
        raise TopologyError(
            f"rank and world_size go together, and without device_mesh, got rank={rank}, world_size={world_size}"
            f"{'' if device_mesh is None else ' and a mesh'}; pass both of them, or only device_mesh"
        )
    if type(rank) is not int or type(world_size) is not int or not 0 <= rank < world_size:
        raise TopologyError(
            f"rank must be a whole number from 0 to world_size - 1, got rank={shown(rank)}, "
            f"world_size={shown(world_size)}; pass both as they are in data parallelism"
        )
    return Ranks(rank, world_size)


def _ranks_in_job() -> Ranks:
    ranks = _processes()
    if sizes := [text for name in _ACCELERATE if (text := _size_in_accelerate(name))]:
        raise TopologyError(
            f"{sizes[0]}: ranks share rows, so the global rank {ranks.rank} of {ranks.world_size} is not the rank of "
            "data parallelism; pass device_mesh=accelerator.torch_device_mesh, or rank= and world_size="
        )
    return ranks


def _size_in_accelerate(name: str) -> str:
    """The size of a dimension as text, from an `Accelerator` of this process or its launcher; empty if it is 1."""
    state = sys.modules.get("accelerate.state")  # the import takes a second, and no Accelerator exists before it
    config = state.AcceleratorState._shared_state.get("parallelism_config") if state else None
    if (size := getattr(config, f"{name}_size", 1)) > 1:
        return f"{name}_size={size} in the ParallelismConfig"
    variable = f"PARALLELISM_CONFIG_{name.upper()}_SIZE"
    return f"{variable}={size}" if int(size := os.environ.get(variable) or "1") > 1 else ""


def _processes() -> Ranks:
    if is_distributed():
        return Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size())
    return Ranks(int(os.environ.get("RANK") or "0"), int(os.environ.get("WORLD_SIZE") or "1"))
