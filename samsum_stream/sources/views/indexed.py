"""Some rows of an indexed source, by a map from each index to a row number."""

import numpy as np

from samsum_stream.sources.base import IndexedSource, Shard
from samsum_stream.sources.views.numbers import Numbers
from samsum_stream.sources.views.row_sets import starts_of
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.rows import RowPosition, Rows


class IndexedView(IndexedSource):
    """The rows of `source` whose numbers are in `numbers`, in their order."""

    def __init__(self, source: IndexedSource, numbers: Numbers) -> None:
        self._source, self._numbers = source, numbers
        self._starts = starts_of(source.shards)
        sizes = np.diff(numbers.rank(self._starts)).tolist()
        shards = (Shard(shard.name, size) for shard, size in zip(source.shards, sizes, strict=True))
        super().__init__(name=source.name, shards=tuple(shards))

    def take(self, indices: Int64Array) -> Rows:
        return self._source.take(self._numbers.select(indices))

    def read_position(self, shard: int, row: int, epoch: int) -> RowPosition:
        index = sum(before.num_rows or 0 for before in self.shards[:shard]) + row
        number = int(self._numbers.select(np.array([index]))[0])
        shard = int(np.searchsorted(self._starts, number, side="right")) - 1
        return self._source.read_position(shard, number - int(self._starts[shard]), epoch)

    @property
    def origin(self) -> IndexedSource:
        origin = self._source.origin
        assert isinstance(origin, IndexedSource)
        return origin
