"""Trains a tiny Llama on conversations with tool calls in a plain PyTorch loop: half a minute on a CPU, offline.

Run it from any folder: `python examples/train_tools.py`. `configs/conversations_openai.yaml` names the conversations,
the tokenizer and the chat template.
"""

import json
import time
from argparse import ArgumentParser
from typing import Any

import common
import torch
from transformers import LlamaForCausalLM, get_cosine_schedule_with_warmup

from samsum_stream import SFTStream

CONVERSATIONS = common.ROOT / "examples" / "data" / "tools.jsonl"


def main() -> None:
    """Train from a YAML file, and generate a turn."""
    parser = ArgumentParser(description="Train a tiny Llama on conversations with tool calls.")
    parser.add_argument("--max-steps", type=int, default=80, help="optimizer steps (default: %(default)s)")
    options = parser.parse_args()
    stream = common.open_stream("conversations_openai.yaml")
    model = common.tiny_llama(stream)
    common.show_example(stream)

    common.heading("Training")
    optimizer = torch.optim.AdamW(model.parameters(), lr=common.LEARNING_RATE)
    scheduler = get_cosine_schedule_with_warmup(optimizer, options.max_steps // 10, options.max_steps)
    log = common.LossLog(max_steps=options.max_steps)
    start = time.perf_counter()
    model.train()
    # The loader measures the model: conversations of a batch do not see each other.
    for step, batch in zip(range(1, options.max_steps + 1), stream.loader(model=model), strict=False):
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        log.add(step, loss.item())
    common.show_speed(stream, steps=options.max_steps, seconds=time.perf_counter() - start)
    show_turn(stream, model)
    common.require_learning(log.losses)


def show_turn(stream: SFTStream, model: LlamaForCausalLM) -> None:
    """Print the turn that the model generates after the first question of a trained conversation."""
    common.heading("A generated turn")
    row = first_question()
    input_ids = torch.tensor([stream.inference_ids(row)], device=model.device)
    model.eval()
    # The eos is the stop token of the template.
    output = model.generate(
        input_ids, attention_mask=torch.ones_like(input_ids), max_new_tokens=60, do_sample=False, use_cache=True
    )
    common.console.print(stream.inference_prompt(row), style="dim", end="")
    common.console.print(stream.tokenizer.decode(output[0, input_ids.shape[1] :]), style="bold green")


def first_question() -> dict[str, Any]:
    """The first conversation up to its first user message: a row whose last message is the turn to answer."""
    with CONVERSATIONS.open(encoding="utf-8") as lines:
        row = json.loads(next(lines))
    return {**row, "messages": row["messages"][:2]}


if __name__ == "__main__":
    main()
