"""The child whose example comes next in a mixture: the one that is furthest behind its weight, by rows or by tokens.

    weights 2, 1, by rows    a b a a b a a b a ...
    by tokens                a child with longer examples gives fewer of them

The choice follows from what the lane has drawn so far, and from nothing else (stride scheduling, Waldspurger and Weihl
1995, rows or tokens take the role of time).
"""

import heapq
from collections.abc import Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from samsum_stream.lanes.order import Order
from samsum_stream.sources.mixture import Mix

Drawn = TypeVar("Drawn", bound=tuple[int, int, *tuple[Any, ...]])
"""An example: its length in tokens, 1 if it is the first example of its row and 0 if not, and anything else."""

Drawn_co = TypeVar("Drawn_co", bound=tuple[int, int, *tuple[Any, ...]], covariant=True)


class Epochs(Protocol[Drawn_co]):
    """The examples of a child."""

    def epoch(self) -> Iterator[Drawn_co]:
        """The examples of the rest of an epoch; the next call gives those of the next epoch."""


class Draws(Generic[Drawn]):
    """Draws examples from children for one lane. A child that has ended continues with its next epoch.

    Args:
        children: The children.
        mix: The weights, and when an epoch ends.
        order: Gives each lane a different phase, so that examples of rare children do not come in all lanes at once.
        lane: The number of the lane.
        drawn: The rows or tokens that were drawn from each child before.
        ended: The children that have ended in this epoch of the mixture.

    Attributes:
        num_epochs: The epochs of the mixture that have ended.
    """

    def __init__(
        self,
        children: Sequence[Epochs[Drawn]],
        mix: Mix,
        *,
        order: Order,
        lane: int,
        drawn: Sequence[int] = (),
        ended: Sequence[bool] = (),
    ) -> None:
        self.mix, self.num_epochs = mix, 0
        self.drawn, self.ended = list(drawn) or [0] * len(children), list(ended) or [False] * len(children)
        self._children, self._has_begun = children, False
        self._epochs = [child.epoch() for child in children]
        self._phases = [order.phase(lane, child) for child in range(len(children))]
        self._queue = [(self._turn(child), child) for child in range(len(children))]
        heapq.heapify(self._queue)

    def epoch(self) -> Iterator[tuple[int, Drawn]]:
        """The rest of an epoch of the mixture: the index of the child of each example, and the example."""
        if self._has_begun and self.mix.is_over(self.ended):
            self.num_epochs, self.ended = self.num_epochs + 1, [False] * len(self.ended)
        self._has_begun = True
        while not self.mix.is_over(self.ended):
            child = self._queue[0][1]
            for item in self._epochs[child]:
                self.drawn[child] += item[0] if self.mix.by == "tokens" else item[1]
                heapq.heapreplace(self._queue, (self._turn(child), child))
                yield child, item
                break
            else:
                self._epochs[child] = self._children[child].epoch()
                self.ended[child] = True

    def again(self, child: int) -> Drawn:
        """The next example of a child; it was drawn before, and is not counted again."""
        return next(self._epochs[child])

    def _turn(self, child: int) -> float:
        return (self.drawn[child] + self._phases[child]) / self.mix.weights[child]
