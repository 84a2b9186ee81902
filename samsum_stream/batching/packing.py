"""Examples to packs: whole examples, never split, never reordered inside, `sum(lengths) <= max_length`.

A packer sees only lengths. It is given items one by one and holds back a window of those that wait.

    best_fit   ██████░░░░░░░░░░  start with the oldest item of the window
               ███████████░░░░░  go on with the oldest that fits,
               ████████████████  and once the room left is at most half the window's tokens,
                                 close with the subset of the window that sums highest
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

Sized = TypeVar("Sized", bound=tuple[int, *tuple[Any, ...]])
"""Whatever starts with a length in tokens."""


class Packer(ABC):
    """Packs items into lists whose lengths sum to at most `max_length`.

    Args:
        max_length: Tokens in a pack.
        buffer_size: Items that may wait at a time.
    """

    def __init__(self, *, max_length: int, buffer_size: int) -> None:
        self.max_length, self.buffer_size = max_length, buffer_size

    @abstractmethod
    def pack(self, items: Iterable[Sized]) -> Iterator[list[Sized]]:
        """Yield each pack as soon as it is closed; when `items` end, those that wait are packed as well."""


class NoPacking(Packer):
    """One example a pack."""

    def pack(self, items: Iterable[Sized]) -> Iterator[list[Sized]]:
        return ([item] for item in items)


class Greedy(Packer):
    """Fill the current pack, and close it when the next example does not fit."""

    def pack(self, items: Iterable[Sized]) -> Iterator[list[Sized]]:
        pack: list[Sized] = []
        room = self.max_length
        for item in items:
            if item[0] > room:
                yield pack
                pack, room = [], self.max_length
            pack.append(item)
            room -= item[0]
        if pack:
            yield pack


class FirstFit(Packer):
    """The first open pack with room; the oldest pack is closed when more than `buffer_size` items wait."""

    def pack(self, items: Iterable[Sized]) -> Iterator[list[Sized]]:
        packs: list[list[Sized]] = []
        rooms: list[int] = []
        num_waiting = 0
        for item in items:
            place = next((place for place, room in enumerate(rooms) if item[0] <= room), len(packs))
            if place == len(packs):
                packs.append([])
                rooms.append(self.max_length)
            packs[place].append(item)
            rooms[place] -= item[0]
            num_waiting += 1
            if num_waiting > self.buffer_size:
                num_waiting -= len(packs[0])
                del rooms[0]
                yield packs.pop(0)
        yield from packs


class BestFit(Packer):
    """A window of items: the oldest goes into every pack, and the subset that fills it best closes it.

    No item waits longer than `buffer_size` packs, since each pack takes the oldest.
    """

    def pack(self, items: Iterable[Sized]) -> Iterator[list[Sized]]:
        incoming = iter(items)
        window = list(islice(incoming, self.buffer_size))
        waiting = sum(item[0] for item in window)
        while window:
            pack: list[Sized] = []
            room, place = self.max_length, 0
            while place < len(window):
                pack.append(window.pop(place))
                room -= pack[-1][0]
                refill = list(islice(incoming, self.buffer_size - len(window)))
                window += refill
                waiting += sum(item[0] for item in refill) - pack[-1][0]
                if 2 * room <= waiting:
                    break
                place = next((at for at, item in enumerate(window) if item[0] <= room), len(window))
            chosen = best_subset([item[0] for item in window], room)
            pack += [window[at] for at in chosen]
            for at in reversed(chosen):
                waiting -= window.pop(at)[0]
            yield pack


def best_subset(lengths: Sequence[int], room: int) -> list[int]:
    """The indices of a subset whose lengths sum highest without passing `room`, in order.

    Bit `s` of a reachable set says that some subset of the lengths so far sums to `s`, so one more length is a
    shift and an or (subset sum by dynamic programming, Bellman 1957, on one big integer). The items before the
    first index at which `room` itself is reached are enough, which also prefers the older ones.
    """
    reachable, best = 1, 1 << room
    within = 2 * best - 1
    history = []
    for length in lengths:
        history.append(reachable)
        reachable |= (reachable << length) & within
        if reachable >= best:
            break
    total = reachable.bit_length() - 1
    chosen = []
    for index in reversed(range(len(history))):
        if not history[index] >> total & 1:
            chosen.append(index)
            total -= lengths[index]
    return chosen[::-1]


PACKERS: dict[str, type[Packer]] = {
    "best_fit": BestFit,
    "first_fit": FirstFit,
    "greedy": Greedy,
    "none": NoPacking,
}
