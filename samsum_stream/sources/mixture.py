"""Several sources as one: each child with its own shards behind those of the children before it."""

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import Literal, NamedTuple

from samsum_stream.errors import ConfigError
from samsum_stream.sources.base import Block, Leaf, Shard, Source
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import RowPosition, Rows


class Mix(NamedTuple):
    """How children are mixed: `weights` are relative, and `stops` says when an epoch of the mixture is over."""

    weights: tuple[float, ...]
    by: Literal["rows", "tokens"]
    stops: Literal["first_exhausted", "all_exhausted", "endless"]

    def is_over(self, ended: Sequence[bool]) -> bool:
        """Whether an epoch is, in which these children have come to an end of theirs."""
        return {"first_exhausted": any(ended), "all_exhausted": all(ended), "endless": False}[self.stops]


class Child(NamedTuple):
    """A source by the name that its mixture gives it, and where its shards start among those of the mixture."""

    name: str
    first_shard: int
    source: Source


class Mixture(Source):
    """Children, of which each lane draws rows as `mix` says."""

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
        if twice := sorted({leaf for leaf in names if names.count(leaf) > 1}):
            raise ConfigError(
                f"{name}: two sources are called {twice[0]!r}, as children of a mixture in it read outer/inner; "
                "give one of them another name"
            )

    def position(self, shard: int, row: int, epoch: int) -> RowPosition:
        """Where a row stands in the child that it comes from; `epoch` is that of the child."""
        child = next(child for child in reversed(self.children) if child.first_shard <= shard)
        return child.source.position(shard - child.first_shard, row, epoch)

    @property
    def num_rows(self) -> int | None:
        """None: how many rows an epoch has follows from what lanes draw."""
        return None

    @property
    def max_lanes(self) -> int | None:
        """Every lane needs a row of each child."""
        return min((known for child in self.children if (known := child.source.max_lanes) is not None), default=None)

    @property
    def has_end(self) -> bool:
        """Whether its epochs end."""
        return self.mix.is_over([child.source.has_end for child in self.children])

    @property
    def leaves(self) -> list[Leaf]:
        """Those of all children; one of a mixture in this one is named `outer/inner`."""
        return [
            Leaf("/".join(filter(None, (child.name, leaf.name))), child.first_shard + leaf.first_shard, leaf.source)
            for child in self.children
            for leaf in child.source.leaves
        ]

    def first_block(self, num_rows: int) -> Block:
        """Some rows of each child, one child after the other."""
        share = max(num_rows // len(self.children), 1)
        blocks = [child.source.first_block(share) for child in self.children]
        ends = list(accumulate(block.num_rows for block in blocks))
        return Block(ends[-1], partial(self._taken, blocks, ends))

    def _taken(self, blocks: Sequence[Block], ends: Sequence[int], indices: Int64Array) -> Rows:
        """The rows at `indices`, which ascend."""
        taken = Rows.none()
        for child, block, end in zip(self.children, blocks, ends, strict=True):
            own = indices[(indices < end) & (indices >= end - block.num_rows)] - (end - block.num_rows)
            if len(own):
                taken = Rows.joined(taken, block.take(own).of_shards_from(child.first_shard))
        return taken
