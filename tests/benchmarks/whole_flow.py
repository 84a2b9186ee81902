"""The whole flow beside its limits and its peers: alternating runs, each in its own process, medians and ratios.

    python tests/benchmarks/whole_flow.py --peers PEERS.py --peers-python PYTHON limit_hf limit_fast grain

runs `ours_hf` and `ours_fastokens` in turn with the peers named, `--rounds` times, and prints a Markdown table. The
clock of every side starts when rows and tokenizer are in memory (the limits: when the texts are rendered as well) and
stops after the last batch. `--run ours_hf` runs one of ours once, in this process, and prints one JSON line.
"""

import argparse
import gzip
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SHARED = Path(__file__).resolve().parents[3] / "shared"
OURS = {"ours_hf": "hf", "ours_fastokens": "fastokens"}
SYSTEM = "Please summarize the following conversation"


def read_rows(corpus: str) -> list[dict[str, str]]:
    """The rows that the peers read, in their columns."""
    folder = SHARED / "data" / "datasets"
    if corpus == "samsum":
        with gzip.open(folder / "samsum" / "samsum.train.jsonl.gz", "rt") as lines:
            return [{"input": row["dialogue"], "response": row["summary"]} for row in map(json.loads, lines)]
    with gzip.open(folder / "dolly" / "databricks-dolly-15k.jsonl.gz", "rt") as lines:
        rows = map(json.loads, lines)
        return [{"input": row["instruction"] + "\n" + row["context"], "response": row["response"]} for row in rows]


PASSES = 8


def run_ours(backend: str) -> dict[str, Any]:
    """Some passes of an endless stream: from rows in memory to batches of 8 x length as torch tensors.

    One pass alone would say little: lanes have rows in their windows that are tokenized and not yet handed over.
    """
    from transformers import AutoTokenizer

    from samsum_stream import SFTStream

    corpus, length = os.environ.get("PEERS_CORPUS", "samsum"), int(os.environ.get("PEERS_LENGTH", "2048"))
    tokenizer = AutoTokenizer.from_pretrained(
        SHARED / "data" / "tokenizers" / os.environ.get("PEERS_TOKENIZER", "gpt-neox-20b")
    )
    config = {
        "prompt_config": {
            "kwargs": {
                "system_message": SYSTEM,
                "input_template": "Conversation: {text}",
                "response_template": "Summary: {text}",
            }
        },
        "tokenizer_config": {"backend": backend},
        "packing_config": {"kwargs": {"max_length": length}},
        "epochs": None,  # with an end, rows would be counted first, which the peers do not do
    }
    rows = read_rows(corpus)
    built = time.perf_counter()
    stream = SFTStream.from_config(config, rows=rows, tokenizer=tokenizer)
    start = time.perf_counter()
    first = 0.0
    for _ in stream.loader():
        first = first or time.perf_counter() - start
        if stream.stats.rows >= PASSES * len(rows):
            break
    wall = time.perf_counter() - start
    return {
        "wall_s": wall * len(rows) / stream.stats.rows,
        "first_batch_s": first,
        "build_s": start - built,
        "tokens": stream.stats.tokens,
        "mtok_per_s": stream.stats.tokens / wall / 1e6,
        "efficiency": stream.stats.efficiency,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def run_apart(name: str, *, peers: Path, peers_python: str) -> dict[str, Any]:
    """One run in a process of its own."""
    command = [sys.executable, __file__, "--run", name] if name in OURS else [peers_python, str(peers), name]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    result: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return result


def table(runs: dict[str, list[dict[str, Any]]]) -> str:
    """Medians, a row a side, with our tokens per second as a multiple of each side's."""
    speed = {name: statistics.median(run["mtok_per_s"] for run in results) for name, results in runs.items()}
    ours = [name for name in runs if name in OURS]
    lines = ["| | one pass, s | first batch, s | Mtok/s | efficiency | " + " | ".join(f"{n} is" for n in ours) + " |"]
    lines.append("|---" * (5 + len(ours)) + "|")
    for name, results in runs.items():
        wall, first = (statistics.median(run[key] for run in results) for key in ("wall_s", "first_batch_s"))
        share = results[0]["efficiency"]
        efficiency = f"{share:.2%}" if share else "-"
        ratios = " | ".join(f"{speed[mine] / speed[name]:.2f} x" for mine in ours)
        lines.append(f"| {name} | {wall:.3f} | {first:.3f} | {speed[name]:.2f} | {efficiency} | {ratios} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="peers to run beside ours")
    parser.add_argument("--run", choices=OURS, help="run one of ours once, here")
    parser.add_argument("--peers", type=Path, default=SHARED / "peers" / "peers.py", help="the peers' script")
    parser.add_argument("--peers-python", default=sys.executable, help="the Python that has the peers installed")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(run_ours(OURS[arguments.run])))
        return
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in (*OURS, *arguments.names)}
    for round_number in range(arguments.rounds):
        for name, results in runs.items():
            results.append(run_apart(name, peers=arguments.peers, peers_python=arguments.peers_python))
            print(f"round {round_number}: {name} {results[-1]['mtok_per_s']:.2f} Mtok/s", file=sys.stderr)
    print(table(runs))


if __name__ == "__main__":
    main()
