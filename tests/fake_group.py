"""A process group in which this process is one member, and the other members are fake."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed
from torch.testing._internal.distributed.fake_pg import FakeStore


@contextmanager
def group(rank: int, world_size: int) -> Iterator[None]:
    """Inside the `with` block, this process is `rank` of `world_size`. Collectives return at once."""
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world_size)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()
