"""Trains on a mesh: `python -m torch.distributed.run ... -m tests.jobs.meshes FOLDER STEPS METHOD KIND DP CP TP`.

    ddp                DistributedDataParallel over DP, and a loader without a mesh
    ddp mesh           the same, and a loader with a mesh of one dimension
    fsdp               the layers over TP, then the weights over DP and CP (`fully_shard`); CP ranks cut each row

A step has the same batches for every mesh. The job continues from the newest state in the folder, and saves after its
last step. The first rank of each group that shares rows writes the loss of each step and its own rows.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.experimental import context_parallel
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

from samsum_stream import IGNORE_INDEX
from tests.jobs.attention_over_ranks import GATHERED, attend_over
from tests.models import make_model, one_thread
from tests.streams import make_rows, make_stream, rows_of_batches

BATCHES_PER_STEP = 4
"""Ranks of data parallelism x batches that each of them accumulates."""

NUM_ROWS = 200
COLUMNS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj")
ROWS = ("self_attn.o_proj", "mlp.down_proj")


class Layout(NamedTuple):
    """The ranks of data, context and tensor parallelism."""

    kind: str
    dp: int
    cp: int = 1
    tp: int = 1


def train(folder: Path, layout: Layout, mesh: DeviceMesh, num_steps: int, *, method: str) -> list[dict[str, Any]]:
    """The loss of each step and the rows of this rank."""
    model = make_model("llama", GATHERED if layout.cp > 1 else None, use_cache=False)
    model.load_state_dict(torch.load(path) if (path := folder / "model.pt").exists() else model.state_dict())
    stream = make_stream(make_rows(NUM_ROWS), lanes=4, epochs=None, collator_config={"method": method})
    module = parallel(model, layout, mesh)
    loader = stream.loader(
        model=model if layout.cp == 1 else None,  # its attention needs rows in parts
        device_mesh=mesh_of_loader(layout, mesh),
        batches_per_step=BATCHES_PER_STEP // layout.dp,
    )
    loader.load(folder / "data", missing_ok=True)
    optimizer, batches, steps = torch.optim.SGD(model.parameters(), lr=0.1), iter(loader), []
    module.train()
    for _ in range(num_steps):
        step = list(islice(batches, BATCHES_PER_STEP // layout.dp))
        rows = rows_of_batches(step)
        steps.append({"loss": train_step(module, step, mesh), "rows": rows})
        optimizer.step()
        optimizer.zero_grad()
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = get_model_state_dict(module, options=options)
    if torch.distributed.get_rank() == 0:
        torch.save(weights, folder / "model.pt")
    loader.save(folder / "data")
    return steps


def mesh_of_loader(layout: Layout, mesh: DeviceMesh) -> DeviceMesh | None:
    return {"ddp": None, "ddp mesh": mesh["dp"], "fsdp": mesh}[layout.kind]


def parallel(model: Any, layout: Layout, mesh: DeviceMesh) -> nn.Module:
    """The module to call: the wrapper of DDP; or the model, whose layers and weights are sharded in place."""
    if layout.kind != "fsdp":
        return DistributedDataParallel(model)
    weights = mesh["dp", "cp"] if layout.cp > 1 else mesh["dp"]  # a mesh of two dimensions replicates over the first
    plan = {name: ColwiseParallel() for name in COLUMNS} | {name: RowwiseParallel() for name in ROWS}
    for layer in model.model.layers:
        if layout.tp > 1:
            parallelize_module(layer, mesh["tp"], plan)
        fully_shard(layer, mesh=weights)
    fully_shard(model, mesh=weights)
    return model  # type: ignore[no-any-return]


def train_step(model: nn.Module, step: list[dict[str, Any]], mesh: DeviceMesh) -> float:
    """Run the batches of a rank backward; returns the mean loss over the labels of all ranks."""
    num_labels = torch.stack([(batch["labels"] != IGNORE_INDEX).sum() for batch in step]).sum()
    torch.distributed.all_reduce(num_labels, group=mesh.get_group("dp"))
    total = torch.zeros(())
    for batch in step:
        with in_parts(batch, mesh["cp"]):
            loss = model(**batch, num_items_in_batch=num_labels).loss
            (loss * mesh["dp"].size() * mesh["cp"].size()).backward()  # DDP and FSDP take the mean over the ranks
        total += loss.detach()
    for name in ("dp", "cp"):
        torch.distributed.all_reduce(total, group=mesh.get_group(name))
    return total.item()


@contextmanager
def in_parts(batch: dict[str, Any], cp: DeviceMesh) -> Iterator[None]:
    """Inside the `with` block, and after it, the tensors of a batch are the parts of this rank."""
    if cp.size() == 1:
        yield
        return
    tensors = [*batch.values()]
    cut = context_parallel(cp, buffers=tensors, buffer_seq_dims=[1] * len(tensors), no_restore_buffers={*tensors})
    with cut, attend_over(cp):
        yield


def main() -> None:
    folder, num_steps, method, kind = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    layout = Layout(kind, *map(int, sys.argv[5:]))
    torch.distributed.init_process_group("gloo")
    mesh = init_device_mesh("cpu", layout[1:], mesh_dim_names=("dp", "cp", "tp"))
    steps = train(folder, layout, mesh, num_steps, method=method)
    if mesh["cp"].get_local_rank() == mesh["tp"].get_local_rank() == 0:
        path = folder / f"steps-{mesh['dp'].get_local_rank()}.jsonl"
        path.write_text("".join(json.dumps(step) + "\n" for step in steps), encoding="utf-8")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    with one_thread():
        main()
