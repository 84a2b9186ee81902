"""What is known of a stream from its config, the headers of its files and a few hundred rows, in about a second."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from samsum_stream.config import StreamConfig
from samsum_stream.inspection.check.noticed import Noticer, Vocabulary
from samsum_stream.inspection.check.sampling import MIN_SAMPLED, NUM_SAMPLED, Sample, Sampler
from samsum_stream.inspection.lengths import KEPT, Measurements, RowMeasure
from samsum_stream.inspection.simulation import Epoch, estimate_epoch, mixed_lengths, packing_efficiency, plan_epoch
from samsum_stream.lanes.share import check_num_lanes
from samsum_stream.pipeline.pipeline import Pipeline
from samsum_stream.prompts.chat.loading import LoadedTemplate
from samsum_stream.sources import Mixture
from samsum_stream.stream.encoders import BuiltTask
from samsum_stream.stream.stream import SFTStream
from samsum_stream.values.arrays import Int32Array
from samsum_stream.values.rows import Completions, Conversations, Instructions

NUM_PACKED = 4096
"""The examples for simulated packing: the sampled examples, repeated."""


class TaskFacts(NamedTuple):
    """A task, and what is known of its rows.

    Attributes:
        built: The task.
        samples: Some rows of each of its sources.
        title: The names of its sources, as the start of a message; empty if all sources have the task.
    """

    built: BuiltTask
    samples: tuple[Sample, ...]
    title: str

    @property
    def loaded(self) -> LoadedTemplate | None:
        """The chat template of the task; None if it has none."""
        return self.built.formats.chat

    @property
    def kinds(self) -> list[type]:
        """The kinds of content that the sampled rows have, of those that a format writes."""
        kinds = {kind for sample in self.samples for kind in sample.noticed.kinds}
        return [kind for kind in (Instructions, Completions, Conversations) if kind in kinds]


@dataclass(frozen=True)
class Facts:
    """What is known of a stream.

    Attributes:
        stream: The stream.
        samples: Some rows of each source.
        warned: The warnings of the stream when it was built.
        ranks: The ranks that will read.
        workers: The workers of each rank; at least 1.
    """

    stream: SFTStream
    samples: tuple[Sample, ...]
    warned: tuple[str, ...]
    ranks: int
    workers: int

    @property
    def config(self) -> StreamConfig:
        return self.stream.config

    @property
    def pipeline(self) -> Pipeline:
        return self.stream.pipeline

    @property
    def max_length(self) -> int:
        return self.pipeline.packer.max_length

    @property
    def num_lanes(self) -> int:
        return self.pipeline.lanes_for(self.ranks * self.workers)

    @cached_property
    def tasks(self) -> list[TaskFacts]:
        """The different tasks, with the samples of their sources."""
        tasks = list({id(task): task for task in self.stream.tasks.values()}.values())
        return [self._of_task(task, is_only=len(tasks) == 1) for task in tasks]

    def _of_task(self, task: BuiltTask, *, is_only: bool) -> TaskFacts:
        samples = tuple(sample for sample in self.samples if self.task_of(sample) is task)
        title = "" if is_only else f"{', '.join(sample.title for sample in samples)}: "
        return TaskFacts(task, samples, title)

    def task_of(self, sample: Sample) -> BuiltTask:
        """The task of sampled rows."""
        return self.stream.tasks[sample.leaf.name]

    @cached_property
    def measured(self) -> Measurements:
        """The measurements of the samples of all sources."""
        sizes = [0] * len(self.pipeline.source.shards)
        for sample in self.samples:
            sizes[sample.leaf.first_shard] = sample.num_rows
        return Measurements.joined([sample.measured for sample in self.samples], shard_sizes=sizes)

    @cached_property
    def lengths_to_pack(self) -> Int32Array:
        """The lengths of about `NUM_PACKED` examples for simulated packing; empty if all rows were dropped."""
        measured = [sample.measured for sample in self.samples]
        return mixed_lengths(self.pipeline.source, measured, NUM_PACKED, column=KEPT)

    @cached_property
    def efficiency(self) -> float:
        """Tokens / capacity of packs, 0 to 1."""
        return packing_efficiency(self.lengths_to_pack, self.pipeline.packer)

    @property
    def is_whole(self) -> bool:
        """Whether the samples have all rows."""
        return all(sample.is_whole for sample in self.samples)

    @cached_property
    def epoch(self) -> Epoch | None:
        """The packs and batches of an epoch; None if its number of rows is unknown."""
        source, num_rows = self.pipeline.source, self.pipeline.num_rows
        if self.is_whole and self.pipeline.epochs is not None:
            return plan_epoch(self.pipeline, self.measured, num_lanes=self.num_lanes)
        if num_rows is None or isinstance(source, Mixture):
            return None
        return estimate_epoch(self.pipeline, self.measured, num_rows=num_rows)


def gather(config: StreamConfig, *, ranks: int = 1, num_workers: int | None = None, trust: Sequence[str] = ()) -> Facts:
    """Build the stream and sample its rows. The default of `num_workers` is `num_proc` of the config.

    Raises:
        SamsumStreamError: the stream cannot be built, a sampled row is bad, or the ranks cannot share the lanes.
    """
    with recorded_warnings() as warned:
        stream = SFTStream(config, trust=trust)
    pipeline, leaves = stream.pipeline, stream.pipeline.source.leaves
    workers = max(config.num_proc if num_workers is None else num_workers, 1)
    num_lanes = pipeline.lanes_for(ranks * workers)
    check_num_lanes(num_lanes, num_rows=pipeline.source.max_lanes, ranks=ranks)
    number = max(NUM_SAMPLED // len(leaves), MIN_SAMPLED)
    noticers = {leaf: _noticer(stream, task) for leaf, task in stream.tasks.items()}
    sampler = Sampler(RowMeasure(pipeline.encoder), noticers, pipeline.faults, number)
    samples = tuple(map(sampler.sample, leaves))
    facts = Facts(stream, samples, tuple(warned), ranks, workers)
    _ = facts.epoch  # raises if no epoch can be planned
    return facts


@contextmanager
def recorded_warnings() -> Iterator[list[str]]:
    """Within this context, the warnings of the package are recorded and not shown."""
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("samsum_stream")
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates


def _noticer(stream: SFTStream, task: BuiltTask) -> Noticer:
    tokenizer = stream.tokenizer
    bos = None if tokenizer.bos_token_id == tokenizer.eos_token_id else tokenizer.bos_token_id
    return Noticer(task.encoder, Vocabulary(bos, frozenset(tokenizer.added_tokens_decoder)))
