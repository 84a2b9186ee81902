"""The rows of all sources of a mixture, each once: their shards one after another."""

from collections.abc import Iterator
from functools import partial

from samsum_stream.sources.base import Block, IndexedSource, Leaf, SequentialSource
from samsum_stream.sources.mixture import Mixture
from samsum_stream.sources.views.row_sets import starts_of
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import RowPosition, Rows


class Joined(SequentialSource):
    """The shards of a mixture, with their numbers there.

    Attributes:
        mixture: The mixture.
    """

    def __init__(self, mixture: Mixture) -> None:
        super().__init__(name=mixture.name, shards=mixture.shards)
        self.mixture = mixture
        self.is_remote = any(leaf.source.is_remote for leaf in mixture.leaves)

    def blocks(self, shard: int, *, num_rows: int, start: int = 0) -> Iterator[Block]:
        leaf = next(leaf for leaf in reversed(self.mixture.leaves) if leaf.first_shard <= shard)
        for block in _blocks(leaf, shard - leaf.first_shard, num_rows=num_rows, start=start):
            yield block._replace(take=partial(_take, block, leaf.first_shard))

    def first_block(self, num_rows: int) -> Block:
        return self.mixture.first_block(num_rows)

    def position(self, shard: int, row: int, epoch: int) -> RowPosition:
        return self.mixture.position(shard, row, epoch)

    def read_position(self, shard: int, row: int, epoch: int) -> RowPosition:
        return self.mixture.read_position(shard, row, epoch)


def _take(block: Block, first_shard: int, indices: Int64Array) -> Rows:
    return block.take(indices).of_shards_from(first_shard)


def _blocks(leaf: Leaf, shard: int, *, num_rows: int, start: int) -> Iterator[Block]:
    if isinstance(leaf.source, IndexedSource):
        return _indexed_blocks(leaf.source, shard, num_rows=num_rows, start=start)
    assert isinstance(leaf.source, SequentialSource)
    return leaf.source.blocks(shard, num_rows=num_rows, start=start)


def _indexed_blocks(source: IndexedSource, shard: int, *, num_rows: int, start: int) -> Iterator[Block]:
    first, end = starts_of(source.shards)[shard : shard + 2].tolist()
    for row in range(first + start, end, num_rows):
        yield Block(min(num_rows, end - row), partial(_take_from, source, row))


def _take_from(source: IndexedSource, first: int, indices: Int64Array) -> Rows:
    return source.take(first + indices)
