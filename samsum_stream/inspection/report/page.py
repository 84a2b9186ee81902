"""The page of a config, laid out by `page.html` and `page.css`."""

import base64
import hashlib
import os
from collections.abc import Sequence
from importlib.resources import files
from itertools import zip_longest
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from samsum_stream.config import load_config
from samsum_stream.errors.wording import counted
from samsum_stream.inspection.check import Facts, advise, gather
from samsum_stream.inspection.check.findings import worst_first
from samsum_stream.inspection.check.outline import outline
from samsum_stream.inspection.lengths import quantile
from samsum_stream.inspection.report.first_batches import FirstBatches, read_first
from samsum_stream.inspection.report.left_out import outcomes_of
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
from samsum_stream.inspection.survey.shown import become_examples
from samsum_stream.inspection.survey.survey import TRIED_WINDOWS, Survey, survey
from samsum_stream.showing.decoding import TokenDecoder
from samsum_stream.showing.marks import visible
from samsum_stream.showing.runs import token_runs
from samsum_stream.values.arrays import Int32Array

QUANTILES = (0.5, 0.9, 0.99, 1.0)

_PAGES = Environment(
    loader=PackageLoader("samsum_stream", "inspection/report"),
    autoescape=True,  # rows, names and values of a config may contain markup
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGES.filters |= {"counted": counted, "number": "{:,}".format, "share": "{:.1%}".format, "visible": visible}


def make_page(path: str | os.PathLike[str], *, num_workers: int = 0, trust: Sequence[str] = ()) -> str:
    """The page of a config. All rows are read once, with a progress bar on a terminal.

    Args:
        path: The YAML file.
        num_workers: Processes that read and tokenize.
        trust: Modules from which the config may import code.

    Raises:
        SamsumStreamError: the stream cannot be built, or has no row to train on.
    """
    facts = gather(load_config(path), trust=trust)
    surveyed = survey(facts.stream, num_workers=num_workers)
    first = read_first(facts.stream, num_lanes=facts.num_lanes)
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _PAGES.get_template("page.html").render(
        title=os.path.basename(path),
        style=Markup(style),
        style_hash=f"sha256-{digest}",
        findings=worst_first(advise(facts)),
        outline=outline(facts),
        **_of_rows(surveyed),
        **_of_batches(facts, surveyed, first),
        config=resolved_config(facts.config),
        fingerprint=fingerprint(facts.stream),
        versions=versions(),
    )


def _of_rows(surveyed: Survey) -> dict[str, Any]:
    limit, measured, epoch = surveyed.pipeline.packer.max_length, surveyed.measured, surveyed.epoch
    return {
        "surveyed": surveyed,
        "measured": measured,
        "become_examples": become_examples(measured),
        "epoch": epoch if isinstance(epoch, Epoch) else None,
        "problem": str(epoch) if isinstance(epoch, Exception) else "",
        "lengths": [
            _lengths(measured.unit, measured.whole, WHOLE, limit=limit),
            _lengths("prompt", measured.masked, PROMPT),
            _lengths("response", measured.kept - measured.masked, RESPONSE),
        ],
        "max_length": limit,
        "windows": TRIED_WINDOWS,
        "fillings_plot": fillings_plot(surveyed.fillings, configured=(limit, surveyed.efficiency)),
        "outcomes": outcomes_of(surveyed),
    }


def _of_batches(facts: Facts, surveyed: Survey, first: FirstBatches) -> dict[str, Any]:
    expected, decoder = [source.share for source in surveyed.sources], TokenDecoder(facts.stream.tokenizer)
    read = first.tokens.sum(axis=0) / first.tokens.sum()
    per_batch = first.tokens.sum(axis=1).mean()
    return {
        "bars": first.bars,
        "layout": facts.config.collator_config.method,
        "num_batches": len(first.tokens),
        "batch_size": facts.pipeline.batch_size,
        "num_series": NUM_SERIES,
        "shares_plot": shares_plot(first.shares, expected=expected) if len(expected) > 1 else None,
        "sources": [
            (source, share, source.measured.num_tokens / (source.share * per_batch))
            for source, share in zip(surveyed.sources, read.tolist(), strict=True)
        ],
        "examples": [
            (example, token_runs(example, decoder))
            for of_sources in zip_longest(*first.examples)
            for example in of_sources
            if example is not None
        ],
    }


def _lengths(name: str, lengths: Int32Array, colour: str, *, limit: int | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "plot": lengths_plot(lengths, name=name, colour=colour, limit=limit),
        "quantiles": [quantile(lengths, share) for share in QUANTILES],
    }
