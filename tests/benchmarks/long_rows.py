"""Measures one very long row: memory per character, and time per million characters, by backend and truncation method.

    python -m tests.benchmarks.long_rows
    python -m tests.benchmarks.long_rows --millions 250 --methods split --writings latin

writes JSON lines with a short row and a long one of SAMSum's dialogues, and reads them in a separate process without
workers. `--writings latin` keeps the ASCII characters, of which Python holds one byte each; `emoji` keeps all
characters, and then Python holds four bytes for each. Memory is the peak from building the stream to the last pack,
above the memory of a process that has read a stream of short rows. The slope is the memory that one more character
takes, from the smallest size to the largest. The time is that of reading alone.
"""

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.corpora import load_tokenizer, markdown, read_rows, run_apart

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def conversation(text: str) -> dict[str, Any]:
    turns = [("user", "Hi"), ("assistant", text), ("user", "And?"), ("assistant", "Ok")]
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


ROWS: dict[str, Callable[[str], dict[str, Any]]] = {
    "split": lambda text: {"text": text},
    "drop": lambda text: {"input": text, "response": "Ok"},
    "error": lambda text: {"input": text, "response": "Ok"},
    "input": lambda text: {"input": text, "response": "Ok"},
    "contexts": lambda text: {"input": "Who?", "response": "Bo", "contexts": ["one", text]},
    "right": lambda text: {"input": "Tell me", "response": text},
    "last_turns": conversation,
    "turns": conversation,
}
"""The row with a long text for each truncation method."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=int, nargs="+", default=[10, 20, 40], help="millions of characters")
    parser.add_argument("--backends", nargs="+", default=["fastokens", "hf"])
    parser.add_argument("--methods", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--writings", nargs="+", default=["latin", "emoji"], choices=["latin", "emoji"])
    parser.add_argument("--tokenizer", default="qwen3")
    parser.add_argument("--run", nargs=3, metavar=("BACKEND", "METHOD", "PATH"), help="measure here, and print JSON")
    options = parser.parse_args()
    if options.run:
        print(json.dumps(measure(*options.run, tokenizer=options.tokenizer)))
        return
    dialogues = "\n".join(row["input"] for row in read_rows("samsum"))
    texts = {"emoji": dialogues, "latin": dialogues.encode("ascii", "ignore").decode()}
    sizes = [f"s per million of {millions} M" for millions in options.millions]
    table = [
        [method, backend, writing, *measure_sizes(backend, method, texts[writing], options)]
        for writing in options.writings
        for method in options.methods
        for backend in options.backends
    ]
    header = ["method", "backend", "writing", *sizes, f"bytes per character of {options.millions[-1]} M", "slope"]
    print(markdown(header, table))


def measure_sizes(backend: str, method: str, text: str, options: argparse.Namespace) -> list[str]:
    """The cells of a combination: seconds per million characters, bytes per character, and their slope."""
    runs = []
    for millions in options.millions:
        with tempfile.TemporaryDirectory() as folder:
            path = write(Path(folder, "rows.jsonl"), method, text, num_characters=millions * 10**6)
            words = ("--run", backend, method, path, "--tokenizer", options.tokenizer)
            runs.append(run_apart(["-m", "tests.benchmarks.long_rows", *words]))
    seconds = [f"{run['seconds'] / millions:.3f}" for run, millions in zip(runs, options.millions, strict=True)]
    growth = (runs[-1]["bytes"] - runs[0]["bytes"]) / 1e6
    added = options.millions[-1] - options.millions[0]
    return [
        *seconds,
        f"{runs[-1]['bytes'] / options.millions[-1] / 1e6:.1f}",
        f"{growth / added:.1f}" if added else "-",
    ]


def write(path: Path, method: str, text: str, *, num_characters: int) -> Path:
    """A file with a short row and a long one."""
    long = (text * (num_characters // len(text) + 1))[:num_characters]
    with path.open("w", encoding="utf-8") as file:
        for value in ("A short text", long):
            json.dump(ROWS[method](value), file, ensure_ascii=False)
            file.write("\n")
    return path


def measure(backend: str, method: str, path: str, *, tokenizer: str) -> dict[str, float]:
    """The seconds of reading a file, and the bytes of building its stream and reading it."""
    from samsum_stream import RowError, SFTStream

    loaded = load_tokenizer(tokenizer)
    loaded.chat_template = TEMPLATE
    config = {"epochs": 1, "lanes": 1, "truncation_config": {"method": method}}
    config["tokenizer_config"] = {"backend": backend}
    for _ in SFTStream.from_config(config, rows=[ROWS[method]("short")] * 300, tokenizer=loaded):
        pass
    gc.collect()
    before = peak()
    source = {"method": "jsonl", "kwargs": {"path": path}}
    stream = SFTStream.from_config({**config, "source_config": source}, tokenizer=loaded)
    start = time.perf_counter()
    try:
        for _ in stream:
            pass
    except RowError:
        assert method == "error"
    return {"seconds": time.perf_counter() - start, "bytes": peak() - before}


def peak() -> int:
    """The peak of the memory of this process in bytes; `ru_maxrss` would start at the memory of the parent process."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
