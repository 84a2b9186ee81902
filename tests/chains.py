"""Chains of topologies: a number of ranks and workers reads and saves, then other numbers continue from the state.

    python -m tests.chains --chains 5000 --real 100

checks 5000 random chains with workers that take turns in one process, and 100 with real worker processes.
"""

import argparse
import json
import random
import tempfile
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from samsum_stream import SFTStream, merge_states
from samsum_stream.loader.loader import StreamLoader
from tests.resuming import LANES, awkward_rows, equal, in_process, make_source, stream_of

TOPOLOGIES = [(r, k) for r in range(1, LANES + 1) for k in range(7) if LANES % (r * max(k, 1)) == 0]
"""Every pair of ranks and workers that divides 24 lanes evenly."""

NUM_IN_MEMORY = 5
OF_FILES = [("mixture", None), ("parquet", 1), ("tars", None), ("mixture", 1), ("jsonl", 1), ("gzip jsonl", None)]
OF_FILES += [("streaming", 1)]
"""Kinds of sources, and epochs. A chain over files takes ten times as long, so one chain in ten is over files."""

MAX_BATCHES = 8
"""The most batches of a rank in one phase."""


class Phase(NamedTuple):
    """One part of a chain: the number of ranks, the workers of each rank, and the batches that each rank reads."""

    ranks: int
    workers: int
    batches: int


class Reference:
    """The sequence of one process, read as far as it is needed."""

    def __init__(self, stream: SFTStream) -> None:
        self.stream, self.batches = stream, list[dict[str, Any]]()
        self.loader = stream.loader(num_workers=0, rank=0, world_size=1)
        self.iterator = iter(self.loader)

    def batch(self, number: int) -> dict[str, Any]:
        while len(self.batches) <= number:
            batch = next(self.iterator, None)
            if batch is None:
                self.iterator = iter(self.loader)
            else:
                self.batches.append({**batch, "info": str(self.loader.last_batch_info)})
        return self.batches[number]


def check_chain(reference: Reference, phases: Sequence[Phase], *, method: str | None = None) -> int:
    """Run the phases in order, compare each batch with that of one process, and return the number of batches.

    Raises:
        AssertionError: a batch differs, or ranks do not have equal numbers of batches.
    """
    state: dict[str, Any] | None = None
    num_checked = 0
    for phase in phases:
        states = []
        for rank in range(phase.ranks):
            loader = reference.stream.loader(
                num_workers=phase.workers,
                rank=rank,
                world_size=phase.ranks,
                multiprocessing_context=method if phase.workers else None,
            )
            loader = loader if method else in_process(loader)
            if state is not None:
                loader.load_state_dict(json.loads(json.dumps(state)))
            num_checked += _check_rank(reference, loader, phase)
            states.append(loader.state_dict())
        state = merge_states(states)
    return num_checked


def _check_rank(reference: Reference, loader: StreamLoader, phase: Phase) -> int:
    missing = phase.batches
    while missing:
        batches = iter(loader)
        for batch in islice(batches, missing):
            missing -= 1
            batch_and_info = {**batch, "info": str(loader.last_batch_info)}
            number = loader.last_batch_info.batch
            assert equal(batch_and_info, reference.batch(number)), f"{phase}: global batch {number} differs"
        batches.close()  # type: ignore[attr-defined]
    return phase.batches


def random_chain(chooser: random.Random) -> list[Phase]:
    return [Phase(*chooser.choice(TOPOLOGIES), chooser.randint(1, MAX_BATCHES)) for _ in range(chooser.randint(2, 5))]


def make_references(folder: Path) -> list[Reference]:
    """Five streams over rows in memory: endless, one epoch, two epochs, two from generators. Then those over files."""
    rows = awkward_rows(8 * LANES)
    in_memory = [
        Reference(stream_of(epochs=None)),
        Reference(stream_of(epochs=1)),
        Reference(stream_of(epochs=2, collator_config={"method": "padding_free"})),
        Reference(stream_of(epochs=None, rows=partial(iter, rows))),
        Reference(stream_of(epochs=1, rows=partial(iter, rows), method="first_fit")),
    ]
    return [*in_memory, *(_of_files(kind, epochs, folder) for kind, epochs in OF_FILES)]


def _of_files(kind: str, epochs: int | None, folder: Path) -> Reference:
    subfolder = folder / f"{kind} {epochs}"
    subfolder.mkdir()
    return Reference(stream_of(epochs=epochs, rows=None, **make_source(kind, awkward_rows(8 * LANES), subfolder)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chains", type=int, default=5000)
    parser.add_argument("--real", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _check(arguments, make_references(Path(folder)))


def _check(arguments: argparse.Namespace, references: Sequence[Reference]) -> None:
    chooser = random.Random(arguments.seed)
    for method, number in ((None, arguments.chains), ("fork", arguments.real)):
        num_checked = 0
        for index in range(number):
            in_memory, of_files = references[:NUM_IN_MEMORY], references[NUM_IN_MEMORY:]
            reference = in_memory[index % len(in_memory)] if index % 10 else of_files[index // 10 % len(of_files)]
            num_checked += check_chain(reference, random_chain(chooser), method=method)
        kind = "worker processes" if method else "workers in turn"
        print(f"{number:,} chains with {kind}: {num_checked:,} batches, 0 mismatches", flush=True)


if __name__ == "__main__":
    main()
