"""Everything that was found, laid out by `page.html` and `page.css`."""

import base64
import hashlib
import os
from collections.abc import Sequence
from importlib.resources import files
from itertools import zip_longest
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from samsum_stream.config import load_config
from samsum_stream.errors.wording import counted
from samsum_stream.inspection.check import Facts, advise, gather
from samsum_stream.inspection.check.findings import worst_first
from samsum_stream.inspection.check.outline import outline
from samsum_stream.inspection.lengths import KEPT, MASKED
from samsum_stream.inspection.report.bars import bars
from samsum_stream.inspection.report.first_batches import FirstBatches, read_first
from samsum_stream.inspection.report.left_out import befallen
from samsum_stream.inspection.report.marked import marked
from samsum_stream.inspection.report.plots import (
    NUM_SERIES,
    PROMPT,
    RESPONSE,
    WHOLE,
    fillings_plot,
    lengths_plot,
    shares_plot,
)
from samsum_stream.inspection.report.resolved import fingerprint, resolved_config, versions
from samsum_stream.inspection.simulation import Epoch
from samsum_stream.inspection.survey.survey import TRIED_WINDOWS, Survey, survey
from samsum_stream.showing.marks import visible
from samsum_stream.values.arrays import Int32Array

QUANTILES = (0.5, 0.9, 0.99, 1.0)

_PAGES = Environment(
    loader=PackageLoader("samsum_stream", "inspection/report"),
    autoescape=True,  # rows, names and values of a config are anybody's
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGES.filters |= {"counted": counted, "number": "{:,}".format, "share": "{:.1%}".format, "visible": visible}


def make_page(path: str | os.PathLike[str], *, num_workers: int = 0, trust: Sequence[str] = ()) -> str:
    """The page of a config, from one pass over its rows, behind a progress bar where someone looks.

    Args:
        path: The YAML file.
        num_workers: Processes that read and tokenize for the pass.
        trust: Modules whose code the config may name.

    Raises:
        SamsumStreamError: the stream cannot be made, or has no row to train on.
    """
    facts = gather(load_config(path), trust=trust)
    found = survey(facts.stream, num_workers=num_workers)
    first = read_first(facts.stream, num_lanes=facts.num_lanes)
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _PAGES.get_template("page.html").render(
        title=os.path.basename(path),
        style=Markup(style),
        style_hash=f"sha256-{digest}",
        **_of_facts(facts),
        **_of_rows(found),
        **_of_batches(facts, found, first),
        config=resolved_config(facts.config),
        fingerprint=fingerprint(facts.stream),
        versions=versions(),
    )


def _of_facts(facts: Facts) -> dict[str, Any]:
    return {"findings": worst_first(advise(facts)), "outline": outline(facts)}


def _of_rows(found: Survey) -> dict[str, Any]:
    """What the pass over all rows found."""
    limit, measured = found.pipeline.packer.max_length, found.found.lengths
    kept = measured[measured[:, KEPT] > 0]
    prompts, responses = kept[:, MASKED], kept[:, KEPT] - kept[:, MASKED]
    return {
        "found": found,
        "whole": found.whole,
        "epoch": found.epoch if isinstance(found.epoch, Epoch) else None,
        "problem": str(found.epoch) if isinstance(found.epoch, Exception) else "",
        "lengths": [
            _lengths("row", found.whole.whole_lengths, WHOLE, limit=limit),
            _lengths("prompt", prompts, PROMPT),
            _lengths("response", responses, RESPONSE),
        ],
        "max_length": limit,
        "windows": TRIED_WINDOWS,
        "fillings_plot": fillings_plot(found.fillings, own=(limit, found.efficiency)),
        "reasons": befallen(found),
    }


def _of_batches(facts: Facts, found: Survey, first: FirstBatches) -> dict[str, Any]:
    """What the first batches showed."""
    expected, shares = [source.share for source in found.sources], first.shares
    read = first.tokens.sum(axis=0) / first.tokens.sum()
    per_batch = first.tokens.sum(axis=1).mean()
    return {
        "bars": bars(first.packs),
        "layout": facts.config.collator_config.method,
        "num_batches": len(first.tokens),
        "batch_size": facts.pipeline.batch_size,
        "num_series": NUM_SERIES,
        "shares_plot": shares_plot(shares, expected=expected) if len(expected) > 1 else None,
        "sources": [
            (source, share, source.num_tokens / (source.share * per_batch))
            for source, share in zip(found.sources, read.tolist(), strict=True)
        ],
        "examples": [
            (example, marked(example, facts.stream.tokenizer))
            for of_each in zip_longest(*first.examples)
            for example in of_each
            if example is not None
        ],
    }


def _lengths(name: str, lengths: Int32Array, colour: str, *, limit: int | None = None) -> dict[str, Any]:
    quantiles = [int(np.quantile(lengths, share, method="higher")) for share in QUANTILES]
    return {
        "name": name,
        "plot": lengths_plot(lengths, name=name, colour=colour, limit=limit),
        "quantiles": quantiles,
    }
