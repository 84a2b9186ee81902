"""Packs as bars of their examples: where each prompt and each response stands, and what is left."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from samsum_stream.values.batches import Pack
from samsum_stream.values.rows import RowPosition


class Block(NamedTuple):
    """An example in a pack; `start`, `border` and `end` count tokens from the pack's start, the border its response."""

    start: int
    border: int
    end: int
    position: RowPosition


class Bar(NamedTuple):
    """A pack, and how many tokens it has room for."""

    blocks: list[Block]
    room: int

    @property
    def num_tokens(self) -> int:
        return self.blocks[-1].end


def bars(packs: Sequence[tuple[Pack, int]]) -> list[Bar]:
    """A bar a pack, each of which is given with its room."""
    return [Bar(_blocks(pack), room) for pack, room in packs]


def _blocks(pack: Pack) -> list[Block]:
    ends = accumulate(len(example.input_ids) for example in pack.examples)
    return [
        Block(
            end - len(example.input_ids),
            end - len(example.input_ids) + max(example.num_prompt_tokens, 1),
            end,
            example.position,
        )
        for example, end in zip(pack.examples, ends, strict=True)
    ]
