"""A DataLoader of whole batches: workers send one buffer each, the training process expands it to tensors."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from samsum_stream.collation import Collator
from samsum_stream.errors import ConfigError
from samsum_stream.pipeline import Pipeline
from samsum_stream.samples import Int32Array
from samsum_stream.stats import Counts, Stats
from samsum_stream.topology import require_one_process, this_worker
from samsum_stream.wire import from_buffer, to_buffer

Message = tuple[Int32Array, Counts]
"""A batch as one buffer, empty at the end of a worker, and what was counted since the last one."""


OURS = ("batch_size", "batch_sampler", "collate_fn", "dataset", "drop_last", "sampler", "shuffle")
"""Arguments of a DataLoader that the config has decided already."""


class StreamLoader(DataLoader[Any]):
    """Iterates over dicts of tensors. After an end, the next `for` goes on with the next epochs.

    Args:
        pipeline: What makes the batches.
        collator: What makes tensors of them.
        stats: Where what was handed over is counted.
        first_epoch: Where the next `for` starts, in shared memory, so that workers that outlive a pass see it as well.
        num_workers: Processes that read, render, tokenize and pack; 0 does it in the training process.
        kwargs: The other arguments of `torch.utils.data.DataLoader` that concern workers and memory.

    Raises:
        TopologyError: the lanes cannot be shared by so many workers.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        collator: Collator,
        stats: Stats,
        first_epoch: torch.Tensor,
        num_workers: int = 0,
        **kwargs: Any,
    ) -> None:
        if taken := [name for name in OURS if name in kwargs]:
            raise ConfigError(
                f"loader: {', '.join(taken)} follows from the config, so set it there and leave it out here"
            )
        pipeline.lanes_for(max(num_workers, 1))
        messages = _Messages(pipeline, first_epoch)
        super().__init__(messages, batch_size=None, collate_fn=_as_it_is, num_workers=num_workers, **kwargs)
        self.epochs, self.first_epoch = pipeline.epochs or 0, first_epoch
        self.collator, self.stats = collator, stats

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        require_one_process()
        for buffer, counts in super().__iter__():
            self.stats.add(counts)
            if len(buffer):
                batch = from_buffer(buffer)
                self.stats.hand_over(batch, max_length=self.collator.max_length)
                yield self._pinned(self.collator.collate(batch))
        self.first_epoch += self.epochs

    def _pinned(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The DataLoader itself could only pin what workers send, and that is no tensor."""
        if not (self.pin_memory and torch.cuda.is_available()):
            return batch
        return {key: value.pin_memory() if torch.is_tensor(value) else value for key, value in batch.items()}


class _Messages(IterableDataset[Message]):
    """What a worker sends."""

    def __init__(self, pipeline: Pipeline, first_epoch: torch.Tensor) -> None:
        self.pipeline, self.first_epoch = pipeline, first_epoch

    def __iter__(self) -> Iterator[Message]:
        worker, num_workers = this_worker()
        counts = Counts()
        for packs in self.pipeline.batches(
            counts, first_epoch=int(self.first_epoch), worker=worker, num_workers=num_workers
        ):
            yield to_buffer(packs), counts.take()
        yield np.empty(0, np.int32), counts.take()


def _as_it_is(message: Any) -> Any:
    return message
