"""Shared code of the benchmarks: real rows as the peers read them, a stream over the rows, and separate processes.

Other packages are imported inside functions, so that a process can measure its memory before it imports them.
"""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samsum_stream import SFTStream

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
TOKENIZERS = SHARED / "data" / "tokenizers"
FILES = {"samsum": "samsum/samsum.train.jsonl.gz", "dolly": "dolly/databricks-dolly-15k.jsonl.gz"}
PROMPT = {
    "system_message": "Please summarize the following conversation",
    "input_template": "Conversation: {text}",
    "response_template": "Summary: {text}",
}


def read_rows(corpus: str) -> list[dict[str, str]]:
    """The rows of a key of `FILES`, with the column names of the package."""
    with gzip.open(SHARED / "data" / "datasets" / FILES[corpus], "rt", encoding="utf-8") as lines:
        rows = map(json.loads, lines)
        if corpus == "samsum":
            return [{"input": row["dialogue"], "response": row["summary"]} for row in rows]
        return [{"input": row["instruction"] + "\n" + row["context"], "response": row["response"]} for row in rows]


def open_stream(
    rows: object, *, tokenizer: Any = "gpt-neox-20b", backend: str = "fastokens", length: int = 2048, **changes: Any
) -> "SFTStream":
    """An endless stream over rows in memory; `tokenizer` is a tokenizer, or the name of a folder in `TOKENIZERS`."""
    from samsum_stream import SFTStream

    config = {
        "prompt_config": {"kwargs": PROMPT},
        "tokenizer_config": {"backend": backend},
        "packing_config": {"kwargs": {"max_length": length}},
        "epochs": None,
        **changes,
    }
    if isinstance(tokenizer, str):
        tokenizer = load_tokenizer(tokenizer)
    return SFTStream.from_config(config, rows=rows, tokenizer=tokenizer)


def load_tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(TOKENIZERS / name)


def run_apart(command: Sequence[object], *, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a separate Python process, and return the JSON of the last line that it prints.

    Args:
        command: The arguments of the interpreter; another interpreter may be the first.
        environment: Additional environment variables.

    Raises:
        SystemExit: the process failed; the message has its stderr.
    """
    words = [*map(str, command)]
    words = words if words[0].endswith("python") else [sys.executable, *words]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **(environment or {})}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: exit code {done.returncode}\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [list(header), ["---"] * len(header), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
