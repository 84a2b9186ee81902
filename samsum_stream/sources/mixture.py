"""Several sources as one source: the shards of each child follow those of the children before it."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Literal, NamedTuple

from samsum_stream.errors import ConfigError
from samsum_stream.sources.base import Block, Leaf, Shard, Source
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import RowPosition, Rows


class Mix(NamedTuple):
    """How children are mixed: `weights` are relative, and `stops` says when an epoch of the mixture ends."""

    weights: tuple[float, ...]
    by: Literal["rows", "tokens"]
    stops: Literal["first_exhausted", "all_exhausted", "endless"]

    def is_over(self, ended: Sequence[bool]) -> bool:
        """Whether an epoch of the mixture ends; `ended` says for each child whether its epoch has ended."""
        return {"first_exhausted": any(ended), "all_exhausted": all(ended), "endless": False}[self.stops]


class Child(NamedTuple):
    """A source of a mixture, under its name there; `first_shard` is its first shard among those of the mixture."""

    name: str
    first_shard: int
    source: Source


class Mixture(Source):
    """Children from which each lane draws rows, as `mix` says."""

    def __init__(self, sources: Sequence[tuple[str, Source]], *, name: str, mix: Mix) -> None:
        sizes = [len(source.shards) for _, source in sources]
        firsts = [0, *accumulate(sizes)][:-1]
        self.children = tuple(
            Child(child, first, source) for (child, source), first in zip(sources, firsts, strict=True)
        )
        self.mix = mix
        shards = (
            Shard(f"{child.name}/{shard.name}", shard.num_rows)
            for child in self.children
            for shard in child.source.shards
        )
        super().__init__(name=name, shards=tuple(shards))
        names = [leaf.name for leaf in self.leaves]
        if repeated := sorted({leaf for leaf in names if names.count(leaf) > 1}):
            raise ConfigError(
                f"{name}: two sources are called {repeated[0]!r}, and the child of an inner mixture is called "
                "outer/inner; give one of them another name"
            )

    def position(self, shard: int, row: int, epoch: int) -> RowPosition:
        """The position of a row in its child; `epoch` is the epoch of the child."""
        child = self._child_of(shard)
        return child.source.position(shard - child.first_shard, row, epoch)

    def read_position(self, shard: int, row: int, epoch: int) -> RowPosition:
        child = self._child_of(shard)
        return child.source.read_position(shard - child.first_shard, row, epoch)

    def _child_of(self, shard: int) -> Child:
        return next(child for child in reversed(self.children) if child.first_shard <= shard)

    @property
    def num_rows(self) -> int | None:
        """None: the number of rows in an epoch depends on what the lanes draw."""
        return None

    @property
    def max_lanes(self) -> int | None:
        """The smallest limit of a child, because every lane needs a row of each child."""
        limits = (child.source.max_lanes for child in self.children)
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def has_end(self) -> bool:
        """Whether an epoch ends."""
        return self.mix.is_over([child.source.has_end for child in self.children])

    @property
    def leaves(self) -> list[Leaf]:
        """The leaves of all children; a leaf of an inner mixture is named `outer/inner`."""
        return [
            Leaf("/".join(filter(None, (child.name, leaf.name))), child.first_shard + leaf.first_shard, leaf.source)
            for child in self.children
            for leaf in child.source.leaves
        ]

    def first_block(self, num_rows: int) -> Block:
        """Rows from the start of each child, child after child."""
        share = max(num_rows // len(self.children), 1)
        blocks = [child.source.first_block(share) for child in self.children]
        ends = list(accumulate(block.num_rows for block in blocks))
        return Block(ends[-1], partial(self._take, blocks, ends))

    def _take(self, blocks: Sequence[Block], ends: Sequence[int], indices: Int64Array) -> Rows:
        """The rows at `indices`, which must ascend."""
        rows = Rows.none()
        for child, block, end in zip(self.children, blocks, ends, strict=True):
            start = end - block.num_rows
            of_child = indices[(indices >= start) & (indices < end)] - start
            if len(of_child):
                rows = Rows.joined(rows, block.take(of_child).of_shards_from(child.first_shard))
        return rows


def mapped(source: Source, change: Callable[[Source], Source]) -> Source:
    """The source with `change` applied to each source that rows are read from."""
    if not isinstance(source, Mixture):
        return change(source)
    children = [(child.name, mapped(child.source, change)) for child in source.children]
    return Mixture(children, name=source.name, mix=source.mix)
