"""Whose row comes next in a mixture: the child's that is furthest behind its weight, by rows or by tokens.

    weights 2, 1, by rows    a b a a b a a b a ...
    by tokens                the same with rows as long as they are: a child with longer ones gives fewer

Which row that is follows from what the lane has drawn so far, and from nothing else (stride scheduling, Waldspurger
and Weihl 1995, with rows or tokens for time).
"""

import heapq
from collections.abc import Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from samsum_stream.lanes.order import Order
from samsum_stream.sources.mixture import Mix

Sized = TypeVar("Sized", bound=tuple[int, *tuple[Any, ...]])
"""An example, of which the length comes first."""


Sized_co = TypeVar("Sized_co", bound=tuple[int, *tuple[Any, ...]], covariant=True)


class Child(Protocol[Sized_co]):
    """What a mixture draws from: each call of `epoch` gives the items of the next epoch, or what is left of one."""

    def epoch(self) -> Iterator[Sized_co]: ...


class Draws(Generic[Sized]):
    """Draws from children for one lane; a child that has come to its end goes on with its next epoch.

    Args:
        children: Whom to draw from.
        mix: How.
        order: Whose lanes start at different phases, so that rare children do not come at once in all of them.
        lane: The lane.
        drawn: Rows or tokens that were drawn from each child before.
        ended: Which children have come to an end in this epoch of the mixture.

    Attributes:
        num_epochs: Epochs of the mixture that are over since.
    """

    def __init__(
        self,
        children: Sequence[Child[Sized]],
        mix: Mix,
        *,
        order: Order,
        lane: int,
        drawn: Sequence[int] = (),
        ended: Sequence[bool] = (),
    ) -> None:
        self.mix, self.num_epochs = mix, 0
        self.drawn, self.ended = list(drawn) or [0] * len(children), list(ended) or [False] * len(children)
        self._children, self._was_asked = children, False
        self._epochs = [child.epoch() for child in children]
        self._phases = [order.phase(lane, child) for child in range(len(children))]
        self._queue = [(self._turn(child), child) for child in range(len(children))]
        heapq.heapify(self._queue)

    def epoch(self) -> Iterator[tuple[int, Sized]]:
        """The rest of an epoch of the mixture: which child each item comes from, and the item."""
        if self._was_asked and self.mix.is_over(self.ended):
            self.num_epochs, self.ended = self.num_epochs + 1, [False] * len(self.ended)
        self._was_asked = True
        while not self.mix.is_over(self.ended):
            child = self._queue[0][1]
            for item in self._epochs[child]:
                self.drawn[child] += item[0] if self.mix.by == "tokens" else 1
                heapq.heapreplace(self._queue, (self._turn(child), child))
                yield child, item
                break
            else:
                self._epochs[child] = self._children[child].epoch()
                self.ended[child] = True

    def again(self, child: int) -> Sized:
        """The next item of a child, which was drawn before."""
        return next(self._epochs[child])

    def _turn(self, child: int) -> float:
        return (self.drawn[child] + self._phases[child]) / self.mix.weights[child]
