"""Trains on a mesh of ranks: `python -m torch.distributed.run ... -m tests.jobs.meshes FOLDER DP TP STEPS`.

The weights are sharded over DP (`fully_shard`), and the layers over TP. A step has the same batches for every mesh. The
job continues from the newest state in the folder, and saves after its last step. The first rank of each TP group writes
the loss of each step and its own rows.
"""

import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from samsum_stream import IGNORE_INDEX
from tests.models import make_model, one_thread
from tests.streams import make_rows, make_stream, rows_of_batches

BATCHES_PER_STEP = 4
"""Ranks of data parallelism x batches that each of them accumulates."""

NUM_ROWS = 200
COLUMNS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj")
ROWS = ("self_attn.o_proj", "mlp.down_proj")


def train(folder: Path, mesh: DeviceMesh, num_steps: int) -> list[dict[str, Any]]:
    """The loss of each step and the rows of this rank."""
    dp = mesh["dp"].size()
    model = make_model("llama")
    model.load_state_dict(torch.load(path) if (path := folder / "model.pt").exists() else model.state_dict())
    stream = make_stream(make_rows(NUM_ROWS), lanes=4, epochs=None)
    shard(model, mesh)
    loader = stream.loader(model=model, device_mesh=mesh, batches_per_step=BATCHES_PER_STEP // dp)
    loader.load(folder / "data", missing_ok=True)
    optimizer, batches, steps = torch.optim.SGD(model.parameters(), lr=0.1), iter(loader), []
    model.train()
    for _ in range(num_steps):
        step = list(islice(batches, BATCHES_PER_STEP // dp))
        steps.append({"loss": train_step(model, step, mesh["dp"]), "rows": rows_of_batches(step)})
        optimizer.step()
        optimizer.zero_grad()
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = get_model_state_dict(model, options=options)
    if torch.distributed.get_rank() == 0:
        torch.save(weights, folder / "model.pt")
    loader.save(folder / "data")
    return steps


def shard(model: Any, mesh: DeviceMesh) -> None:
    """Shard the layers over `tp`, then the weights over `dp`."""
    plan = {name: ColwiseParallel() for name in COLUMNS} | {name: RowwiseParallel() for name in ROWS}
    for layer in model.model.layers:
        if mesh["tp"].size() > 1:
            parallelize_module(layer, mesh["tp"], plan)
        fully_shard(layer, mesh=mesh["dp"])
    fully_shard(model, mesh=mesh["dp"])


def train_step(model: nn.Module, step: list[dict[str, Any]], dp: DeviceMesh) -> float:
    """Run the batches of a rank backward; returns the mean loss over the labels of all ranks."""
    num_labels = torch.stack([(batch["labels"] != IGNORE_INDEX).sum() for batch in step]).sum()
    torch.distributed.all_reduce(num_labels, group=dp.get_group())
    total = torch.zeros(())
    for batch in step:
        loss = model(**batch, num_items_in_batch=num_labels).loss
        (loss * dp.size()).backward()  # FSDP takes the mean over the ranks
        total += loss.detach()
    torch.distributed.all_reduce(total, group=dp.get_group())
    return total.item()


def main() -> None:
    folder, dp, tp, num_steps = Path(sys.argv[1]), *map(int, sys.argv[2:])
    torch.distributed.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (dp, tp), mesh_dim_names=("dp", "tp"))
    steps = train(folder, mesh, num_steps)
    if mesh["tp"].get_local_rank() == 0:
        path = folder / f"steps-{mesh['dp'].get_local_rank()}.jsonl"
        path.write_text("".join(json.dumps(step) + "\n" for step in steps), encoding="utf-8")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    with one_thread():
        main()
