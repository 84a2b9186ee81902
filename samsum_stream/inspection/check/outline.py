"""The outline of `check`: the data, its packing, its order and its layout, in a few lines."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from samsum_stream.config import leaf_sections
from samsum_stream.errors.wording import counted
from samsum_stream.inspection.check.columns import unread_columns
from samsum_stream.inspection.check.facts import Facts
from samsum_stream.inspection.check.formats import described
from samsum_stream.inspection.check.sampling import Sample
from samsum_stream.inspection.lengths import quantile
from samsum_stream.sources import IndexedSource, SequentialSource, Source
from samsum_stream.sources.huggingface.table import TableSource
from samsum_stream.sources.memory import IterableSource
from samsum_stream.training.stop_tokens import loaded_template
from samsum_stream.values.counts import NOT_SELECTED

QUANTILES = (0.5, 0.9, 0.99, 1.0)


def outline(facts: Facts) -> list[tuple[str, str]]:
    """Lines, each with a heading and a text."""
    samples = facts.samples
    loaded = [sample for sample in samples if _method(facts, sample) == "load_dataset"]
    return [
        *(("rows", f"{sample.title}: {_rows(sample, shuffle=facts.config.shuffle)}") for sample in samples),
        *(
            ("left out", f"{sample.title}: {', '.join(left_out)}")
            for sample in samples
            if (left_out := _left_out(sample))
        ),
        *(
            ("unread", f"{sample.title}: {', '.join(unread)}")
            for sample in samples
            if (unread := unread_columns(sample))
        ),
        *described(facts),
        ("tokenizer", _tokenizer(facts)),
        ("lengths", _lengths(facts)),
        ("packs", _packs(facts)),
        ("batches", _batches(facts)),
        ("lanes", _lanes(facts)),
        ("layout", _layout(facts)),
        *(("resume", text) for text in _per_source(samples, _resume, total=len(samples))),
        *(("cache", text) for text in _per_source(loaded, _cache, total=len(samples))),
    ]


def numbers(facts: Facts) -> dict[str, Any]:
    """The numbers of the outline, for machines."""
    measured, epoch = facts.measured, facts.epoch
    return {
        "rows": {sample.title: sample.leaf.source.num_rows for sample in facts.samples},
        "rows_looked_at": measured.num_rows,
        "rows_left_out": measured.num_rows_with(measured.has_outcome(*NOT_SELECTED)),
        "examples_per_row": measured.num_examples / max(measured.num_rows, 1),
        "length_quantiles": {str(share): quantile(measured.whole, share) for share in QUANTILES},
        "trained_share": measured.trained_share,
        "efficiency": facts.efficiency,
        "packs_in_epoch": None if epoch is None else epoch.num_packs,
        "batches_in_epoch": None if epoch is None else epoch.num_batches,
        "is_exact": None if epoch is None else epoch.is_exact,
        "lanes": facts.num_lanes,
        "readers": _divisors(facts.num_lanes),
        "backend": facts.pipeline.backend,
    }


def _rows(sample: Sample, *, shuffle: bool) -> str:
    source = sample.leaf.source
    number = "an unknown number of rows" if source.num_rows is None else f"{source.num_rows:,} rows"
    shards = "" if isinstance(source, IndexedSource) else f", in {counted(len(source.shards), 'shard')}"
    contexts = f", {sample.with_contexts:.0%} of them with contexts" if sample.with_contexts else ""
    blocks = "as a whole" if isinstance(source, IndexedSource) else "in blocks"
    return f"{number}{contexts}{shards}, {f'shuffled {blocks}' if shuffle else 'in their order'}"


def _left_out(sample: Sample) -> list[str]:
    """The share of the rows that each key does not select; of a row with several examples, perhaps only one."""
    measured = sample.measured
    numbers = {key: measured.num_rows_with(measured.has_outcome(name)) for name, key in NOT_SELECTED.items()}
    return [f"{sample.share(number)} by `{key}`" for key, number in numbers.items() if number]


def _tokenizer(facts: Facts) -> str:
    """The border and the backend were proven when the stream was built."""
    encoders, tokenizer, backend = facts.pipeline.encoder.each, facts.stream.tokenizer, facts.pipeline.backend
    border = encoders[0].tokenizer.runs.border  # it depends on the tokenizer alone
    added = " ".join(tokenizer.convert_ids_to_tokens(border.added.tolist()))
    how = "after a newline" if len(border.sentinel) else "directly"
    proven = "" if backend == "hf" else ", proven on the first rows"
    has_template = any(loaded_template(encoder.renderer) for encoder in encoders)
    start = f"; adds {added} at the start{' (a chat template writes its own)' if has_template else ''}" if added else ""
    return f"backend {backend}{proven}; border proven, responses encoded {how}{start}"


def _lengths(facts: Facts) -> str:
    measured = facts.measured
    half, most, longest = (f"{quantile(measured.whole, share):,}" for share in (0.5, 0.99, 1.0))
    rows = f"{'all ' if facts.is_whole else ''}{measured.num_rows:,}"
    return (
        f"half up to {half} tokens, 99% up to {most}, longest {longest} (of {rows} rows); of what is kept, "
        f"{measured.trained_share:.0%} is trained"
    )


def _packs(facts: Facts) -> str:
    section = facts.config.packing_config
    window = "" if section.method in ("none", "greedy") else f", window {section.kwargs.buffer_size}"
    return f"{section.method} of {facts.max_length:,} tokens{window}: {facts.efficiency:.1%} full"


def _batches(facts: Facts) -> str:
    epoch, epochs = facts.epoch, facts.pipeline.epochs
    size = f"of {counted(facts.pipeline.batch_size, 'pack')}"
    end = "no end (epochs: null)" if epochs is None else counted(epochs, "epoch")
    if epoch is None:
        return f"{size}; {end}" if epochs is None else f"{size}; {end}, with an unknown number of batches"
    about = "" if epoch.is_exact else "about "
    batches = f"{about}{counted(epoch.num_batches, 'batch')}"
    steps = f"{about}{-(-epoch.num_batches // facts.ranks):,} steps of {facts.ranks} ranks"
    numbers = f"{batches}, {steps}" if facts.ranks > 1 else batches
    if epochs is None:
        return f"{size}; {end}; {numbers} per epoch"
    has_padding = epoch.share_filled < 1 and facts.stream.collator.has_fixed_shape
    return f"{size}; {end} of {numbers}{f'; packs fill {epoch.share_filled:.1%} of the slots' if has_padding else ''}"


def _lanes(facts: Facts) -> str:
    *some, last = map(str, _divisors(facts.num_lanes))
    readers = f"{', '.join(some)} or {last} readers" if some else "1 reader"
    auto = f" (auto, for {counted(facts.ranks, 'rank')} × {counted(facts.workers, 'worker')})"
    lanes = f"{facts.num_lanes}{auto if facts.config.lanes == 'auto' else ''}"
    return f"{lanes}; a run can resume with {readers} (ranks × workers)"


def _layout(facts: Facts) -> str:
    section = facts.config.collator_config
    if section.method != "packed":
        return section.method
    attention = section.kwargs.attention
    unmeasured = " (position_ids until a model is measured: --model)" if attention == "auto" else ""
    return f"packed, attention {attention}{unmeasured}"


def _resume(source: Source) -> str:
    if isinstance(source, IndexedSource) or (isinstance(source, SequentialSource) and source.seeks):
        return "seeks to its row, and only reads rows again that waited for a pack"
    if isinstance(source.origin, IterableSource):
        return "reads all earlier rows again"
    return "reads the shard from its start" if len(source.shards) > 1 else "reads its only shard from the start"


def _cache(source: Source) -> str:
    files = source.origin.arrow_files if isinstance(source.origin, TableSource) else []
    if not files:
        return "nothing is written; each epoch reads the rows from their source"
    size = sum(file.stat().st_size for file in files)
    folder = os.path.commonpath([file.parent for file in files])
    return f"{counted(len(files), 'Arrow file')} ({size / 1e6:,.1f} MB) of load_dataset in {folder}"


def _per_source(samples: Sequence[Sample], describe: Callable[[Source], str], *, total: int) -> list[str]:
    """The description of each of some sources, out of `total`; only one if it is the same for all."""
    texts = [describe(sample.leaf.source) for sample in samples]
    if len(texts) == total and len(set(texts)) == 1:
        return texts[:1]
    return [f"{sample.title}: {text}" for sample, text in zip(samples, texts, strict=True)]


def _method(facts: Facts, sample: Sample) -> str | None:
    sections = {leaf.name: leaf.section for leaf in leaf_sections(facts.config.source_config)}
    return sections[sample.leaf.name].method


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
