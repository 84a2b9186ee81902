"""Who else reads: the data-parallel ranks of a distributed job, and the workers of a DataLoader."""

import os
from typing import Any, NamedTuple, TypeVar

import torch.distributed
from torch.distributed.device_mesh import DeviceMesh
from torch.utils.data import get_worker_info

from samsum_stream.errors import StateError, TopologyError
from samsum_stream.errors.wording import shown

T = TypeVar("T")

DATA_PARALLEL = ("batch", "data", "ddp", "dp", "dp_replicate", "dp_shard", "fsdp", "replicate", "shard")
"""Names of mesh dimensions along which ranks read different rows."""

MODEL_PARALLEL = ("context", "cp", "ep", "etp", "expert", "pipeline", "pp", "sequence", "sp", "tensor", "tp")
"""Names of mesh dimensions along which ranks share rows."""

_ACCELERATE = tuple(f"PARALLELISM_CONFIG_{name}_SIZE" for name in ("TP", "CP", "SP", "PP"))
"""Where accelerate tells its processes that ranks share rows."""


class Ranks(NamedTuple):
    """This rank and how many there are, in data parallelism."""

    rank: int
    world_size: int


def find_ranks(
    *, rank: int | None = None, world_size: int | None = None, device_mesh: DeviceMesh | None = None
) -> Ranks:
    """The ranks of data parallelism: as given, else from the mesh, else from torch.distributed.

    Raises:
        TopologyError: the arguments do not fit together, or the global rank is not that of data parallelism.
    """
    if rank is not None or world_size is not None:
        return _given(rank, world_size, device_mesh)
    if device_mesh is not None:
        return _in_mesh(device_mesh)
    return _in_job()


def require_one_process() -> None:
    """Raises `TopologyError` in a job of several processes, each of which would read every row."""
    if (ranks := _processes()).world_size != 1:
        raise TopologyError(
            f"the job has {ranks.world_size} processes (torch.distributed or WORLD_SIZE), and iterating over the "
            "stream itself, as a plain DataLoader or a Trainer does with train_dataset, would make each of them read "
            "every row; call stream.attach(trainer), or iterate over stream.loader(), which gives each rank its share"
        )


def has_group(ranks: Ranks) -> bool:
    """Whether a process group of these ranks exists."""
    is_there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return is_there and torch.distributed.get_world_size() == ranks.world_size > 1


def require_agreement(value: int | None, ranks: Ranks, *, what: str) -> None:
    """Wait for all ranks, where there is a process group of them.

    Raises:
        StateError: they have other values.
    """
    if has_group(ranks):
        values: list[Any] = [None] * ranks.world_size
        torch.distributed.all_gather_object(values, value)
        if len(set(values)) > 1:
            raise StateError(f"{what}: ranks found different states, of batches {values}; do they see one folder?")


def of_first_rank(value: T) -> T:
    """The value that rank 0 has, on all ranks of a process group; without one, `value`."""
    values = [value]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.broadcast_object_list(values)
    return values[0]


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


def _given(rank: int | None, world_size: int | None, device_mesh: DeviceMesh | None) -> Ranks:
    if rank is None or world_size is None or device_mesh is not None:
        raise TopologyError(
            f"rank and world_size go together, and without device_mesh; got rank={rank}, world_size={world_size}"
            f"{'' if device_mesh is None else ' and a mesh'}"
        )
    if type(rank) is not int or type(world_size) is not int or not 0 <= rank < world_size:
        raise TopologyError(
            f"rank must be a whole number from 0 to world_size - 1; got rank={shown(rank)}, "
            f"world_size={shown(world_size)}"
        )
    return Ranks(rank, world_size)


def _in_mesh(mesh: DeviceMesh) -> Ranks:
    """The coordinates along the dimensions of data parallelism, taken together; the first one changes slowest."""
    names = mesh.mesh_dim_names
    if mesh.ndim == 1 and (names is None or names[0] not in MODEL_PARALLEL):
        names = DATA_PARALLEL[:1]
    unknown = [name for name in names or () if name not in (*DATA_PARALLEL, *MODEL_PARALLEL)]
    if names is None or unknown:
        what = f"dimension {unknown[0]!r}" if unknown else "dimensions without names"
        raise TopologyError(
            f"device_mesh has {what}, and only the names {', '.join(DATA_PARALLEL)} are known to read different rows "
            f"and {', '.join(MODEL_PARALLEL)} to share them; pass mesh[dim] of data parallelism, or rank and world_size"
        )
    coordinate = mesh.get_coordinate()
    if coordinate is None:
        raise TopologyError("this process is not part of the device_mesh; pass rank and world_size")
    ranks = Ranks(0, 1)
    for dimension, name in enumerate(names):
        if name in DATA_PARALLEL:
            size = mesh.size(dimension)
            ranks = Ranks(ranks.rank * size + coordinate[dimension], ranks.world_size * size)
    return ranks


def _in_job() -> Ranks:
    ranks = _processes()
    if sharing := [name for name in _ACCELERATE if int(os.environ.get(name) or "1") > 1]:
        raise TopologyError(
            f"{sharing[0]}={os.environ[sharing[0]]}: ranks share rows, so the global rank {ranks.rank} of "
            f"{ranks.world_size} is not the one of data parallelism; pass device_mesh=, or rank= and world_size="
        )
    return ranks


def _processes() -> Ranks:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size())
    return Ranks(int(os.environ.get("RANK") or "0"), int(os.environ.get("WORLD_SIZE") or "1"))
