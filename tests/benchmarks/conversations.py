"""Compares the throughput of conversations with the usual ways: medians and ratios of alternating separate processes.

    python -m tests.benchmarks.conversations [--rounds N] [--peers-python PYTHON] [NAME ...]

    plain            Topical-Chat, 22 messages each, from rows in memory to packed batches, both backends
    tools            tau-bench airline, 26 messages each with tool calls, from rows in memory to packed batches
    template         the same conversations with one `apply_chat_template(tokenize=True)` for each row
    single           SAMSum, one turn for each row, from rows in memory to packed batches
    limit_hf         the ids of `encode_batch_fast` for ready texts, those of the runs of `plain`
    trl              `SFTTrainer` with `assistant_only_loss` and packing, over the conversations of `plain`
    axolotl          the chat template strategy of Axolotl, its multipack sampler and its collator, over the same ones

A throughput is that of the texts of the rows, in tokens per second: each text is counted once, also if a template that
rewrites history repeats it in several examples. The clock starts when rows and tokenizer are in memory, and stops after
one pass over the rows, which is the first one: a stream makes its frames in this time.
"""

import argparse
import gc
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.corpora import ROOT, SHARED, TOKENIZERS

DATA = SHARED / "data" / "datasets"
LENGTH, BATCH_SIZE = 4096, 8
PEERS = ("trl", "axolotl")
TEMPLATES = ("qwen2_5", "qwen3")
"""A template that keeps earlier turns, and one that rewrites them."""


def topical_chat() -> list[dict[str, Any]]:
    """The conversations of Topical-Chat, whose speakers alternate."""
    paths = sorted((DATA / "topical_chat").glob("*.jsonl.gz"))
    contents = [row["content"] for path in paths for row in _read(path)]
    return [{"messages": [_message(number, turn) for number, turn in enumerate(content)]} for content in contents]


def tau_bench() -> list[dict[str, Any]]:
    """The conversations of tau-bench's airline agent, with its tools, up to the last turn of the agent."""
    tools = json.loads((DATA / "tau_bench" / "airline_tools.json").read_text(encoding="utf-8"))
    return [{"messages": row["messages"], "tools": tools} for row in _read(DATA / "tau_bench" / "airline.jsonl.gz")]


def samsum() -> list[dict[str, Any]]:
    """The rows of SAMSum."""
    return [
        {"input": row["dialogue"], "response": row["summary"]} for row in _read(DATA / "samsum/samsum.train.jsonl.gz")
    ]


