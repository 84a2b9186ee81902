"""The first batches of a stream, really read: their packs, the tokens of each source, and some examples of all."""

from typing import NamedTuple

import numpy as np

from samsum_stream.lanes.share import Share
from samsum_stream.loader.wire import from_buffer, to_buffer
from samsum_stream.stream.stream import SFTStream
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.batches import Batch, Pack, packs_of
from samsum_stream.values.examples import Example

MAX_BATCHES, MAX_TOKENS = 64, 1 << 20
"""What is read at most; the batch that reaches either is the last one."""

NUM_PACKS, NUM_EXAMPLES = 16, 20


class FirstBatches(NamedTuple):
    """What was read.

    Attributes:
        tokens: Tokens of each source in each batch, shape `[num_batches, num_sources]`.
        packs: The first packs, and how many tokens each has room for.
        examples: Some of every source, source by source; of small ones, no row again that came before.
    """

    tokens: Int64Array
    packs: list[tuple[Pack, int]]
    examples: list[list[Example]]

    @property
    def shares(self) -> np.ndarray:
        """The share of each source in the tokens of each batch, 0 to 1, shape `[num_batches, num_sources]`."""
        shares: np.ndarray = self.tokens / self.tokens.sum(axis=1, keepdims=True)
        return shares


def read_first(stream: SFTStream, *, num_lanes: int) -> FirstBatches:
    """Read as a process without workers would, without counting rows first.

    Raises:
        SourceError: the rows cannot be read, or none is left to train on.
    """
    pipeline = stream.pipeline
    firsts = [leaf.first_shard for leaf in pipeline.source.leaves]
    num_each = max(NUM_EXAMPLES // len(firsts), 1)
    tokens: list[Int64Array] = []
    packs: list[tuple[Pack, int]] = []
    examples: list[list[Example]] = [[] for _ in firsts]
    for made in pipeline.undealt(Share(0), order=pipeline.order(num_lanes), first_epoch=0):
        if not made.packs:  # the end of a lane
            continue
        batch = from_buffer(to_buffer(made.packs))
        sources = np.searchsorted(firsts, batch.records["shard"], side="right") - 1
        tokens.append(np.bincount(sources, weights=batch.tokens.lengths, minlength=len(firsts)).astype(np.int64))
        own, room = list(packs_of(batch, pipeline.source.position)), _room(stream, batch)
        packs += [(pack, room) for pack in own[: NUM_PACKS - len(packs)]]
        for source, example in zip(sources.tolist(), (each for pack in own for each in pack.examples), strict=True):
            if example.position.epoch == 0 and len(examples[source]) < num_each:
                examples[source].append(example)
        if len(tokens) == MAX_BATCHES or np.sum(tokens) >= MAX_TOKENS:
            break
    return FirstBatches(np.array(tokens), packs, examples)


def _room(stream: SFTStream, batch: Batch) -> int:
    """Tokens in a row of the batch; padded rows are as long as the longest example."""
    if stream.config.collator_config.method == "padded":
        return int(batch.tokens.lengths.max())
    return stream.pipeline.packer.max_length
