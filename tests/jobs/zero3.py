"""A Trainer with DeepSpeed ZeRO-3 on a CPU: `python -m torch.distributed.run ... -m tests.jobs.zero3 FOLDER MODEL`.

The model is loaded in parts, as transformers does in a job with ZeRO-3, so it has no weights when the stream is
attached. Each rank writes the losses of two steps, or the error.
"""

import json
import sys
from pathlib import Path
from typing import Any

import deepspeed
import torch.distributed
from transformers import Trainer

from samsum_stream import SamsumStreamError
from tests.models import MODELS, make_model, one_thread
from tests.training.trainers import arguments, losses, small_stream


def main() -> None:
    folder, name = Path(sys.argv[1]), sys.argv[2]
    deepspeed.init_distributed("gloo")  # else DeepSpeed counts one rank while the model is loaded
    rank = torch.distributed.get_rank()
    if rank == 0:
        make_model(name).save_pretrained(folder / "model")
    torch.distributed.barrier()
    optimizer = {"type": "AdamW", "params": {"lr": "auto", "torch_adam": True}}
    zero = {"stage": 3, "stage3_param_persistence_threshold": 0}
    sizes = dict.fromkeys(("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"), "auto")
    config: dict[str, Any] = {"zero_optimization": zero, "optimizer": optimizer, **sizes}
    settings = arguments(folder, max_steps=2, deepspeed=config)
    trainer = Trainer(MODELS[name][0].from_pretrained(folder / "model"), settings)
    assert any(weight.numel() == 0 for weight in trainer.model.parameters())
    small_stream().attach(trainer)
    try:
        trainer.train()
        assert trainer.model_wrapped.train_micro_batch_size_per_gpu() == trainer.args.per_device_train_batch_size
        result: Any = [loss for _, _, loss in losses(trainer)]
    except SamsumStreamError as error:
        result = str(error)
    (folder / f"result-{rank}.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    with one_thread():
        main()
