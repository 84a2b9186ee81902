"""Every setting of a Trainer on every model: `python -m tests.contracts.full_trainer` exits 1 on a silent difference.

alone      each setting on each model, packed, float32
pairs      a covering array: each pair of setting, model, adapters, dtype and layout occurs

A step has the loss and the gradient of its documents one at a time, or the setting is refused by name.
"""

import logging
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import combinations, product
from pathlib import Path
from typing import Any

import torch

from tests.contracts.trainer_steps import DTYPES, LAYOUTS, MODELS, SETTINGS, outcome, train_step

Case = tuple[str, str, bool, torch.dtype, str]


def main() -> int:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    start, outcomes = time.perf_counter(), Counter[str]()
    parts = sys.argv[1:] or ["alone", "pairs"]
    for part in parts:
        for case in {"alone": alone, "pairs": pairs}[part]():
            result = run(case)
            outcomes[f"{part} {result.partition(':')[0]}"] += 1
            if result != "equal":
                setting, model, has_adapters, dtype, layout = case
                adapters = "adapters" if has_adapters else ""
                print(f"{setting:22}{model:20}{adapters:9}{str(dtype)[6:]:9}{layout:13}{result[:230]}", flush=True)
    print(
        *(f"{number:6}  {name}" for name, number in outcomes.items()), f"{time.perf_counter() - start:,.0f} s", sep="\n"
    )
    return int(any("DIFFERENT" in name for name in outcomes))


def run(case: Case) -> str:
    """The outcome of one case."""
    setting, model, has_adapters, dtype, layout = case
    with tempfile.TemporaryDirectory() as folder:
        settings = {"layout": layout, "has_adapters": has_adapters, "dtype": dtype}
        return outcome(partial(train_step, model, SETTINGS[setting], Path(folder), **settings), dtype=dtype)


def alone() -> Iterator[Case]:
    for setting, model in product(SETTINGS, MODELS):
        yield setting, model, False, torch.float32, "packed"


def pairs() -> Iterator[Case]:
    """Cases that have each pair of values; each case is the one with the most pairs that are still missing."""
    cases = list(product(SETTINGS, MODELS, (False, True), DTYPES, LAYOUTS))
    missing = {pair for case in cases for pair in pairs_in(case)}
    while missing:
        best = max(cases, key=lambda case: len(pairs_in(case) & missing))
        missing -= pairs_in(best)
        yield best


def pairs_in(case: Case) -> set[Any]:
    return set(combinations(enumerate(case), 2))


if __name__ == "__main__":
    sys.exit(main())
