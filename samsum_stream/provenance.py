"""Where the rows of a batch come from; it travels beside the tensors, which hold only what a model takes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from samsum_stream.values.examples import Batch, Pack, RowPosition
from samsum_stream.wire import packs_of


@dataclass(frozen=True)
class BatchInfo:
    """The provenance of one batch.

    Attributes:
        batch: Its global number.
        lane: The lane it comes from.
    """

    batch: int
    lane: int
    _batch: Batch = field(repr=False)
    _locate: Callable[[int, int, int], RowPosition] = field(repr=False)

    @cached_property
    def packs(self) -> tuple[Pack, ...]:
        """The packs with their examples; rows of padding have none."""
        return tuple(pack for pack in packs_of(self._batch, self._locate) if pack.examples)

    @property
    def num_padding_rows(self) -> int:
        """Rows of the batch without an example, at the end of an epoch."""
        return len(self._batch.pack_sizes) - len(self.packs)

    @property
    def positions(self) -> tuple[tuple[RowPosition, ...], ...]:
        """The position of each example, pack by pack."""
        return tuple(tuple(example.position for example in pack.examples) for pack in self.packs)

    def __str__(self) -> str:
        rows = "; ".join(", ".join(map(str, pack)) for pack in self.positions)
        return f"batch {self.batch} of lane {self.lane}: {rows}"
