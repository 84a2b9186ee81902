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


class MixtureLane:
    """A lane of a mixture; its items count up, and it knows of each that waits which child's it is."""

    def __init__(
        self,
        children: Sequence[Lane],
        mix: Mix,
        *,
        position: LanePosition,
        standing: Sequence[ChildPosition],
        order: Order,
        lane: int,
    ) -> None:
        self._children, self._place, self._turns = children, position.place, position.turns
        drawn, ended = [each.drawn for each in standing], [each.ended for each in standing]
        self._draws = Draws(children, mix, order=order, lane=lane, drawn=drawn, ended=ended)
        self._num_items = 0
        self._held: dict[int, tuple[int, Item]] = {}

    def epoch(self) -> Iterator[Item]:
        """The items of an epoch of the mixture; at first those that wait, in the order in which they were drawn."""
        turns, self._turns = self._turns, ()
        for child in turns:
            yield self._hold(child, self._draws.again(child))
        for child, item in self._draws.epoch():
            yield self._hold(child, item)

    def hand_over(self, packs: Iterable[Iterable[Item]]) -> tuple[LanePosition, Counts, list[BadRow]]:
        gone: list[list[Item]] = [[] for _ in self._children]
        for pack in packs:
            for item in pack:
                child, own = self._held.pop(item[3])
                gone[child].append(own)
        handed = [child.hand_over([items]) for child, items in zip(self._children, gone, strict=True)]
        positions, counts, skipped = zip(*handed, strict=True)
        standing = map(ChildPosition, positions, self._draws.drawn, self._draws.ended)
        place = self._place._replace(epoch=self._place.epoch + self._draws.num_epochs)
        position = LanePosition(place, (), tuple(standing), tuple(child for child, _ in self._held.values()))
        return position, sum(counts, Counts()), [bad for rows in skipped for bad in rows]

    def _hold(self, child: int, item: Item) -> Item:
        self._num_items += 1
        self._held[self._num_items] = (child, item)
        length, ids, record, _ = item
        return length, ids, record, self._num_items
