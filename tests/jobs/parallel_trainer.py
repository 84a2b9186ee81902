"""A Trainer on GPUs with a ParallelismConfig: `... -m tests.jobs.parallel_trainer FOLDER NAME METHOD`.

A step has two batches: one of each rank in data parallelism, two with accumulation otherwise. Each rank writes its rank
in data parallelism, the rows of its steps, the losses and the number of tokens.
"""

import json
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from accelerate import ParallelismConfig
from transformers import LlamaForCausalLM, PreTrainedModel

from samsum_stream.loader.processes.ranks import find_ranks
from tests.models import make_model
from tests.streams import make_rows, make_stream
from tests.training.trainers import Recorder, arguments, layout_of, losses

ONE = "one process"
CONFIGS: dict[str, dict[str, int]] = {
    ONE: {},
    "data": {"dp_shard_size": 2},
    "tensor": {"tp_size": 2},
    "context": {"cp_size": 2},
}
FSDP = {"fsdp": True, "fsdp_config": {"version": 2, "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"]}}
NUM_STEPS = 4


def main() -> None:
    folder, name, method = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    sizes, changes = CONFIGS[name], dict[str, Any]()
    if sizes:
        changes["parallelism_config"] = ParallelismConfig(**sizes)
    if name in ("data", "context"):
        changes |= FSDP
    accumulation = 1 if name == "data" else 2
    settings = arguments(
        folder,
        use_cpu=False,
        max_steps=NUM_STEPS,
        gradient_accumulation_steps=accumulation,
        include_num_input_tokens_seen="all",
        **changes,
    )
    trainer = Recorder(model_of(name, folder, rank=settings.process_index), settings)
    stream = make_stream(make_rows(60), lanes=2, collator_config=layout_of(method))
    stream.attach(trainer)
    trainer.train()
    rows = [[*chain.from_iterable(step)] for step in zip(*[iter(trainer.rows)] * accumulation, strict=True)]
    result = {
        "data_rank": find_ranks(device_mesh=trainer.accelerator.torch_device_mesh).rank,
        "rows": rows,
        "losses": [loss for _, _, loss in losses(trainer)],
        "tokens": trainer.state.num_input_tokens_seen,
    }
    (folder / f"result-{settings.process_index}.json").write_text(json.dumps(result), encoding="utf-8")


def model_of(name: str, folder: Path, *, rank: int) -> PreTrainedModel:
    """The same weights on all ranks, without grouped heads, which the attention between ranks lacks in float32."""
    model = make_model("llama", "sdpa", num_key_value_heads=4)
    if name != "tensor":
        return model
    if rank == 0:
        model.save_pretrained(folder / "model")
    torch.distributed.barrier()
    return LlamaForCausalLM.from_pretrained(folder / "model", tp_plan="auto", attn_implementation="sdpa")


if __name__ == "__main__":
    main()
