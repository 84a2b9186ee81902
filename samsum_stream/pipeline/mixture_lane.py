"""The lane of a mixture: it draws examples from the lanes of its children."""

from collections.abc import Iterable, Iterator, Sequence

from samsum_stream.lanes.order import Order
from samsum_stream.lanes.position import ChildPosition, LanePosition
from samsum_stream.pipeline.lane import Lane
from samsum_stream.pipeline.mixing import Draws
from samsum_stream.sources.mixture import Mix
from samsum_stream.values.counts import Counts
from samsum_stream.values.examples import Item
from samsum_stream.values.rows import BadRow


class MixtureLane(Lane):
    """A lane of a mixture. It numbers the items anew, and keeps the child of each item that waits."""

    def __init__(
        self,
        children: Sequence[Lane],
        mix: Mix,
        *,
        position: LanePosition,
        child_positions: Sequence[ChildPosition],
        order: Order,
        lane: int,
    ) -> None:
        self._children, self._start, self._turns = children, position.start, position.turns
        drawn, ended = [child.drawn for child in child_positions], [child.ended for child in child_positions]
        self._draws = Draws(children, mix, order=order, lane=lane, drawn=drawn, ended=ended)
        self._num_items = 0
        self._waiting: dict[int, tuple[int, Item]] = {}

    def epoch(self) -> Iterator[Item]:
        """The items of an epoch; first the restored ones that wait, in the order in which they were drawn."""
        turns, self._turns = self._turns, ()
        for child in turns:
            yield self._numbered(child, self._draws.again(child))
        for child, item in self._draws.epoch():
            yield self._numbered(child, item)

    def commit(self, packs: Iterable[Iterable[Item]]) -> tuple[LanePosition, Counts, list[BadRow]]:
        packed: list[list[Item]] = [[] for _ in self._children]
        for pack in packs:
            for item in pack:
                child, child_item = self._waiting.pop(item[-1])
                packed[child].append(child_item)
        committed = [child.commit([items]) for child, items in zip(self._children, packed, strict=True)]
        positions, counts, skipped = zip(*committed, strict=True)
        children = tuple(map(ChildPosition, positions, self._draws.drawn, self._draws.ended))
        start = self._start._replace(epoch=self._start.epoch + self._draws.num_epochs)
        position = LanePosition(start, (), children, tuple(child for child, _ in self._waiting.values()))
        return position, sum(counts, Counts()), [bad for rows in skipped for bad in rows]

    def _numbered(self, child: int, item: Item) -> Item:
        self._num_items += 1
        self._waiting[self._num_items] = (child, item)
        *content, _ = item
        return (*content, self._num_items)  # type: ignore[return-value]
