"""The advice of `check`: each function looks at the facts and yields findings about one problem.

To add advice, add a function, a line in `ADVICE` and a test. `ADVICE` has the order in which findings are shown.
"""

from collections.abc import Callable, Iterable, Iterator

from samsum_stream.batching.packing import BestFit
from samsum_stream.errors.wording import counted
from samsum_stream.inspection.check.columns import stripped_rows, unread_fields
from samsum_stream.inspection.check.conversations import ON_CONVERSATIONS
from samsum_stream.inspection.check.facts import Facts
from samsum_stream.inspection.check.findings import Finding, Level, split_message
from samsum_stream.inspection.check.sampling import Sample
from samsum_stream.inspection.lengths import KEPT, WHOLE, quantile
from samsum_stream.inspection.simulation import packing_efficiency
from samsum_stream.lanes.share import fitting_workers
from samsum_stream.sources import SequentialSource
from samsum_stream.values.counts import COUNTED, NOT_SELECTED, by_reason
from samsum_stream.values.rows import Conversations, Instructions

MANY = 0.01
"""The smallest share of dropped or shortened rows that is a warning and not a note."""

MUCH_FULLER = 0.02
"""The smallest gain of efficiency for which another packing is advised."""

GOOD_BUFFER = 64
"""The window of `best_fit` that packing is compared with: the default."""

SKIPPED = tuple(name for name in COUNTED if name.startswith("skipped."))

LONG_COUNT = 60
"""The seconds of counting before the first batch from which there is a warning."""

Advice = Callable[[Facts], Iterator[Finding]]

WARNED: dict[str, tuple[str, Level]] = {
    "nothing separates the input from the response": ("no_border", "warning"),
    "no row is written with this prompt": ("unused_prompt", "warning"),
    "braces have no meaning": ("loose_braces", "warning"),
    "special tokens of this tokenizer": ("unknown_special_tokens", "warning"),
    "with full attention": ("full_attention", "warning"),
    "slower backend": ("slower_backend", "warning"),
    "config.use_cache is true": ("cache_is_on", "note"),
}
"""The warnings of the stream, by words of their messages: the name and the level of the finding."""


def warned(facts: Facts) -> Iterator[Finding]:
    """The warnings of the stream when it was built."""
    yield from findings_in(facts.warned)


def findings_in(messages: Iterable[str]) -> Iterator[Finding]:
    """The findings for warnings of the stream."""
    for message in messages:
        known = (finding for words, finding in WARNED.items() if words in message)
        name, level = next(known, ("warning", "warning"))
        yield Finding(name, level, *split_message(message))


def bad_rows(facts: Facts) -> Iterator[Finding]:
    for sample in facts.samples:
        if reasons := by_reason(sample.measured.counts, "skipped"):
            numbers = ", ".join(f"{number:,} {reason}" for reason, number in reasons.items())
            yield Finding(
                "bad_rows",
                "warning",
                f"{sample.title}: {sample.share(reasons.total())} are bad and will be skipped ({numbers}), such as "
                f"{sample.place_of_first_with(*SKIPPED)}",
                "fix them, or make sure that fault_config.max_bad_rows allows that many",
            )


def long_rows(facts: Facts) -> Iterator[Finding]:
    limit = facts.max_length
    for sample in facts.samples:
        method = facts.task_of(sample).config.truncation_config.method
        outcome = "dropped" if method == "drop" else f"cut ({method})"
        lengths = sample.measured.lengths[:, WHOLE] * ~sample.measured.has_outcome(*NOT_SELECTED)
        number = sample.measured.num_rows_with(lengths > limit)
        if number:
            is_many = number >= MANY * sample.num_rows
            longest = int(lengths.max())
            place = sample.place_of_first(lengths == longest)
            fitting = _next_power_of_two(quantile(lengths, 1 - MANY) if is_many else longest)
            or_else = f", or cut them: truncation_config.method {_methods(facts, sample)}" if method == "drop" else ""
            covered = f"{fitting:,} fits {'99%' if is_many else 'all'} of them"
            yield Finding(
                "long_rows",
                "warning" if is_many else "note",
                f"{sample.title}: {sample.share(number)} have examples that are longer than max_length {limit:,}, "
                f"which are {outcome}; the longest, {place}, has {longest:,} tokens",
                f"raise packing_config.kwargs.max_length ({covered}){or_else}",
            )


def _methods(facts: Facts, sample: Sample) -> str:
    """The truncation methods that can shorten the rows of a sample."""
    if Conversations in sample.noticed.kinds:
        return "turns or last_turns (rounds are removed, so a row of one round is dropped), or right"
    is_chat = facts.task_of(sample).formats.chat is not None
    return "input, contexts or right" if Instructions in sample.noticed.kinds and not is_chat else "right"


