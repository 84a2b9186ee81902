"""What `check` advises: one function for each, which looks at the facts and says what is amiss, or nothing.

Functions of `ADVICE` stand in the order in which a person reads them; a new one is a function, a row and a test.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from samsum_stream.batching.packing import BestFit
from samsum_stream.inspection.check.facts import Facts, Sample
from samsum_stream.inspection.check.findings import Finding, Level, split_message
from samsum_stream.inspection.lengths import BEFELL, BITS, KEPT, WHOLE
from samsum_stream.inspection.simulation import packed
from samsum_stream.lanes.share import fitting_workers
from samsum_stream.sources import SequentialSource
from samsum_stream.values.counts import COUNTED, by_reason

MANY = 0.01
"""The share of rows from which on losing or shortening them is worth a word."""

MUCH_FULLER = 0.02
"""How much fuller packs must get for a change of packing to be worth a word."""

GOOD_BUFFER = 64
"""The window of `best_fit` that packing is held against: the default."""

SKIPPED = tuple(name for name in COUNTED if name.startswith("skipped."))

LONG_COUNT = 60
"""Seconds of counting before the first batch from which on they are worth a word."""

Advice = Callable[[Facts], Iterator[Finding]]

WARNED: dict[str, tuple[str, Level]] = {
    "nothing separates the input from the response": ("no_border", "warning"),
    "which are no special tokens of this tokenizer": ("unknown_special_tokens", "warning"),
    "with full attention": ("full_attention", "warning"),
    "until then the slower backend": ("slower_backend", "warning"),
    "config.use_cache is true": ("cache_is_on", "note"),
}
"""What the stream itself warns of, by words of the message: the name and the level of the finding."""


def warned(facts: Facts) -> Iterator[Finding]:
    """What the stream says by itself when it is made, told here once."""
    yield from findings_in(facts.warned)


def findings_in(messages: Iterable[str]) -> Iterator[Finding]:
    """The findings that warnings of the stream are."""
    for message in messages:
        known = (named for words, named in WARNED.items() if words in message)
        name, level = next(known, ("warning", "warning"))
        yield Finding(name, level, *split_message(message))


def bad_rows(facts: Facts) -> Iterator[Finding]:
    for sample in facts.samples:
        if reasons := by_reason(sample.counts, "skipped"):
            told = ", ".join(f"{number:,} {reason}" for reason, number in reasons.items())
            yield Finding(
                "bad_rows",
                "warning",
                f"{sample.title}: {_share(reasons.total(), sample)} are bad and will be skipped ({told}), such as "
                f"{_first_with(sample, *SKIPPED)}",
                "mend them, or see that fault_config.max_bad_rows bears as many",
            )


def long_rows(facts: Facts) -> Iterator[Finding]:
    limit, method = facts.max_length, facts.config.truncation_config.method
    fate = "dropped" if method == "drop" else f"cut ({method})"
    for sample in facts.samples:
        lengths = sample.measured[:, WHOLE]
        number = int((lengths > limit).sum())
        if number:
            is_many = number >= MANY * len(lengths)
            fitting = _round_up(float(np.quantile(lengths, 1 - MANY)) if is_many else float(lengths.max()))
            or_else = ", or cut them: truncation_config.method input, contexts or right" if method == "drop" else ""
            covered = f"{fitting:,} fits {'99%' if is_many else 'all'} of them"
            yield Finding(
                "long_rows",
                "warning" if is_many else "note",
                f"{sample.title}: {_share(number, sample)} are longer than max_length {limit:,} and are {fate}; the "
                f"longest, {sample.positions[lengths.argmax()].place}, has {int(lengths.max()):,} tokens",
                f"raise packing_config.kwargs.max_length ({covered}){or_else}",
            )


def longer_than_model(facts: Facts) -> Iterator[Finding]:
    """Positions restart in each document of a pack, so that the length of rows counts and not that of packs."""
    limit = int(facts.stream.tokenizer.model_max_length)
    for sample in facts.samples:
        number = int((sample.measured[:, KEPT] > limit).sum())
        if number:
            yield Finding(
                "longer_than_model",
                "warning",
                f"{sample.title}: {_share(number, sample)} are kept with more tokens than the {limit:,} that the "
                "tokenizer names as its model's most (model_max_length), such as "
                f"{sample.positions[sample.measured[:, KEPT].argmax()].place}",
                f"lower packing_config.kwargs.max_length to {limit:,}, or train a model that reads as many",
            )


def poor_packing(facts: Facts) -> Iterator[Finding]:
    """A padded row holds one example by its nature, so its packing is left alone."""
    section, own = facts.config.packing_config, facts.efficiency
    if facts.config.collator_config.method == "padded":
        return
    _, best = packed(facts.to_pack, BestFit(max_length=facts.max_length, buffer_size=GOOD_BUFFER))
    if best - own >= MUCH_FULLER:
        is_best_fit = section.method == "best_fit"
        how = f"buffer_size {section.kwargs.buffer_size}" if is_best_fit else f"method {section.method}"
        better = f"kwargs.buffer_size: {GOOD_BUFFER}" if is_best_fit else "method: best_fit"
        yield Finding(
            "poor_packing",
            "warning",
            f"packing with {how} fills packs to {own:.1%}, where best_fit with a window of {GOOD_BUFFER} fills them "
            f"to {best:.1%}",
            f"write packing_config.{better}",
        )


def shared_shards(facts: Facts) -> Iterator[Finding]:
    num_lanes, readers = facts.num_lanes, facts.ranks * facts.workers
    for sample in facts.samples:
        source = sample.leaf.source
        sizes = [shard.num_rows for shard in source.shards]
        if readers == 1 or not isinstance(source, SequentialSource) or source.seeks:
            continue
        if not facts.pipeline.order(num_lanes).has_pieces(sizes):
            many = "its only shard" if len(sizes) == 1 else f"all of its {len(sizes)} shards"
            yield Finding(
                "shared_shards",
                "warning",
                f"{sample.title}: each of {readers} readers (ranks × workers) reads {many} and throws away what is the "
                "others', because there is no way into the middle of a shard",
                f"write plain jsonl or parquet, or {4 * num_lanes} shards (four for each of {num_lanes} lanes)",
            )


def idle_workers(facts: Facts) -> Iterator[Finding]:
    fitting = fitting_workers(facts.num_lanes, world_size=facts.ranks, num_workers=facts.workers)
    if fitting != facts.workers:
        yield Finding(
            "idle_workers",
            "warning",
            f"{facts.workers} workers of each of {facts.ranks} ranks cannot share {facts.num_lanes} lanes evenly, so "
            f"{fitting} will read",
            f"take {fitting} workers, or in a new run lanes: auto",
        )


def special_tokens_in_rows(facts: Facts) -> Iterator[Finding]:
    """Where they are control tokens, rows can forge a turn."""
    is_parsed = facts.config.tokenizer_config.special_tokens_in_rows == "parse"
    for sample in facts.samples:
        if number := sample.counts["special_tokens_in_rows"]:
            becomes = "read as control tokens, so that a row can forge a turn" if is_parsed else "read as ordinary text"
            yield Finding(
                "special_tokens_in_rows",
                "warning" if is_parsed else "note",
                f"{sample.title}: {_share(number, sample)}, such as {_first_with(sample, 'special_tokens_in_rows')}, "
                f"spell a special token in their own text, which is {becomes}",
                "say tokenizer_config.special_tokens_in_rows: text"
                if is_parsed
                else "look at them (report shows the first ones): were these rows rendered for another model already?",
            )


def no_pad_token(facts: Facts) -> Iterator[Finding]:
    if facts.stream.tokenizer.pad_token_id is None:
        yield Finding(
            "no_pad_token",
            "note",
            f"the tokenizer has no pad token: {facts.stream.tokenizer.decode(facts.stream.collator.pad_token_id)} pads "
            "instead, and every response still learns its end, because labels are masked by position",
            "set tokenizer.pad_token where other code asks for one",
        )


def no_shuffle(facts: Facts) -> Iterator[Finding]:
    if not facts.config.shuffle:
        yield Finding(
            "no_shuffle",
            "note",
            "shuffle: false: every epoch gives the rows in the order of their source, which suits evaluation",
            "write shuffle: true to train",
        )


def long_count(facts: Facts) -> Iterator[Finding]:
    num_rows = [sample.leaf.source.num_rows for sample in facts.samples]
    if facts.config.epochs is None or None in num_rows:
        return
    paces = (sample.seconds / len(sample.measured) for sample in facts.samples)
    seconds = sum(pace * number for pace, number in zip(paces, filter(None, num_rows), strict=True))
    seconds /= facts.ranks * facts.workers
    if seconds >= LONG_COUNT:
        yield Finding(
            "long_count",
            "warning",
            f"epochs: {facts.config.epochs}: all {sum(filter(None, num_rows)):,} rows are counted before the first "
            f"batch, which takes about {_duration(seconds)}",
            "write epochs: null and say when to stop in steps, or read with more workers",
        )


ADVICE: tuple[Advice, ...] = (
    warned,
    bad_rows,
    long_rows,
    longer_than_model,
    poor_packing,
    shared_shards,
    idle_workers,
    special_tokens_in_rows,
    no_pad_token,
    no_shuffle,
    long_count,
)


def advise(facts: Facts) -> list[Finding]:
    """All findings, in the order of `ADVICE`."""
    return [finding for advice in ADVICE for finding in advice(facts)]


def _first_with(sample: Sample, *names: str) -> str:
    """Where the first row stands that any of these befell."""
    befell = (sample.measured[:, BEFELL] & sum(BITS[name] for name in names)) > 0
    return sample.positions[befell.argmax()].place


def _share(number: int, sample: Sample) -> str:
    """`31% of the rows`; where some were looked at, which ones is said as well."""
    total = len(sample.measured)
    share = f"{number / total:.0%}" if number >= 0.1 * total else f"{number / total:.1%}"
    if sample.is_whole:
        return f"{share} of the rows"
    return (
        f"{share} of {total:,} rows that were looked at" if sample.is_spread else f"{share} of the first {total:,} rows"
    )


def _round_up(length: float) -> int:
    """To the next power of two, as lengths are chosen."""
    return 1 << max(int(np.ceil(length)) - 1, 1).bit_length()


def _duration(seconds: float) -> str:
    return f"{seconds / 60:,.0f} minutes" if seconds < 5400 else f"{seconds / 3600:,.1f} hours"
