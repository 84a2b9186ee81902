"""Document isolation: a document in a batch must get the log-probabilities and gradients that it gets isolated.

    packs ──each layout──▶ model ──▶ log p of every token, gradient ┐
      └──one document at a time──▶ model ──▶ the same               ┴─▶ largest difference ─▶ exact, or a leak

No list of model names is used. In addition to packs of the stream, a document as long as a pack is measured, because a
sliding window would cut it.
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
from samsum_stream.training.probing import ProbeResult, ProbeRunner, compute_dtype, make_probes, probing_mode
from samsum_stream.values.batches import Batch, Pack
from samsum_stream.values.examples import IGNORE_INDEX

logger = logging.getLogger(__name__)


NUM_REPEATS, SLOW = 3, 2.0
"""An exact layout is timed again `NUM_REPEATS` times if its first run took less than `SLOW` seconds."""


TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 5e-2, torch.bfloat16: 3e-1}
"""The largest difference that rounding causes, by the dtype in which the model computes."""


def measure(model: Any, packs: Sequence[Pack], *, collator: Collator) -> ModelReport:
    """Run the packs through the model in every layout, and their documents isolated.

    Afterwards, the model's modes, gradients and cache setting are as before. Inside `torch.autocast`, the autocast
    computation is measured.

    Args:
        model: A causal language model of transformers, wrapped or not.
        packs: At least one pack; the first `NUM_PACKS` are used.
        collator: The collator of the config; its sizes hold for all layouts.
    """
    model = _unwrapped(model)
    probes = make_probes(model, packs, max_length=collator.max_length)
    _require_vocabulary(model, probes)
    tolerance = TOLERANCE[compute_dtype(model)]
    with probing_mode(model) as parameters, waiting(f"measuring which layouts isolate documents in {_name(model)}"):
        runner = ProbeRunner(model, parameters)
        isolated = [runner.isolated(probe) for probe in probes]
        report = functools.partial(_report, runner, probes=probes, isolated=isolated, tolerance=tolerance)
        dtype = compute_dtype(model)
        reports = tuple(report(layout, _collator(layout, collator, dtype=dtype)) for layout in LAYOUTS)
        cached = _cached_difference(runner, _collator(LAYOUTS[0], collator, dtype=dtype), probes[0], isolated[0])
    method = next(name for name, kind in COLLATORS.items() if type(collator) is kind)
    return ModelReport(_name(model), tolerance, reports, method, cached)


def _unwrapped(model: Any) -> Any:
    from accelerate.utils import extract_model_from_parallel  # this import takes a second

    return extract_model_from_parallel(model, keep_torch_compile=False)


def _name(model: Any) -> str:
    attention = getattr(model.config, "_attn_implementation", None)
    return f"{type(model).__name__}{f' ({attention})' if attention else ''}"


def _require_vocabulary(model: Any, probes: Sequence[Batch]) -> None:
    """Raises `ConfigError` if an id of the tokenizer is not in the model's vocabulary."""
    vocab_size = getattr(model.config, "vocab_size", None)
    largest = max(int(probe.tokens.ids.max()) for probe in probes)
    if vocab_size is not None and largest >= vocab_size:
        raise ConfigError(
            f"the tokenizer gives the id {largest}, and {type(model).__name__} has a vocabulary of {vocab_size}; load "
            "the model's own tokenizer (base_model), or call model.resize_token_embeddings(len(stream.tokenizer))"
        )


