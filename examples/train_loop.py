"""Trains a tiny Llama on packed dialogues in a plain PyTorch loop: a minute on a CPU, offline.

Run it from anywhere: `python examples/train_loop.py --num-workers 2`.
"""

import time

import common
import torch
from transformers import LlamaForCausalLM, get_cosine_schedule_with_warmup

from samsum_stream import SFTStream


def main() -> None:
    """From a YAML file to a summary."""
    arguments = common.parser("Train a tiny Llama in a plain PyTorch loop.")
    arguments.add_argument("--num-workers", type=int, default=0, help="processes that prepare the batches")
    options = arguments.parse_args()
    stream = common.open_stream()
    model = common.tiny_llama(stream)
    common.show_example(stream)

    common.heading("Training")
    start = time.perf_counter()
    losses = train(model, stream, max_steps=options.max_steps, num_workers=options.num_workers)
    common.show_speed(stream, steps=options.max_steps, seconds=time.perf_counter() - start)
    common.show_summary(stream, model)
    common.require_learning(losses)


def train(model: LlamaForCausalLM, stream: SFTStream, *, max_steps: int, num_workers: int) -> list[float]:
    """Train for `max_steps` batches of the endless stream; gives the mean loss of each tenth of them."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=common.LEARNING_RATE)
    scheduler = get_cosine_schedule_with_warmup(optimizer, max_steps // 10, max_steps)
    interval = max(max_steps // 10, 1)
    losses, recent = [], []
    model.train()
    for step, batch in zip(range(1, max_steps + 1), stream.loader(num_workers=num_workers), strict=False):
        # With a cache, transformers does not look for packed documents: each would see those before it.
        loss = model(**batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        recent.append(loss.item())
        if step % interval == 0:
            losses.append(sum(recent) / len(recent))
            common.show_loss(step, losses[-1])
            recent.clear()
    return losses


if __name__ == "__main__":
    main()
