"""The epochs over which a Trainer iterates."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from samsum_stream.loader.loader import StreamLoader


class TrainEpochs:
    """Each `for` iterates over the rest of one epoch; the workers continue to run through all epochs.

    Attributes:
        num_slots: Token slots in the batches so far, padding included.
    """

    def __init__(self, loader: StreamLoader, *, num_epochs: int | None) -> None:
        self.loader, self.num_epochs = loader, num_epochs
        self.num_slots = 0
        self._batches: Iterator[dict[str, Any]] | None = None

    def __len__(self) -> int:
        """The dicts of tensors of this rank in an epoch.

        Raises:
            TypeError: the stream is endless, so that its epochs have no fixed number of batches.
        """
        return len(self.loader) // (self.num_epochs or 1)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._batches is None:
            self._batches = iter(self.loader)
        plan, ranks = self.loader.plan, self.loader.ranks
        num_left = None
        if plan is not None:
            num_batches = -(-plan.left_in_epoch(self.loader.batch) // ranks.world_size)
            num_left = self.loader.micro_batches.number(num_batches)
        for tensors in islice(self._batches, num_left):
            self.num_slots += tensors["input_ids"].numel()
            yield tensors

    def close(self) -> None:
        """Stop the workers. The garbage collector would wait for each of them, in a cycle with the Trainer."""
        if self._batches is not None:
            self._batches.close()  # type: ignore[attr-defined]  # a generator
            self._batches = None
