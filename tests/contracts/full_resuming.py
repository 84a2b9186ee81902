"""C6 on the whole grid: every source, packing method, layout, number of workers and number of epochs.

    python -m tests.contracts.full_resuming --processes 2

restores at every step over two epochs, and prints the number of cases, steps and differences.
"""

import argparse
import itertools
import logging
import multiprocessing
import os
import random
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from tests.resuming import all_cases, assert_resumes_exactly, make_case, steps_of_two_epochs
from tests.streams import workers_that_end_at_once


def run(cases: list[tuple[Any, ...]], results: Any) -> None:
    """Put the number of steps and the first difference of each case into `results`."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    for case in cases:
        with tempfile.TemporaryDirectory() as folder, workers_that_end_at_once():
            make_loader = make_case(case, Path(folder))
            num_steps = steps_of_two_epochs(make_loader())
            try:
                assert_resumes_exactly(make_loader, num_steps=num_steps)
                results.put((case, num_steps, ""))
            except AssertionError as error:
                results.put((case, num_steps, str(error).splitlines()[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--start", type=int, default=0, help="skip this number of cases, to continue an earlier run")
    arguments = parser.parse_args()
    num_processes = arguments.processes
    cases = all_cases()
    random.Random(0).shuffle(cases)
    del cases[: arguments.start]
    results: Any = multiprocessing.Queue()
    for number in range(num_processes):
        multiprocessing.Process(target=run, args=(cases[number::num_processes], results)).start()
    outcomes = [_shown(*results.get()) for _ in cases]
    num_steps, num_differing = sum(steps for steps, _ in outcomes), sum(bool(problem) for _, problem in outcomes)
    print(f"{len(cases)} cases, restored at {num_steps:,} steps: {num_differing} cases differ")
    sys.exit(bool(num_differing))


def _shown(case: tuple[Any, ...], num_steps: int, problem: str) -> tuple[int, str]:
    print(*map(str, itertools.chain(case, [num_steps, problem or "equal"])), sep=", ", flush=True)
    return num_steps, problem


if __name__ == "__main__":
    main()
