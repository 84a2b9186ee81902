"""Takes the layout of the config, or the best one, for a model, and requires that it is exact."""

import logging
import time
from collections.abc import Sequence
from typing import Any

from samsum_stream.batching.collation import Collator, Packed, Padded
from samsum_stream.loader.processes.ranks import of_first_rank
from samsum_stream.training.caches import turn_off_caches
from samsum_stream.training.isolation import measure
from samsum_stream.training.model_report import LAYOUTS, Layout, ModelReport
from samsum_stream.training.probing import compute_dtype
from samsum_stream.training.readiness import not_ready, require_language_model, unwrapped
from samsum_stream.values.batches import Pack

logger = logging.getLogger(__name__)

LONG = 60.0
"""A measurement of more seconds is followed by a warning that says how to leave it out."""


def check(model: Any, packs: Sequence[Pack], *, collator: Collator, attention: str) -> tuple[ModelReport, Collator]:
    """Measure a model; the returned collator has the best form of attention if `attention` is `auto`.

    Raises:
        ConfigError: the model is of another kind, or cannot run a document.
        ContaminationError: documents see each other in the layout of the config.
    """
    report = measure(model, packs, collator=collator)
    collator = _exact(report, model, collator, _layout(report, collator, attention))
    if report.cached_difference > report.tolerance:
        logger.warning(
            "%s: config.use_cache is true, and a loop that calls the model without use_cache=False lets the documents "
            "of a pack see each other (%.1e in log-probability); set model.config.use_cache = False, as "
            "stream.loader(model=model) does",
            *(report.model, report.cached_difference),
        )
    return report, collator


def prepare_to_train(model: Any) -> None:
    """Turn the caches of a model off.

    Raises:
        ConfigError: it is no causal language model of transformers.
    """
    model = unwrapped(model)
    require_language_model(model)
    if turn_off_caches(model):
        logger.info("use_cache is now false, because with a cache transformers does not detect packed documents")


def fit(model: Any, packs: Sequence[Pack], *, collator: Collator, attention: str) -> Collator | None:
    """The collator with which batches are exact on a model, the same on all ranks; None if the model cannot run yet.

    Only the layouts from which the config can choose are measured. `full` attention isolates nothing, and is not
    measured.

    Args:
        model: A causal language model; one that is sharded by ZeRO-3 can run only in its wrapper.
        packs: At least one pack of the stream.
        collator: The collator of the config.
        attention: The `attention` of the config.

    Raises:
        ConfigError: the model is of another kind, or cannot run a document.
        ContaminationError: documents see each other in the layout of the config.
    """
    inner = unwrapped(model)
    if reason := not_ready(inner, is_prepared=inner is not model):
        logger.info("%s is not measured yet, because %s", type(inner).__name__, reason)
        return None
    if attention == "full":
        return collator
    layouts, start = _choices(collator, attention), time.perf_counter()
    report = measure(model, packs, collator=collator, layouts=layouts)
    if not any(layout.is_exact for layout in report.layouts):
        report = measure(model, packs, collator=collator)  # the message names the layouts that are exact
    # Ranks measure different speeds, so their choices could differ.
    layout = of_first_rank(_layout(report, collator, attention))
    collator = _exact(report, model, collator, layout)
    seconds = time.perf_counter() - start
    logger.info("%s is exact, measured on %s in %.1f s", layout, report.model, seconds)
    if seconds > LONG:
        logger.warning(
            "measuring which layout is exact took %.0f s; a later run on the same model can leave it out with "
            "collator_config.kwargs: {%smeasure: false}",
            *(seconds, f"attention: {layout.form}, " if isinstance(collator, Packed) else ""),
        )
    return collator


def _layout(report: ModelReport, collator: Collator, attention: str) -> Layout:
    """The layout of the config, or the best one if the config leaves a choice."""
    choices = _choices(collator, attention)
    return choices[0] if len(choices) == 1 else report.best.layout


def _exact(report: ModelReport, model: Any, collator: Collator, layout: Layout) -> Collator:
    """The collator with a layout that must be exact; `full` attention isolates nothing by intention."""
    if layout.form != "full":
        report.require_exact(layout)
    if not isinstance(collator, Packed):
        return collator
    return collator.with_attention(str(layout.form), dtype=compute_dtype(unwrapped(model)))


def _choices(collator: Collator, attention: str) -> list[Layout]:
    """The layouts from which a config can choose."""
    if isinstance(collator, Padded):
        return [Layout("padded", "left" if collator.padding_side == "left" else None)]
    if not isinstance(collator, Packed):
        return [Layout("padding_free")]
    if attention != "auto":
        return [Layout("packed", attention)]
    return [layout for layout in LAYOUTS if layout.method == "packed" and layout.form != "full"]
