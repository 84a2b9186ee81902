"""Packed against alone: does a document in a batch get the log-probabilities and gradients that it gets by itself?

    packs ──each layout──▶ model ──▶ log p of every token, gradient ┐
      └──one document at a time──▶ model ──▶ the same               ┴─▶ largest difference ─▶ exact, or a leak

Nothing is known of models by their names. Beside packs of the stream, one document as long as a pack is measured, which
a sliding window would cut.
"""

import copy
import functools
import logging
import math
import textwrap
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from samsum_stream.batching.collation import COLLATORS, Collator, Packed, Padded
from samsum_stream.errors import ConfigError
from samsum_stream.loader.processes.progress import waiting
from samsum_stream.loader.processes.ranks import of_first_rank
from samsum_stream.training.model_report import LAYOUTS, Layout, LayoutReport, ModelReport
from samsum_stream.training.probing import Result, Runs, computed_dtype, make_probes, undisturbed
from samsum_stream.values.batches import Batch, Pack
from samsum_stream.values.examples import IGNORE_INDEX

logger = logging.getLogger(__name__)


NUM_REPEATS, SLOW = 3, 2.0
"""How often an exact layout is timed again, where it took less than so many seconds at first."""


TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 5e-2, torch.bfloat16: 3e-1}
"""The largest difference that rounding makes, by the dtype that the model computes in."""


def measure(model: Any, packs: Sequence[Pack], *, collator: Collator) -> ModelReport:
    """Run the packs through the model in every layout, and one document at a time.

    The model's modes, gradients and cache setting are as before afterwards. Inside `torch.autocast`, what is computed
    under it is measured.

    Args:
        model: A causal language model of transformers, wrapped or not.
        packs: At least one; the first ones are taken.
        collator: The config's own, whose sizes hold for all layouts.
    """
    model = _unwrapped(model)
    probes = make_probes(model, packs, max_length=collator.max_length)
    _require_vocabulary(model, probes)
    tolerance = TOLERANCE[computed_dtype(model)]
    with undisturbed(model) as parameters, waiting(f"measuring which layouts keep documents apart in {_name(model)}"):
        run = Runs(model, parameters)
        alone = [run.alone(probe) for probe in probes]
        measured = functools.partial(_report, run, probes=probes, alone=alone, tolerance=tolerance)
        dtype = computed_dtype(model)
        reports = tuple(measured(layout, _collator(layout, collator, dtype=dtype)) for layout in LAYOUTS)
        cached = _cached_difference(run, _collator(LAYOUTS[0], collator, dtype=dtype), probes[0], alone[0])
    method = next(name for name, kind in COLLATORS.items() if type(collator) is kind)
    return ModelReport(_name(model), tolerance, reports, method, cached)


def _unwrapped(model: Any) -> Any:
    from accelerate.utils import extract_model_from_parallel  # a second, which only those need who have a model

    return extract_model_from_parallel(model, keep_torch_compile=False)


def _name(model: Any) -> str:
    attends = getattr(model.config, "_attn_implementation", None)
    return f"{type(model).__name__}{f' ({attends})' if attends else ''}"


def _require_vocabulary(model: Any, probes: Sequence[Batch]) -> None:
    """Raises `ConfigError` where the tokenizer is not the model's."""
    vocab_size = getattr(model.config, "vocab_size", None)
    largest = max(int(probe.tokens.ids.max()) for probe in probes)
    if vocab_size is not None and largest >= vocab_size:
        raise ConfigError(
            f"the tokenizer gives the id {largest}, and {type(model).__name__} has a vocabulary of {vocab_size}; load "
            "the model's own tokenizer (base_model), or call model.resize_token_embeddings(len(stream.tokenizer))"
        )


