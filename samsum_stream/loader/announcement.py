"""One line in the log that describes the data, when a stream is read for the first time."""

import logging
from typing import Protocol
from weakref import WeakSet

from samsum_stream.batching.collation import COLLATORS, Collator, Packed
from samsum_stream.errors.wording import counted
from samsum_stream.lanes.epochs import EpochPlan
from samsum_stream.loader.micro_batches import MicroBatches
from samsum_stream.loader.processes.ranks import Ranks
from samsum_stream.loader.stats import Stats
from samsum_stream.pipeline.pipeline import Pipeline

logger = logging.getLogger(__name__)

_announced: WeakSet[Stats] = WeakSet()
"""The `Stats` of the streams that were announced. All loaders of a stream share one `Stats`."""


class Loader(Protocol):
    """The attributes of a `StreamLoader` that the line needs. `StreamLoader` itself imports this module."""

    pipeline: Pipeline
    collator: Collator
    stats: Stats
    ranks: Ranks
    num_workers: int
    micro_batches: MicroBatches

    @property
    def plan(self) -> EpochPlan | None: ...


def announce(loader: Loader, *, num_lanes: int) -> None:
    """Log the line at INFO, only on rank 0 and once per stream."""
    if loader.ranks.rank == 0 and loader.stats not in _announced and logger.isEnabledFor(logging.INFO):
        _announced.add(loader.stats)
        logger.info("%s", _announcement(loader, num_lanes))


def _announcement(loader: Loader, num_lanes: int) -> str:
    """The line, for example (shortened):

    `samsum: 14,732 rows, 1 epoch of 27 batches per rank; 24 lanes for 8 ranks x 3 workers; packed/position_ids, ...`
    """
    pipeline, collator = loader.pipeline, loader.collator
    rows = "rows" if pipeline.num_rows is None else counted(pipeline.num_rows, "row")
    readers = f"{counted(loader.ranks.world_size, 'rank')} x {counted(loader.num_workers, 'worker')}"
    method = next(name for name, kind in COLLATORS.items() if type(collator) is kind)
    layout = f"{method}/{collator.attention}" if isinstance(collator, Packed) else method
    size = f"{pipeline.batch_size} x {collator.max_length:,} tokens"
    if loader.micro_batches.size != pipeline.batch_size:
        size += f" as micro-batches of {loader.micro_batches.size}"
    return (
        f"{pipeline.source.name}: {rows}, {_length(loader)}; {counted(num_lanes, 'lane')} for {readers}; {layout}, "
        f"backend {pipeline.backend}, batches of {size}"
    )


def _length(loader: Loader) -> str:
    if (plan := loader.plan) is None:
        return "endless"
    world_size = loader.ranks.world_size
    batches = counted(plan.batches_in_epoch // world_size, "batch")
    return f"{counted(len(plan.num_packs), 'epoch')} of {batches}{' per rank' if world_size > 1 else ''}"
