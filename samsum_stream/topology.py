"""Who else reads: the processes of a distributed job."""

import os

import torch.distributed

from samsum_stream.errors import TopologyError


def require_one_process() -> None:
    """Raises `TopologyError` in a job of several processes, each of which would read every row."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        world_size = torch.distributed.get_world_size()
    else:
        world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size > 1:
        raise TopologyError(
            f"this version feeds one process, and the job has {world_size} (torch.distributed or WORLD_SIZE): each of "
            "them would read every row; run a single process"
        )