def _report(
    run: Runs,
    layout: Layout,
    collator: Collator,
    *,
    probes: Sequence[Batch],
    alone: Sequence[Result],
    tolerance: float,
) -> LayoutReport:
    """All probes in one layout; only the first one, of real packs, is timed."""
    differences, gradients, seconds = [], [], []
    try:
        for probe, expected in zip(probes, alone, strict=True):
            start = time.perf_counter()
            result = run.together(collator, probe, use_cache=False)
            seconds.append(time.perf_counter() - start)
            differences.append(_largest(result.log_probs - expected.log_probs))
            length = expected.gradient.norm().item()
            gradients.append((result.gradient - expected.gradient).norm().item() / length if length else 0.0)
        is_exact = max(*differences, *gradients) <= tolerance
        if is_exact and seconds[0] < SLOW:  # the first run may have warmed up
            seconds[0] = _shortest(lambda: run.together(collator, probes[0], use_cache=False))
    except Exception as error:  # whatever a model says of keywords and shapes that it does not take
        told = " ".join(f"{type(error).__name__}: {error}".split())
        return LayoutReport(layout, math.nan, math.nan, False, 0.0, textwrap.shorten(told, 120, placeholder=" ..."))
    speed = len(probes[0].tokens.ids) / seconds[0]
    return LayoutReport(layout, max(differences), max(gradients), is_exact, speed)


def _cached_difference(run: Runs, collator: Collator, probe: Batch, alone: Result) -> float:
    """What a loop gets that leaves `use_cache` to the model's config."""
    if not getattr(run.model.config, "use_cache", False):
        return 0.0
    try:
        return _largest(run.together(collator, probe).log_probs - alone.log_probs)
    except Exception:  # said in the report of that layout already
        return math.nan


def _collator(layout: Layout, own: Collator, *, dtype: torch.dtype) -> Collator:
    """The collator of a layout: the config's own where the layout is of its method."""
    kind = COLLATORS[layout.method]
    sizes = {"pad_token_id": own.pad_token_id, "max_length": own.max_length}
    collator = copy.copy(own) if type(own) is kind else kind(**sizes)
    collator.ignore_index = IGNORE_INDEX
    if isinstance(collator, Packed):
        collator.attention, collator.dtype = str(layout.attention), dtype
    return collator


def _largest(difference: torch.Tensor) -> float:
    return difference.abs().max().item() if len(difference) else 0.0


def _shortest(run: Callable[[], object]) -> float:
    """Seconds of the shortest of a few runs, which end with numbers on the CPU: a GPU has finished then."""
    times = []
    for _ in range(NUM_REPEATS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def check(model: Any, packs: Sequence[Pack], *, collator: Collator, attention: str) -> ModelReport:
    """Measure a model, and let a packed batch be collated as is best for it where `attention` is `auto`.

    Raises:
        ContaminationError: no layout of the collator's method is exact.
    """
    report = measure(model, packs, collator=collator)
    best = report.best.layout
    if isinstance(collator, Packed):
        collator.dtype = computed_dtype(model)
        if attention == "auto":
            collator.attention = str(best.attention)
    if report.cached_difference > report.tolerance:
        logger.warning(
            "%s: config.use_cache is true, and a loop that calls the model without use_cache=False lets the documents "
            "of a pack see each other (%.1e in log-probability); set model.config.use_cache = False, as "
            "stream.loader(model=model) does",
            *(report.model, report.cached_difference),
        )
    return report


def fit(model: Any, first_packs: Callable[[], Sequence[Pack]], *, collator: Collator, attention: str) -> None:
    """Let the collator's batches be exact on a model, on all ranks in the same way, and turn the model's cache off.

    Rows of a `padded` batch hold one document, and `full` attention was asked for: there is nothing to measure.

    Raises:
        ContaminationError: documents see each other in the layout of the config.
    """
    model = _unwrapped(model)
    if getattr(model.config, "use_cache", False):
        model.config.use_cache = False
        logger.info("use_cache is off now: with a cache, transformers does not look for packed documents")
    if isinstance(collator, Padded) or attention == "full":
        return
    report = check(model, first_packs(), collator=collator, attention=attention)
    if isinstance(collator, Packed):
        collator.attention = of_first_rank(collator.attention)  # speeds differ, and so could choices
        report.require_exact(Layout("packed", collator.attention))
        logger.info("attention: %s, measured on %s", collator.attention, report.model)
