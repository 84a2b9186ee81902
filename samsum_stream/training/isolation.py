"""Document isolation: a document in a batch must get the log-probabilities and gradients that it gets isolated.

    packs ──each layout──▶ model ──▶ log p of every token, gradient ┐
      └──one document at a time──▶ model ──▶ the same               ┴─▶ largest difference ─▶ exact, or a leak

No list of model names is used. In addition to packs of the stream, a document as long as a pack is measured, because a
sliding window would cut it.
"""

import copy
import logging
import math
import textwrap
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from samsum_stream.batching.collation import COLLATORS, Collator, Packed, Padded
from samsum_stream.errors import ConfigError, SamsumStreamError
from samsum_stream.loader.processes.progress import waiting
from samsum_stream.loader.processes.ranks import of_first_rank
from samsum_stream.training.caches import turn_off_caches, without_caches
from samsum_stream.training.model_report import LAYOUTS, Layout, LayoutReport, ModelReport
from samsum_stream.training.probing import (
    NUM_FILLERS,
    Difference,
    ProbeResult,
    ProbeRunner,
    compute_dtype,
    make_probes,
    probing_mode,
)
from samsum_stream.training.readiness import CAUSAL, not_ready, require_language_model
from samsum_stream.values.batches import Batch, Pack
from samsum_stream.values.examples import IGNORE_INDEX

logger = logging.getLogger(__name__)


NUM_REPEATS, SLOW = 3, 2.0
"""An exact layout is timed again `NUM_REPEATS` times if its first run took less than `SLOW` seconds."""

ROUNDING, EPSILONS = 1e-4, 8
"""Differences up to `ROUNDING`, or up to `EPSILONS` times the epsilon of the dtype, are always rounding."""

TIMES_NOISE = 4
"""Differences up to this many times those between two shapes of the same document are rounding."""

TIMES_ROUNDING = 100
"""In a causal model, the tokens after a document do not change the document by this many times the rounding."""


def measure(
    model: Any, packs: Sequence[Pack], *, collator: Collator, layouts: Sequence[Layout] = LAYOUTS
) -> ModelReport:
    """Run the packs through the model in some layouts, and their documents isolated.

    Afterwards, the model's modes, gradients and cache setting are as before. Inside `torch.autocast`, the autocast
    computation is measured. The tolerance is the noise of the model: how much a document changes by rounding if it is
    run in another shape.

    Args:
        model: A causal language model of transformers, wrapped or not.
        packs: At least one pack; the first `NUM_PACKS` are used.
        collator: The collator of the config; its sizes hold for all layouts.
        layouts: The layouts.

    Raises:
        ConfigError: the model is of another kind, or cannot run a document.
    """
    model = unwrapped(model)
    require_language_model(model)
    probes = make_probes(model, packs, max_length=collator.max_length)
    _require_vocabulary(model, probes, collator)
    try:
        with waiting(f"measuring which layouts isolate documents in {_name(model)}"):
            return _measured(model, probes, collator, layouts)
    except SamsumStreamError:
        raise
    except Exception as error:  # a model can raise any error for inputs that it lacks or weights that are not there
        raise ConfigError(
            f"{_name(model)} cannot run a document ({one_line(error)}); call it with input_ids and labels to see the "
            "error, or write collator_config.kwargs.measure: false to train without this measurement"
        ) from error


def _measured(model: Any, probes: Sequence[Batch], collator: Collator, layouts: Sequence[Layout]) -> ModelReport:
    method = next(name for name, kind in COLLATORS.items() if type(collator) is kind)
    with probing_mode(model, probes[0]) as runner:
        with without_caches(model) as has_cache:
            isolated = [runner.isolated(probe) for probe in probes]
            tolerance = _tolerance(runner, probes[0], isolated[0])
            measurement = _Measurement(runner, collator, probes, isolated, tolerance)
            reports = tuple(measurement.report(layout) for layout in layouts)
        cached = measurement.report(LAYOUTS[0]).difference if has_cache else 0.0
    return ModelReport(_name(model), *tolerance, reports, method, cached)


def unwrapped(model: Any) -> Any:
    """The model inside the wrappers of distributed training and of `torch.compile`."""
    from accelerate.utils import extract_model_from_parallel  # this import takes a second

    if not isinstance(model, nn.Module):
        return model
    return extract_model_from_parallel(model, keep_torch_compile=False)


def _name(model: Any) -> str:
    attention = getattr(model.config, "_attn_implementation", None)
    return f"{type(model).__name__}{f' ({attention})' if attention else ''}"


def _require_vocabulary(model: Any, probes: Sequence[Batch], collator: Collator) -> None:
    """Raises `ConfigError` if an id of the tokenizer is not in the model's vocabulary."""
    try:
        size = getattr(model.get_input_embeddings(), "num_embeddings", None)
    except (AttributeError, NotImplementedError):  # a model of the user may not say where its embedding is
        size = None
    largest = max(collator.pad_token_id, *(int(probe.tokens.ids.max()) for probe in probes))
    if size is not None and largest >= size:
        what = "pads with" if largest == collator.pad_token_id else "gives"
        raise ConfigError(
            f"the tokenizer {what} the id {largest}, and {type(model).__name__} has a vocabulary of {size}; load the "
            "model's own tokenizer (base_model), or call model.resize_token_embeddings(len(stream.tokenizer))"
        )


