"""Measures the memory of a stream, above that of Python with torch, transformers and the rows, over many epochs.

    python -m tests.benchmarks.memory

reads a hundred epochs of SAMSum without workers, and prints a Markdown table of the resident memory of its process.
"""

import argparse
import resource
import sys
import time

import psutil

from tests.benchmarks.corpora import load_tokenizer, markdown, open_stream, read_rows

MARKS = (1, 2, 5, 10, 25, 50, 75, 100)
"""The epochs after which the memory is measured."""


def resident_mb() -> float:
    return float(psutil.Process().memory_info().rss) / 1e6


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def import_training_packages() -> None:
    """Import the packages that a training script imports before this package."""
    import torch  # noqa: F401
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, Trainer  # noqa: F401


def import_package() -> None:
    import samsum_stream  # noqa: F401


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="fastokens")
    parser.add_argument("--tokenizer", default="gpt-neox-20b")
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=100)
    options = parser.parse_args()
    import_training_packages()
    rows = read_rows("samsum")
    start = resident_mb()
    table = [("with torch, transformers and the rows", f"{start:.0f}", "")]

    def measure(moment: str) -> None:
        table.append((moment, f"{resident_mb():.0f}", f"{resident_mb() - start:.0f}"))
        print(*table[-1], file=sys.stderr, flush=True)

    tokenizer = load_tokenizer(options.tokenizer)
    measure("tokenizer loaded")
    import_package()
    measure("samsum_stream imported")
    stream = open_stream(rows, tokenizer=tokenizer, backend=options.backend, length=options.length)
    measure("stream built")
    marks = [mark for mark in MARKS if mark < options.epochs] + [options.epochs]
    first = time.perf_counter()
    for _ in stream.loader():
        if stream.stats.rows >= marks[0] * len(rows):
            measure(f"after {marks.pop(0)} epochs")
        if not marks:
            break
    seconds = time.perf_counter() - first
    table.append(("maximum", f"{peak_mb():.0f}", f"{peak_mb() - start:.0f}"))
    work = f"`{options.backend}`, {options.tokenizer}, 8 x {options.length:,}"
    print(f"{work}, {options.epochs} epochs in {seconds:.0f} s\n")
    print(markdown(["", "MB", "above"], table))


if __name__ == "__main__":
    main()
