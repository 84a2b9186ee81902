"""The meshes of accelerate and of own loops: ranks of one model get the same batches, other ranks get other rows."""

from itertools import product

import pytest
import torch
from accelerate import ParallelismConfig
from torch.distributed.device_mesh import init_device_mesh

from samsum_stream import ConfigError
from samsum_stream.loader.processes.meshes import SEQUENCE_PARALLEL, num_shards_of_rows
from samsum_stream.loader.processes.ranks import Ranks, find_ranks
from tests.fake_group import group
from tests.streams import make_rows, make_stream, rows_of_batch

Sizes = tuple[int, int, int, int]
"""The sizes of dp_replicate, dp_shard, cp and tp."""

NAMES = ("dp_replicate", "dp_shard", "cp", "tp")
PADDED = {"method": "padded"}


def is_of_accelerate(sizes: Sizes) -> bool:
    dp_replicate, dp_shard, cp, tp = sizes
    return 1 < dp_replicate * dp_shard * cp * tp <= 8 and not (cp * tp > 1 and dp_replicate > 1 and dp_shard == 1)


ALL_SIZES = [sizes for sizes in product((1, 2, 3, 4, 8), repeat=4) if is_of_accelerate(sizes)]


@pytest.mark.parametrize("sizes", ALL_SIZES, ids=str)
def test_every_mesh_of_accelerate_up_to_eight_ranks(sizes: Sizes) -> None:
    """The dimensions of data parallelism come first, so the ranks of one model are neighbors."""
    dp_replicate, dp_shard, cp, tp = sizes
    num_ranks = dp_replicate * dp_shard * cp * tp
    for rank in range(num_ranks):
        with group(rank, num_ranks):
            config = ParallelismConfig(**{f"{name}_size": size for name, size in zip(NAMES, sizes, strict=True)})
            mesh = config.build_device_mesh("cpu")
            assert find_ranks(device_mesh=mesh) == Ranks(rank // (cp * tp), dp_replicate * dp_shard)
            assert num_shards_of_rows(mesh) == cp


def test_only_dimensions_of_sequences_cut_rows() -> None:
    with group(0, 8):
        for name in ("cp", "context", "sp", "sequence"):
            mesh = init_device_mesh("cpu", (2, 4), mesh_dim_names=("dp", name))
            assert num_shards_of_rows(mesh) == num_shards_of_rows(mesh[name]) == 4
            assert num_shards_of_rows(mesh["dp"]) == 1
        assert num_shards_of_rows(init_device_mesh("cpu", (2, 2, 2), mesh_dim_names=("cp", "sp", "tp"))) == 4
        assert num_shards_of_rows(init_device_mesh("cpu", (8,))) == num_shards_of_rows(None) == 1


@pytest.mark.parametrize("num_workers", [0, 2])
def test_ranks_that_share_rows_get_equal_batches_that_can_be_cut(num_workers: int) -> None:
    batches = []
    for rank in range(8):
        with group(rank, 8):
            mesh = ParallelismConfig(dp_shard_size=2, cp_size=2, tp_size=2).build_device_mesh("cpu")
            stream = make_stream(make_rows(40), lanes=4, collator_config=PADDED)
            batches.append(list(stream.loader(device_mesh=mesh, num_workers=num_workers)))
    for first, other in ((0, 1), (0, 2), (0, 3), (4, 5), (4, 6), (4, 7)):
        for one, same in zip(batches[first], batches[other], strict=True):
            assert all(torch.equal(one[name], same[name]) for name in one)
    assert all(batch["input_ids"].shape[1] % 4 == 0 for of_rank in batches for batch in of_rank)
    rows = [row for rank in (0, 4) for batch in batches[rank] for row in rows_of_batch(batch)]
    assert sorted(rows) == list(range(40))


@pytest.mark.parametrize("name", SEQUENCE_PARALLEL)
@pytest.mark.parametrize("method", ["packed", "padding_free"])
def test_packed_rows_that_would_be_cut_are_an_error(name: str, method: str) -> None:
    with group(0, 2):
        mesh = init_device_mesh("cpu", (2,), mesh_dim_names=(name,))
        stream = make_stream(collator_config={"method": method})
        rule = f"method: must be padded, .* because 2 ranks compute parts of the same rows .* got {method}. In your own"
        with pytest.raises(ConfigError, match=rule):
            stream.loader(device_mesh=mesh)
        assert stream.loader(rank=0, world_size=1).ranks == Ranks(0, 1)


@pytest.mark.parametrize("method", ["packed", "padding_free", "padded"])
def test_tensor_parallelism_does_not_change_the_batches(method: str) -> None:
    with group(1, 2):
        mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("tp",))
        stream = make_stream(lanes=1, collator_config={"method": method})
        for one, other in zip(stream.loader(rank=0, world_size=1), stream.loader(device_mesh=mesh), strict=True):
            assert one.keys() == other.keys()
            assert all(torch.equal(one[name], other[name]) for name in one if torch.is_tensor(one[name]))
