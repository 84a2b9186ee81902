"""Document isolation: a document in a batch must get the log-probabilities and gradients that it gets isolated.

    packs ──each layout──▶ model ──▶ log p of every token, gradient ┐
      └──one document at a time──▶ model ──▶ the same               ┴─▶ largest difference ─▶ exact, or a leak

No list of model names is used. In addition to packs of the stream, a document as long as a pack is measured, because a
sliding window would cut it.
"""

import copy
import math
import textwrap
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from samsum_stream.batching.collation import COLLATORS, Collator, Packed, Padded
from samsum_stream.errors import ConfigError, SamsumStreamError
from samsum_stream.loader.processes.progress import waiting
from samsum_stream.training.caches import without_caches
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
from samsum_stream.training.readiness import (
    CAUSAL,
    is_sharded,
    require_language_model,
    require_logits,
    unwrapped,
)
from samsum_stream.values.batches import Batch, Pack
from samsum_stream.values.examples import IGNORE_INDEX

NUM_REPEATS, SLOW = 3, 2.0
"""A layout is timed `NUM_REPEATS` times, and once if that takes longer than `SLOW` seconds."""

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
    try:
        with waiting(f"measuring which layouts isolate documents in {_name(model)}"):
            return _measured(model, probes, collator, layouts)
    except SamsumStreamError:
        raise
    except Exception as error:  # a model can raise any error for inputs that it lacks or weights that are not there
        _require_kind(model, probes[0])
        raise ConfigError(
            f"{_name(model)} cannot run a document ({one_line(error)}); call it with input_ids and labels to see the "
            "error. If the error does not occur in training, collator_config.kwargs.measure: false leaves the "
            "measurement out"
        ) from error


@torch.no_grad()
def _require_kind(model: Any, probe: Batch) -> None:
    """Raise the error that names the kind of a model that fails on the labels of tokens, such as a classifier."""
    ids = torch.from_numpy(probe.tokens.ids[:2].astype(np.int64))[None].to(next(model.parameters()).device)
    try:
        output = model(input_ids=ids)
    except Exception:  # it fails without labels, too
        return
    require_logits(model, ids, output)


def _measured(model: Any, probes: Sequence[Batch], collator: Collator, layouts: Sequence[Layout]) -> ModelReport:
    method = next(name for name, kind in COLLATORS.items() if type(collator) is kind)
    with probing_mode(model, probes[0], max_length=collator.max_length) as runner:
        with without_caches(model) as has_cache:
            isolated = [runner.isolated(probe) for probe in probes]
            tolerance = tolerance_of(runner, probes[0], isolated[0])
            # Speed decides between layouts only. Ranks that run together must run equally often.
            is_timed = len(layouts) > 1 and not is_sharded(model)
            measurement = _Measurement(runner, collator, probes, isolated, tolerance, is_timed)
            reports = tuple(measurement.report(layout) for layout in layouts)
        cached = measurement._replace(is_timed=False).report(LAYOUTS[0]).difference if has_cache else 0.0
    return ModelReport(_name(model), *tolerance, reports, method, cached)


def _name(model: Any) -> str:
    attention = getattr(model.config, "_attn_implementation", None)
    return f"{type(model).__name__}{f' ({attention})' if attention else ''}"


def tolerance_of(runner: ProbeRunner, probe: Batch, isolated: ProbeResult) -> Difference:
    """The differences that are rounding.

    Raises:
        ConfigError: the tokens after a document change the document.
    """
    shapes = [runner.isolated(probe, num_fillers=number).difference(isolated) for number in NUM_FILLERS]
    noise = Difference(*map(max, zip(*shapes, strict=True)))
    rounding = max(ROUNDING, EPSILONS * torch.finfo(compute_dtype(runner.model)).eps)
    if noise.log_prob > TIMES_ROUNDING * rounding:
        raise ConfigError(
            f"the tokens after a document change its log-probabilities by {noise.log_prob:.1e}, so "
            f"{type(runner.model).__name__} is not causal, or its positions depend on the longest document of a batch "
            f"(rope_type: dynamic or longrope); {CAUSAL}, or lower packing_config.kwargs.max_length to the length from "
            "which its positions change"
        )
    return Difference(*(max(rounding, TIMES_NOISE * value) for value in noise))


class _Measurement(NamedTuple):
    """What all layouts are compared with."""

    runner: ProbeRunner
    collator: Collator
    probes: Sequence[Batch]
    isolated: Sequence[ProbeResult]
    tolerance: Difference
    is_timed: bool

    def report(self, layout: Layout) -> LayoutReport:
        """Measure all probes in one layout; only the first probe, which has real packs, is timed."""
        collator = _collator(layout, self.collator, dtype=compute_dtype(self.runner.model))
        try:
            pairs = zip(self.probes, self.isolated, strict=True)
            differences = [self.runner.packed(collator, probe).difference(expected) for probe, expected in pairs]
            log_prob, gradient = (max(values) for values in zip(*differences, strict=True))
            is_exact = log_prob <= self.tolerance.log_prob and gradient <= self.tolerance.gradient
            speed = self._speed(collator) if self.is_timed else 0.0
        except Exception as error:  # a model can raise any error for keywords and shapes that it does not accept
            return LayoutReport(layout, math.nan, math.nan, False, 0.0, one_line(error))
        return LayoutReport(layout, log_prob, gradient, is_exact, speed)

    def _speed(self, collator: Collator) -> float:
        """Tokens per second of the first probe, which has real packs and has run before."""
        seconds = _shortest(lambda: self.runner.packed(collator, self.probes[0]))
        return len(self.probes[0].tokens.ids) / seconds


def one_line(error: Exception) -> str:
    """An error of a model in one short line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return textwrap.shorten(text, 120, placeholder=" ...")


def _collator(layout: Layout, configured: Collator, *, dtype: torch.dtype) -> Collator:
    """The collator of a layout: a copy of the config's collator if the layout has its method."""
    kind = COLLATORS[layout.method]
    names = ("pad_token_id", "max_length", "pad_to_multiple_of")
    sizes = {name: getattr(configured, name) for name in names}
    collator = copy.copy(configured) if type(configured) is kind else kind(**sizes)
    collator.ignore_index = IGNORE_INDEX
    if isinstance(collator, Padded):
        collator.padding_side = "left" if layout.form == "left" else "right"
    return collator.with_attention(str(layout.form), dtype=dtype) if isinstance(collator, Packed) else collator


def _shortest(run: Callable[[], object]) -> float:
    """Seconds of the shortest of a few runs. Each run ends with numbers on the CPU, so a GPU has finished."""
    times: list[float] = []
    while len(times) < NUM_REPEATS and (not times or times[0] < SLOW):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)