def _report(
    runner: ProbeRunner,
    layout: Layout,
    collator: Collator,
    *,
    probes: Sequence[Batch],
    isolated: Sequence[ProbeResult],
    tolerance: float,
) -> LayoutReport:
    """Measure all probes in one layout; only the first probe, which has real packs, is timed."""
    differences, gradients, seconds = [], [], []
    try:
        for probe, expected in zip(probes, isolated, strict=True):
            start = time.perf_counter()
            result = runner.packed(collator, probe, use_cache=False)
            seconds.append(time.perf_counter() - start)
            differences.append(_largest(result.log_probs - expected.log_probs))
            norm = expected.gradient.norm().item()
            gradients.append((result.gradient - expected.gradient).norm().item() / norm if norm else 0.0)
        is_exact = max(*differences, *gradients) <= tolerance
        if is_exact and seconds[0] < SLOW:  # the first run may include a warm-up
            seconds[0] = _shortest(lambda: runner.packed(collator, probes[0], use_cache=False))
    except Exception as error:  # a model can raise any error for keywords and shapes that it does not accept
        problem = " ".join(f"{type(error).__name__}: {error}".split())
        return LayoutReport(layout, math.nan, math.nan, False, 0.0, textwrap.shorten(problem, 120, placeholder=" ..."))
    speed = len(probes[0].tokens.ids) / seconds[0]
    return LayoutReport(layout, max(differences), max(gradients), is_exact, speed)


def _cached_difference(runner: ProbeRunner, collator: Collator, probe: Batch, isolated: ProbeResult) -> float:
    """The difference in a training loop that does not pass `use_cache=False`."""
    if not getattr(runner.model.config, "use_cache", False):
        return 0.0
    try:
        return _largest(runner.packed(collator, probe).log_probs - isolated.log_probs)
    except Exception:  # the report of this layout has the error already
        return math.nan


def _collator(layout: Layout, configured: Collator, *, dtype: torch.dtype) -> Collator:
    """The collator of a layout: a copy of the config's collator if the layout has its method."""
    kind = COLLATORS[layout.method]
    sizes = {"pad_token_id": configured.pad_token_id, "max_length": configured.max_length}
    collator = copy.copy(configured) if type(configured) is kind else kind(**sizes)
    collator.ignore_index = IGNORE_INDEX
    return collator.with_attention(str(layout.attention), dtype=dtype) if isinstance(collator, Packed) else collator


def _largest(difference: torch.Tensor) -> float:
    return difference.abs().max().item() if len(difference) else 0.0


def _shortest(run: Callable[[], object]) -> float:
    """Seconds of the shortest of a few runs. Each run ends with numbers on the CPU, so a GPU has finished."""
    times = []
    for _ in range(NUM_REPEATS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def check(model: Any, packs: Sequence[Pack], *, collator: Collator, attention: str) -> tuple[ModelReport, Collator]:
    """Measure a model; the returned collator has the best form of attention if `attention` is `auto`.

    Raises:
        ContaminationError: no layout of the collator's method is exact.
    """
    report = measure(model, packs, collator=collator)
    best = report.best.layout
    if isinstance(collator, Packed):
        name = str(best.attention) if attention == "auto" else collator.attention
        collator = collator.with_attention(name, dtype=compute_dtype(model))
    if report.cached_difference > report.tolerance:
        logger.warning(
            "%s: config.use_cache is true, and a loop that calls the model without use_cache=False lets the documents "
            "of a pack see each other (%.1e in log-probability); set model.config.use_cache = False, as "
            "stream.loader(model=model) does",
            *(report.model, report.cached_difference),
        )
    return report, collator


def fit(model: Any, first_packs: Callable[[], Sequence[Pack]], *, collator: Collator, attention: str) -> Collator:
    """The collator with which batches are exact on a model, the same on all ranks; turns the model's cache off.

    `padded` rows hold one document each, and `full` attention isolates nothing: neither is measured.

    Raises:
        ContaminationError: documents see each other in the layout of the config.
    """
    model = _unwrapped(model)
    if getattr(model.config, "use_cache", False):
        model.config.use_cache = False
        logger.info("use_cache is now false, because with a cache transformers does not detect packed documents")
    if isinstance(collator, Padded) or attention == "full":
        return collator
    report, collator = check(model, first_packs(), collator=collator, attention=attention)
    if isinstance(collator, Packed):
        # Ranks measure different speeds, so their choices could differ.
        collator = collator.with_attention(of_first_rank(collator.attention), dtype=collator.dtype)
        report.require_exact(Layout("packed", collator.attention))
        logger.info("attention: %s, measured on %s", collator.attention, report.model)
    return collator
