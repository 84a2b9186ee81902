"""Who else reads: the processes of a distributed job, and the workers of a DataLoader."""

import os

import torch.distributed
from torch.utils.data import get_worker_info

from samsum_stream.errors import TopologyError


def require_one_process() -> None:
    """Raises `TopologyError` in a job of several processes, each of which would read every row."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        world_size = str(torch.distributed.get_world_size())
    else:
        world_size = os.environ.get("WORLD_SIZE") or "1"
    if world_size != "1":
        raise TopologyError(
            f"this version feeds one process, and the job has {world_size} (torch.distributed or WORLD_SIZE): each of "
            "them would read every row; run a single process"
        )


def in_worker() -> bool:
    """Whether this is a worker process of a DataLoader."""
    return get_worker_info() is not None


def this_worker() -> tuple[int, int]:
    """The number of this DataLoader worker and how many there are; `(0, 1)` in the training process.

    A worker encodes with one thread: the workers together are what uses the cores, and the `tokenizers` library
    warns in every forked one that is not told so.
    """
    info = get_worker_info()
    if info is None:
        return 0, 1
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return info.id, info.num_workers
