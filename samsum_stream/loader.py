"""A DataLoader of whole batches: workers send one buffer each, the training process expands it to tensors."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from samsum_stream.collation import Collator
from samsum_stream.pipeline import Pipeline
from samsum_stream.samples import Int32Array
from samsum_stream.stats import Counts, Stats
from samsum_stream.topology import require_one_process, this_worker
from samsum_stream.wire import from_buffer, to_buffer

Message = tuple[Int32Array, Counts]
"""A batch as one buffer, empty at the end of a worker, and what was counted since the last one."""


class StreamLoader(DataLoader[Any]):
    """Iterates over dicts of tensors. After an end, the next `for` goes on with the next epochs.

    Args:
        pipeline: What makes the batches.
        collator: What makes tensors of them.
        stats: Where what was handed over is counted.
        num_workers: Processes that read, render, tokenize and pack; 0 does it in the training process.
        kwargs: The other arguments of `torch.utils.data.DataLoader` that concern workers and memory.
    """

    def __init__(
        self, pipeline: Pipeline, *, collator: Collator, stats: Stats, num_workers: int = 0, **kwargs: Any
    ) -> None:
        self.messages = _Messages(pipeline)
        super().__init__(self.messages, batch_size=None, collate_fn=_as_it_is, num_workers=num_workers, **kwargs)
        self.collator, self.stats = collator, stats

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        require_one_process()
        for buffer, counts in super().__iter__():
            self.stats.add(counts)
            if len(buffer):
                batch = from_buffer(buffer)
                self.stats.hand_over(batch, max_length=self.collator.max_length)
                yield self.collator.collate(batch)
        self.messages.first_epoch += self.messages.pipeline.epochs or 0


class _Messages(IterableDataset[Message]):
    """What a worker sends."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        # In shared memory, so that workers that outlive a pass see it as well.
        self.first_epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __iter__(self) -> Iterator[Message]:
        worker, num_workers = this_worker()
        for packs in self.pipeline.batches(first_epoch=int(self.first_epoch), worker=worker, num_workers=num_workers):
            yield to_buffer(packs), self.pipeline.counts.take()
        yield np.empty(0, np.int32), self.pipeline.counts.take()


def _as_it_is(message: Any) -> Any:
    return message