def _tolerance(runner: ProbeRunner, probe: Batch, isolated: ProbeResult) -> Difference:
    """The differences that are rounding.

    Raises:
        ConfigError: the tokens after a document change the document.
    """
    shapes = [runner.isolated(probe, num_fillers=number).difference(isolated) for number in NUM_FILLERS]
    noise = Difference(*map(max, zip(*shapes, strict=True)))
    rounding = max(ROUNDING, EPSILONS * torch.finfo(compute_dtype(runner.model)).eps)
    if noise.log_prob > TIMES_ROUNDING * rounding:
        raise ConfigError(
            f"{type(runner.model).__name__} is not causal: the tokens after a document change its log-probabilities by "
            f"{noise.log_prob:.1e}; {CAUSAL}"
        )
    return Difference(*(max(rounding, TIMES_NOISE * value) for value in noise))


class _Measurement(NamedTuple):
    """What all layouts are compared with."""

    runner: ProbeRunner
    collator: Collator
    probes: Sequence[Batch]
    isolated: Sequence[ProbeResult]
    tolerance: Difference

    def report(self, layout: Layout) -> LayoutReport:
        """Measure all probes in one layout; only the first probe, which has real packs, is timed."""
        collator = _collator(layout, self.collator, dtype=compute_dtype(self.runner.model))
        differences, seconds = [], []
        try:
            for probe, expected in zip(self.probes, self.isolated, strict=True):
                start = time.perf_counter()
                result = self.runner.packed(collator, probe)
                seconds.append(time.perf_counter() - start)
                differences.append(result.difference(expected))
            log_prob, gradient = (max(values) for values in zip(*differences, strict=True))
            is_exact = log_prob <= self.tolerance.log_prob and gradient <= self.tolerance.gradient
            if is_exact and seconds[0] < SLOW:  # the first run may include a warm-up
                seconds[0] = _shortest(lambda: self.runner.packed(collator, self.probes[0]))
        except Exception as error:  # a model can raise any error for keywords and shapes that it does not accept
            return LayoutReport(layout, math.nan, math.nan, False, 0.0, one_line(error))
        return LayoutReport(layout, log_prob, gradient, is_exact, len(self.probes[0].tokens.ids) / seconds[0])


def one_line(error: Exception) -> str:
    """An error of a model in one short line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return textwrap.shorten(text, 120, placeholder=" ...")


def _collator(layout: Layout, configured: Collator, *, dtype: torch.dtype) -> Collator:
    """The collator of a layout: a copy of the config's collator if the layout has its method."""
    kind = COLLATORS[layout.method]
    sizes = {"pad_token_id": configured.pad_token_id, "max_length": configured.max_length}
    collator = copy.copy(configured) if type(configured) is kind else kind(**sizes)
    collator.ignore_index = IGNORE_INDEX
    if isinstance(collator, Padded):
        collator.padding_side = "left" if layout.form == "left" else "right"
    return collator.with_attention(str(layout.form), dtype=dtype) if isinstance(collator, Packed) else collator


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
        ConfigError: the model is of another kind, or cannot run a document.
        ContaminationError: no layout of the collator's method is exact.
    """
    report = measure(model, packs, collator=collator)
    best = report.best.layout
    if isinstance(collator, Packed):
        name = str(best.form) if attention == "auto" else collator.attention
        collator = collator.with_attention(name, dtype=compute_dtype(unwrapped(model)))
    if report.cached_difference > report.tolerance:
        logger.warning(
            "%s: config.use_cache is true, and a loop that calls the model without use_cache=False lets the documents "
            "of a pack see each other (%.1e in log-probability); set model.config.use_cache = False, as "
            "stream.loader(model=model) does",
            *(report.model, report.cached_difference),
        )
    return report, collator


def ready_to_train(model: Any) -> nn.Module:
    """The model inside its wrappers, with its caches turned off.

    Raises:
        ConfigError: it is no causal language model of transformers.
    """
    model = unwrapped(model)
    require_language_model(model)
    if turn_off_caches(model):
        logger.info("use_cache is now false, because with a cache transformers does not detect packed documents")
    trained: nn.Module = model
    return trained


def fit(
    model: nn.Module, first_packs: Callable[[], Sequence[Pack]], *, collator: Collator, attention: str
) -> Collator | None:
    """The collator with which batches are exact on a model, the same on all ranks; None if its weights are not there.

    Only the layouts from which the config can choose are measured. `full` attention isolates nothing, and is not
    measured.

    Raises:
        ConfigError: the model is of another kind, or cannot run a document.
        ContaminationError: documents see each other in the layout of the config.
    """
    if reason := not_ready(model):
        logger.info("%s is not measured yet, because %s", type(model).__name__, reason)
        return None
    if attention == "full":
        return collator
    layouts = _choices(collator, attention)
    packs = first_packs()
    report = measure(model, packs, collator=collator, layouts=layouts)
    if not any(layout.is_exact for layout in report.layouts):
        report = measure(model, packs, collator=collator)  # the message names the layouts that are exact
    if not isinstance(collator, Packed):
        report.require_exact(layouts[0])
        return collator
    # Ranks measure different speeds, so their choices could differ.
    form = of_first_rank(str(report.best.layout.form) if attention == "auto" else attention)
    report.require_exact(Layout("packed", form))
    logger.info("attention: %s, measured on %s", form, report.model)
    return collator.with_attention(form, dtype=compute_dtype(model))


def _choices(collator: Collator, attention: str) -> list[Layout]:
    """The layouts from which a config can choose."""
    if isinstance(collator, Padded):
        return [Layout("padded", "left" if collator.padding_side == "left" else None)]
    if not isinstance(collator, Packed):
        return [Layout("padding_free")]
    if attention != "auto":
        return [Layout("packed", attention)]
    return [layout for layout in LAYOUTS if layout.method == "packed" and layout.form != "full"]