def load_tokenizer(template: str) -> Any:
    """The tokenizer of Qwen3 with a template of the `trl` package."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(TOKENIZERS / "qwen3")
    spec = find_spec("trl")
    assert spec is not None
    assert spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0]) / "chat_templates" / f"{template}.jinja"
    tokenizer.chat_template = path.read_text(encoding="utf-8")
    return tokenizer


def run_stream(rows: list[dict[str, Any]], tokenizer: Any, *, backend: str) -> float:
    """The seconds for one epoch of packed batches."""
    from samsum_stream import SFTStream

    config = {
        "tokenizer_config": {"backend": backend},
        "packing_config": {"kwargs": {"max_length": LENGTH}},
        "truncation_config": {"method": "last_turns" if "messages" in rows[0] else "drop"},
    }
    stream = SFTStream.from_config(config, rows=rows, tokenizer=tokenizer)
    gc.collect()  # of what the imports left
    start, packs = time.perf_counter(), iter(stream)
    while batch := list(islice(packs, BATCH_SIZE)):
        stream.collator(batch)
    return time.perf_counter() - start


def run_template(rows: list[dict[str, Any]], tokenizer: Any) -> float:
    """The seconds for one `apply_chat_template` for each row, with the messages in the form of the template."""
    messages = [[_for_template(message) for message in row["messages"]] for row in rows]
    start = time.perf_counter()
    for row, conversation in zip(rows, messages, strict=True):
        tokenizer.apply_chat_template(conversation, tools=row.get("tools"), tokenize=True)
    return time.perf_counter() - start


def run_limit_hf(rows: list[dict[str, Any]], tokenizer: Any) -> float:
    """The seconds for the ids of the texts of the runs of all conversations, in the batches of the stream."""
    texts = list(_texts_of_runs(rows, tokenizer))
    start = time.perf_counter()
    for chunk in texts:
        encodings = tokenizer.backend_tokenizer.encode_batch_fast(chunk, add_special_tokens=False)
        [encoding.ids for encoding in encodings]
    return time.perf_counter() - start


def run_trl(rows: list[dict[str, Any]], tokenizer: Any) -> float:
    """The seconds from conversations to masked, packed batches with TRL."""
    import tempfile

    from datasets import Dataset, disable_progress_bars
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    disable_progress_bars()
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes))
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder, packing=True, max_length=LENGTH, assistant_only_loss=True, report_to=[], use_cpu=True
        )
        trainer = SFTTrainer(model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
        for _ in trainer.get_train_dataloader():
            pass
    return time.perf_counter() - start


def run_axolotl(rows: list[dict[str, Any]], tokenizer: Any) -> float:
    """The seconds from conversations to masked, packed batches with Axolotl, with as many processes as cores."""
    from axolotl.datasets import wrap_dataset_for_tokenized_prompt
    from axolotl.prompt_strategies.chat_template import load
    from axolotl.utils.collators.batching import V2BatchSamplerDataCollatorForSeq2Seq
    from axolotl.utils.dict import DictDefault
    from axolotl.utils.samplers.multipack import MultipackBatchSampler
    from axolotl.utils.trainer import add_position_ids
    from datasets import Dataset, disable_progress_bars
    from torch.utils.data import SequentialSampler

    disable_progress_bars()
    processes = os.cpu_count()
    config = DictDefault({"sequence_len": LENGTH, "chat_template": "tokenizer_default", "train_on_inputs": False})
    start = time.perf_counter()
    fields = {"role": "role", "content": "content"}
    strategy = load(tokenizer, config, {"message_property_mappings": fields})
    dataset = wrap_dataset_for_tokenized_prompt(
        strategy, Dataset.from_list(rows), process_count=processes, keep_in_memory=True
    )
    dataset = dataset.map(add_position_ids, batched=True, num_proc=processes, keep_in_memory=True)
    dataset = dataset.filter(lambda length: length <= LENGTH, input_columns="length", keep_in_memory=True)
    sampler = MultipackBatchSampler(
        SequentialSampler(dataset), BATCH_SIZE, LENGTH, dataset["length"], bin_size=LENGTH, drop_last=False
    )
    collator = V2BatchSamplerDataCollatorForSeq2Seq(tokenizer, max_length=LENGTH, padding="max_length")
    columns = ["input_ids", "labels", "attention_mask", "position_ids"]
    rows_of_batches = ([[dataset[index] for index in pack] for pack in batch] for batch in sampler)
    for batch in rows_of_batches:
        collator([[{name: row[name] for name in columns} for row in pack] for pack in batch])
    return time.perf_counter() - start


def num_tokens(rows: list[dict[str, Any]], tokenizer: Any) -> int:
    """The tokens of the texts of the rows, each text counted once."""
    texts = [text for row in rows for text in _texts(row)]
    return sum(len(encoding.ids) for encoding in tokenizer.backend_tokenizer.encode_batch_fast(texts))


RUNS: dict[str, tuple[Callable[[], list[dict[str, Any]]], Callable[..., float]]] = {
    "plain_fastokens": (topical_chat, lambda rows, tokenizer: run_stream(rows, tokenizer, backend="fastokens")),
    "plain_hf": (topical_chat, lambda rows, tokenizer: run_stream(rows, tokenizer, backend="hf")),
    "plain_template": (topical_chat, run_template),
    "plain_limit_hf": (topical_chat, run_limit_hf),
    "tools_fastokens": (tau_bench, lambda rows, tokenizer: run_stream(rows, tokenizer, backend="fastokens")),
    "tools_template": (tau_bench, run_template),
    "single_fastokens": (samsum, lambda rows, tokenizer: run_stream(rows, tokenizer, backend="fastokens")),
    "trl": (topical_chat, run_trl),
    "axolotl": (topical_chat, run_axolotl),
}


def measure(name: str, template: str) -> dict[str, Any]:
    """The throughput of one system in this process."""
    read, run = RUNS[name]
    rows, tokenizer = read(), load_tokenizer(template)
    seconds = run(rows, tokenizer)
    return {"seconds": seconds, "mtok_per_s": num_tokens(rows, tokenizer) / seconds / 1e6}


def main() -> None:
    """Run the systems in turn, and print the medians of their throughput."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[name for name in RUNS if name not in PEERS], help="the systems")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--templates", nargs="*", default=TEMPLATES)
    parser.add_argument("--peers-python", help="the Python that has trl and axolotl")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - RUNS.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(RUNS)}")
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    python = arguments.peers_python or sys.executable
    for template in arguments.templates:
        _print(template, _run_all(arguments.names, template, arguments.rounds, python))


def _run_all(names: list[str], template: str, rounds: int, peers_python: str) -> dict[str, list[float]]:
    results: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            python = peers_python if name in PEERS else sys.executable
            command = [python, "-m", "tests.benchmarks.conversations", "--measure", name, template]
            environment = {**os.environ, "TOKENIZERS_PARALLELISM": "true"}
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
            results[name].append(json.loads(done.stdout.splitlines()[-1])["mtok_per_s"])
    return results


def _print(template: str, results: dict[str, list[float]]) -> None:
    print(f"template {template}: million tokens of the rows per second, medians")
    for name, values in results.items():
        print(f"  {name:18} {median(values):8.3f}   {' '.join(f'{value:.3f}' for value in values)}", flush=True)


def _read(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _message(number: int, turn: dict[str, Any]) -> dict[str, str]:
    return {"role": "assistant" if number % 2 else "user", "content": turn["message"]}


def _for_template(message: dict[str, Any]) -> dict[str, Any]:
    """A message with the arguments of its calls as dicts, as templates want them."""
    if not message.get("tool_calls"):
        return message
    calls = [
        {**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}}
        for call in message["tool_calls"]
    ]
    return {**message, "content": message.get("content") or "", "tool_calls": calls}


def _texts_of_runs(rows: list[dict[str, Any]], tokenizer: Any) -> Iterator[list[str]]:
    import numpy as np

    from samsum_stream import SFTStream

    stream = SFTStream.from_config({"tokenizer_config": {"backend": "hf"}}, rows=rows, tokenizer=tokenizer)
    source: Any = stream.pipeline.source
    for start in range(0, len(rows), 64):
        chunk = source.take(np.arange(start, min(start + 64, len(rows))))
        yield list(stream.pipeline.encoder.renderer.render(chunk).texts)


def _texts(row: dict[str, Any]) -> list[str]:
    if "messages" not in row:
        return [row["input"], row["response"]]
    contents = [message["content"] for message in row["messages"] if message.get("content")]
    calls = [call["function"]["arguments"] for message in row["messages"] for call in message.get("tool_calls") or ()]
    return [*contents, *calls, *([json.dumps(row["tools"])] if row.get("tools") else [])]


if __name__ == "__main__":
    main()
