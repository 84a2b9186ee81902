"""Examples to packs of whole examples, `sum(lengths) <= max_length`.

A packer uses only the lengths of items. It reads items one by one, and keeps a window of items that wait.

    best_fit   ██████░░░░░░░░░░  start with the oldest item of the window
               ███████████░░░░░  continue with the oldest item that fits
               ████████████████  when the remaining room is at most half of the tokens in the window,
                                 close with the subset of the window that has the largest sum
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

Sized = TypeVar("Sized", bound=tuple[int, *tuple[Any, ...]])
"""An item: a tuple that starts with a length in tokens."""


class Packer(ABC):
    """Packs items into lists. The lengths of a list have a sum of at most `max_length`.

    Args:
        max_length: The maximum number of tokens in a pack.
        buffer_size: The maximum number of items that wait at one time.
    """

    def __init__(self, *, max_length: int, buffer_size: int) -> None:
        self.max_length, self.buffer_size = max_length, buffer_size

    @abstractmethod
    def pack(self, items: Iterable[Sized]) -> Iterator[list[Sized]]:
        """Yield each pack as soon as it is closed. At the end of `items`, the items that wait are packed too."""


class NoPacking(Packer):
    """One item per pack."""

    def pack(self, items: Iterable[Sized]) -> Iterator[list[Sized]]:
        return ([item] for item in items)


class Greedy(Packer):
    """Fill the current pack, and close it when the next item does not fit."""

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
    """Put an item into the first open pack with room. Close the oldest pack when more than `buffer_size` items wait."""

    def pack(self, items: Iterable[Sized]) -> Iterator[list[Sized]]:
        packs: list[list[Sized]] = []
        rooms: list[int] = []
        num_waiting = 0
        for item in items:
            index = next((index for index, room in enumerate(rooms) if item[0] <= room), len(packs))
            if index == len(packs):
                packs.append([])
                rooms.append(self.max_length)
            packs[index].append(item)
            rooms[index] -= item[0]
            num_waiting += 1
            if num_waiting > self.buffer_size:
                num_waiting -= len(packs[0])
                del rooms[0]
                yield packs.pop(0)
        yield from packs


class BestFit(Packer):
    """Start each pack with the oldest item of a window, and close it with the subset that fills it best.

    No item waits longer than `buffer_size` packs, because each pack takes the oldest item.
    """

    def pack(self, items: Iterable[Sized]) -> Iterator[list[Sized]]:
        incoming = iter(items)
        window = list(islice(incoming, self.buffer_size))
        lengths = [item[0] for item in window]  # of the window, kept beside it
        num_tokens = sum(lengths)
        while window:
            pack: list[Sized] = []
            room, index = self.max_length, 0
            while index < len(window):
                pack.append(window.pop(index))
                length = lengths.pop(index)
                room -= length
                refill = list(islice(incoming, self.buffer_size - len(window)))
                new_lengths = [item[0] for item in refill]
                window += refill
                lengths += new_lengths
                num_tokens += sum(new_lengths) - length
                if 2 * room <= num_tokens:
                    break
                index = next((index for index, length in enumerate(lengths) if length <= room), len(window))
            chosen = best_subset(lengths, room)
            pack += [window[index] for index in chosen]
            for index in reversed(chosen):
                del window[index]
                num_tokens -= lengths.pop(index)
            yield pack


def best_subset(lengths: Sequence[int], room: int) -> list[int]:
    """The indices of the subset with the largest sum of lengths that is not above `room`, ascending.

    Bit `r` of `reachable` is set if a subset of the lengths so far leaves the room `r`. One more length is a shift and
    an or (subset sum by dynamic programming, Bellman 1957, with one big integer as the set). The loop stops when a
    subset leaves no room. Therefore older items are preferred.
    """
    reachable = 1 << room
    history = []
    for length in lengths:
        history.append(reachable)
        reachable |= reachable >> length
        if reachable & 1:
            break
    left = (reachable & -reachable).bit_length() - 1
    chosen = []
    for index in reversed(range(len(history))):
        if not history[index] >> left & 1:
            chosen.append(index)
            left += lengths[index]
    return chosen[::-1]


PACKERS: dict[str, type[Packer]] = {
    "best_fit": BestFit,
    "first_fit": FirstFit,
    "greedy": Greedy,
    "none": NoPacking,
}
"""The packing methods by name, as configs name them."""
