"""The dimensions of a device mesh: ranks along them read different rows, the same rows, or parts of the same rows."""

import math

from torch.distributed.device_mesh import DeviceMesh

from samsum_stream.errors import TopologyError

DATA_PARALLEL = ("batch", "data", "ddp", "dp", "dp_replicate", "dp_shard", "fsdp", "replicate", "shard")
"""Names of mesh dimensions along which ranks read different rows."""

SEQUENCE_PARALLEL = ("context", "cp", "sequence", "sp")
"""Names of mesh dimensions along which each rank gets the same rows, and computes a part of their tokens."""

MODEL_PARALLEL = (*SEQUENCE_PARALLEL, "ep", "etp", "expert", "pipeline", "pp", "tensor", "tp")
"""Names of mesh dimensions along which ranks read the same rows."""


def rank_in_mesh(mesh: DeviceMesh) -> tuple[int, int]:
    """The rank and the number of ranks in data parallelism, in row-major order: the first dimension changes slowest.

    Raises:
        TopologyError: a name of a dimension is unknown, or this process is not part of the mesh.
    """
    names = mesh.mesh_dim_names
    if mesh.ndim == 1 and names is None:
        names = DATA_PARALLEL[:1]
    unknown = [name for name in names or () if name not in (*DATA_PARALLEL, *MODEL_PARALLEL)]
    if names is None or unknown:
        what = f"dimension {unknown[0]!r}" if unknown else "dimensions without names"
        raise TopologyError(
            f"device_mesh has {what}; the known names are {', '.join(DATA_PARALLEL)} (ranks read different rows) and "
            f"{', '.join(MODEL_PARALLEL)} (ranks share rows); pass mesh[dim] of data parallelism, or rank and "
            "world_size"
        )
    coordinate = mesh.get_coordinate()
    if coordinate is None:
        raise TopologyError("this process is not part of the device_mesh; pass rank and world_size")
    rank, world_size = 0, 1
    for dimension, name in enumerate(names):
        if name in DATA_PARALLEL:
            size = mesh.size(dimension)
            rank, world_size = rank * size + coordinate[dimension], world_size * size
    return rank, world_size


def num_shards_of_rows(mesh: DeviceMesh | None) -> int:
    """The number of ranks that compute parts of the same rows; 1 without a dimension of `SEQUENCE_PARALLEL`."""
    if mesh is None or mesh.mesh_dim_names is None:
        return 1
    return math.prod(mesh.size(dim) for dim, name in enumerate(mesh.mesh_dim_names) if name in SEQUENCE_PARALLEL)
