"""How often `torch.compile` compiles a model again in the first batches: `python -m tests.benchmarks.recompiles`.

A tiny Llama trains on the dialogues in `examples/data`, in the layouts with and without `pad_to_multiple_of`. Only the
graphs are counted, so the backend is `eager`.
"""

from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch._dynamo.utils import counters
from transformers import LlamaConfig, LlamaForCausalLM

from samsum_stream import SFTStream

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "data"
NUM_BATCHES = 30
LAYOUTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("packed", {"attention": "position_ids"}),
    ("packed", {"attention": "position_ids", "pad_to_multiple_of": 128}),
    ("padding_free", {}),
    ("padding_free", {"pad_to_multiple_of": 128}),
    ("padding_free", {"pad_to_multiple_of": 1024}),
    ("padded", {}),
    ("padded", {"pad_to_multiple_of": 128}),
)


def graphs(method: str, kwargs: dict[str, Any]) -> tuple[int, int]:
    """The graphs that are compiled for the first batches, and the shapes of these batches."""
    torch.compiler.reset()
    counters.clear()
    config: dict[str, Any] = {
        "source_config": {
            "method": "jsonl",
            "kwargs": {"path": str(EXAMPLES / "dialogues.jsonl")},
            "columns": {"input": "dialogue", "response": "summary"},
        },
        "base_model": str(EXAMPLES / "tokenizer"),
        "collator_config": {"method": method, "kwargs": {**kwargs, "measure": False}},
        "packing_config": {"kwargs": {"max_length": 512}, **({"method": "none"} if method == "padded" else {})},
        "batch_size": 4,
        "epochs": None,
    }
    stream = SFTStream.from_config(config)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(stream.tokenizer), **sizes))
    loader = stream.loader(model=model)
    compiled, shapes = torch.compile(model, backend="eager"), set()
    for batch in islice(loader, NUM_BATCHES):
        compiled(**batch).loss.backward()
        shapes.add(tuple(batch["input_ids"].shape))
    return counters["stats"]["unique_graphs"], len(shapes)


def main() -> None:
    """Print one line for each layout."""
    torch.manual_seed(0)
    for method, kwargs in LAYOUTS:
        num_graphs, num_shapes = graphs(method, kwargs)
        multiple = kwargs.get("pad_to_multiple_of", "none")
        print(
            f"{method:14}multiple {multiple:5}  {num_graphs:3} graphs  {num_shapes:3} shapes of {NUM_BATCHES} batches"
        )


if __name__ == "__main__":
    main()