def longer_than_model(facts: Facts) -> Iterator[Finding]:
    """Positions restart in each document of a pack. Therefore the length of documents matters, not that of packs."""
    limit = int(facts.stream.tokenizer.model_max_length)
    for sample in facts.samples:
        lengths = sample.measured.lengths[:, KEPT]
        number = sample.measured.num_rows_with(lengths > limit)
        if number:
            yield Finding(
                "longer_than_model",
                "warning",
                f"{sample.title}: {sample.share(number)} are kept with more than {limit:,} tokens, which is the "
                "model_max_length of the tokenizer, such as "
                f"{sample.place_of_first(lengths == lengths.max())}",
                f"lower packing_config.kwargs.max_length to {limit:,}, or train a model that reads as many",
            )


def poor_packing(facts: Facts) -> Iterator[Finding]:
    """A padded row holds one example in any case."""
    section, configured = facts.config.packing_config, facts.efficiency
    if facts.config.collator_config.method == "padded":
        return
    good_packer = BestFit(max_length=facts.max_length, buffer_size=GOOD_BUFFER)
    best = packing_efficiency(facts.lengths_to_pack, good_packer)
    if best - configured >= MUCH_FULLER:
        is_best_fit = section.method == "best_fit"
        how = f"buffer_size {section.kwargs.buffer_size}" if is_best_fit else f"method {section.method}"
        better = f"kwargs.buffer_size: {GOOD_BUFFER}" if is_best_fit else "method: best_fit"
        yield Finding(
            "poor_packing",
            "warning",
            f"packing with {how} fills packs to {configured:.1%}; best_fit with a window of {GOOD_BUFFER} fills them "
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
        if not facts.pipeline.order(num_lanes).has_ranges(sizes):
            shards = "its only shard" if len(sizes) == 1 else f"all of its {len(sizes)} shards"
            yield Finding(
                "shared_shards",
                "warning",
                f"{sample.title}: each of {readers} readers (ranks × workers) reads {shards} and throws the rows of "
                "the others away, because a shard can only be read from its start",
                f"write plain jsonl or parquet, or {4 * num_lanes} shards (four for each of {num_lanes} lanes)",
            )


def idle_workers(facts: Facts) -> Iterator[Finding]:
    fitting = fitting_workers(facts.num_lanes, world_size=facts.ranks, num_workers=facts.workers)
    if fitting != facts.workers:
        yield Finding(
            "idle_workers",
            "warning",
            f"{counted(facts.ranks, 'rank')} with {counted(facts.workers, 'worker')} each cannot share "
            f"{counted(facts.num_lanes, 'lane')} evenly, so {fitting} of each rank will read",
            f"take {counted(fitting, 'worker')}, or in a new run lanes: auto",
        )


def special_tokens_in_rows(facts: Facts) -> Iterator[Finding]:
    """If they are parsed as control tokens, rows can forge a turn."""
    is_parsed = facts.config.tokenizer_config.special_tokens_in_rows == "parse"
    for sample in facts.samples:
        if number := sample.measured.counts["special_tokens_in_rows"]:
            first = sample.place_of_first_with("special_tokens_in_rows")
            becomes = "read as control tokens, so that a row can forge a turn" if is_parsed else "read as ordinary text"
            yield Finding(
                "special_tokens_in_rows",
                "warning" if is_parsed else "note",
                f"{sample.title}: {sample.share(number)}, such as {first}, spell a special token in their own text, "
                f"which is {becomes}",
                "write tokenizer_config.special_tokens_in_rows: text"
                if is_parsed
                else "look at them (report shows the first ones): were these rows rendered for another model already?",
            )


def no_pad_token(facts: Facts) -> Iterator[Finding]:
    if facts.stream.tokenizer.pad_token_id is None:
        yield Finding(
            "no_pad_token",
            "note",
            "the tokenizer has no pad token, so "
            f"{facts.stream.tokenizer.decode(facts.stream.collator.pad_token_id)} is used for padding; every response "
            "still learns its end, because labels are masked by position",
            "set tokenizer.pad_token if other code needs one",
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
    sizes = [sample.leaf.source.num_rows for sample in facts.samples]
    if facts.config.epochs is None or None in sizes:
        return
    seconds_per_row = [sample.seconds / sample.num_rows for sample in facts.samples]
    seconds = sum(pace * number for pace, number in zip(seconds_per_row, filter(None, sizes), strict=True))
    seconds /= facts.ranks * facts.workers
    if seconds >= LONG_COUNT:
        yield Finding(
            "long_count",
            "warning",
            f"epochs: {facts.config.epochs}: all {sum(filter(None, sizes)):,} rows are counted before the first "
            f"batch, which takes about {_duration(seconds)}",
            "write epochs: null and set the end of training in steps, or read with more workers",
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
    unread_fields,
    stripped_rows,
    *ON_CONVERSATIONS,
    no_pad_token,
    no_shuffle,
    long_count,
)


def advise(facts: Facts) -> list[Finding]:
    """All findings, in the order of `ADVICE`."""
    return [finding for advice in ADVICE for finding in advice(facts)]


def _next_power_of_two(length: int) -> int:
    return 1 << max(length - 1, 1).bit_length()


def _duration(seconds: float) -> str:
    return f"{seconds / 60:,.0f} minutes" if seconds < 5400 else f"{seconds / 3600:,.1f} hours"
