"""The first batches of a stream: their packs, the tokens of each source, and some examples of each source."""

from typing import NamedTuple

import numpy as np

from samsum_stream.lanes.share import Share
from samsum_stream.showing.packs import PackBar, pack_bar
from samsum_stream.stream.stream import SFTStream
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.batches import Batch
from samsum_stream.values.counts import child_of_each
from samsum_stream.values.examples import Example

MAX_BATCHES, MAX_TOKENS = 64, 1 << 20
"""Reading stops after the batch that reaches either limit."""

NUM_PACKS, NUM_EXAMPLES = 16, 20


class FirstBatches(NamedTuple):
    """The first batches.

    Attributes:
        tokens: Tokens of each source in each batch, shape `[num_batches, num_sources]`.
        bars: The first packs.
        examples: The first examples of each source, all of them from its first epoch.
    """

    tokens: Int64Array
    bars: list[PackBar]
    examples: list[list[Example]]

    @property
    def shares(self) -> np.ndarray:
        """The share of each source in the tokens of each batch, 0 to 1, shape `[num_batches, num_sources]`."""
        shares: np.ndarray = self.tokens / self.tokens.sum(axis=1, keepdims=True)
        return shares


def read_first(stream: SFTStream, *, num_lanes: int) -> FirstBatches:
    """Read in this process, without counting the rows first.

    Raises:
        SourceError: the rows cannot be read, or no row is left to train on.
    """
    pipeline, leaves = stream.pipeline, stream.pipeline.source.leaves
    num_per_source = max(NUM_EXAMPLES // len(leaves), 1)
    tokens, bars = list[Int64Array](), list[PackBar]()
    examples: list[list[Example]] = [[] for _ in leaves]
    for _, produced in pipeline.interleaved(Share(0), order=pipeline.order(num_lanes), first_epoch=0):
        batch = produced.batch
        if not len(batch.records):  # the end of a lane
            continue
        sources = child_of_each(batch, leaves)
        tokens.append(np.bincount(sources, weights=batch.tokens.lengths, minlength=len(leaves)).astype(np.int64))
        packs = batch.packs(pipeline.source.position)
        bars += [pack_bar(pack, capacity=_capacity(stream, batch)) for pack in packs[: NUM_PACKS - len(bars)]]
        examples_of_batch = [example for pack in packs for example in pack.examples]
        for source, example in zip(sources.tolist(), examples_of_batch, strict=True):
            if example.position.epoch == 0 and len(examples[source]) < num_per_source:
                examples[source].append(example)
        if len(tokens) == MAX_BATCHES or np.sum(tokens) >= MAX_TOKENS:
            break
    return FirstBatches(np.array(tokens), bars, examples)


def _capacity(stream: SFTStream, batch: Batch) -> int:
    """Tokens in a row of the batch; padded rows are as long as the longest example."""
    if stream.config.collator_config.method == "padded":
        return int(batch.tokens.lengths.max())
    return stream.pipeline.packer.max_length
