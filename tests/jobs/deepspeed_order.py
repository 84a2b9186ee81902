"""An own loop with DeepSpeed: `python -m torch.distributed.run ... -m tests.jobs.deepspeed_order FOLDER ORDER`.

    before    the loader gets the model, and accelerate takes the batch size of DeepSpeed (`auto`) from the loader
    after     the loader gets the engine of DeepSpeed

Each rank writes the micro-batch size of the engine, and the losses of two steps.
"""

import json
import sys
from itertools import islice
from pathlib import Path

import deepspeed
import torch
import torch.distributed
from accelerate import Accelerator, DeepSpeedPlugin

from tests.models import make_model, one_thread
from tests.training.trainers import small_stream

NUM_STEPS = 2
LEARNING_RATE = 0.1


def main() -> None:
    folder, is_before = Path(sys.argv[1]), sys.argv[2] == "before"
    deepspeed.init_distributed("gloo")
    size = "auto" if is_before else 2
    config = {"zero_optimization": {"stage": 1}, "train_micro_batch_size_per_gpu": size, "gradient_clipping": 0.0}
    accelerator = Accelerator(cpu=False, deepspeed_plugin=DeepSpeedPlugin(hf_ds_config=config))
    model = make_model("llama", use_cache=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    stream = small_stream(epochs=None)
    if is_before:
        engine, optimizer, loader = accelerator.prepare(model, optimizer, stream.loader(model=model))
    else:
        engine, optimizer = accelerator.prepare(model, optimizer)
        loader = stream.loader(model=engine)
    losses = []
    for batch in islice(loader, NUM_STEPS):
        loss = engine(**batch).loss
        accelerator.backward(loss)
        losses.append(loss.item())
    result = [engine.train_micro_batch_size_per_gpu(), losses]
    rank = torch.distributed.get_rank()
    (folder / f"result-{rank}.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    with one_thread():
        main()
