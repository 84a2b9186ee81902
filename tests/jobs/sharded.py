"""Two ranks share the weights of a model: `python -m torch.distributed.run ... -m tests.jobs.sharded FOLDER`.

For each model, every rank writes the form of attention that was chosen, whether an optimizer that is made now would get
the shards of all weights, and the loss of its first batch. It also writes whether a model was measured of which only
rank 0 has the weights.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch.distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from tests.models import make_model, one_thread
from tests.streams import make_rows, make_stream

MODELS = {"llama": "position_ids", "opt": "block_mask"}
"""The first exact form of each model."""

ON_RANK_0 = "weights on rank 0 only"


def main() -> None:
    torch.distributed.init_process_group("gloo")
    mesh, results = init_device_mesh("cpu", (2,)), dict[str, Any]()
    for name in MODELS:
        model = make_model(name)
        layers = model.model.layers if name == "llama" else model.model.decoder.layers
        for part in (*layers, model):
            fully_shard(part, mesh=mesh)
        stream = make_stream(make_rows(60), lanes=2)
        batch = next(iter(stream.loader(model=model)))
        are_sharded = all(isinstance(weight, DTensor) for weight in model.parameters())
        results[name] = [stream.collator.attention, are_sharded, model.eval()(**batch).loss.item()]
    rank = torch.distributed.get_rank()
    on_rank_0 = make_model("llama").to("cpu" if rank == 0 else "meta")
    results[ON_RANK_0] = make_stream(make_rows(60), lanes=2).fit(on_rank_0)
    (Path(sys.argv[1]) / f"rank-{rank}.json").write_text(json.dumps(results), encoding="utf-8")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    os._exit(0)  # torch can abort a process at its exit after `fully_shard`, because a thread of its own still runs


if __name__ == "__main__":
    with one_thread():
        main()
