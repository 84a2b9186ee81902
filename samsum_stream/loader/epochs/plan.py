"""Where a finite stream ends: as many batches in every lane and epoch, known before the first one."""

import functools
import logging
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

from samsum_stream.batching.packing import Packer
from samsum_stream.errors import SourceError
from samsum_stream.lanes.epochs import Ends, split_packs
from samsum_stream.lanes.order import Order
from samsum_stream.lanes.position import FIRST_PASS, PassStart
from samsum_stream.loader.epochs.lengths import Lengths
from samsum_stream.pipeline.lane import MAX_EPOCHS_FOR_NOTHING, nothing_left
from samsum_stream.pipeline.mixing import Child, Draws
from samsum_stream.pipeline.readers import rows_in_order
from samsum_stream.sources import Mixture, Source
from samsum_stream.values.counts import all_dropped

logger = logging.getLogger(__name__)


MIN_SHARE_FILLED = 0.9
"""Of the places in batches: where packs fill less, something should be said."""


def warn_of_padding(ends: Ends, *, name: str, batch_size: int, shuffle: bool) -> None:
    """Say once where much of a layout of fixed shape is padding, because lanes differ or do not fill their batches."""
    filled = ends.share_filled(batch_size)
    if ends.num_lanes == 1 or ends.start != FIRST_PASS or filled >= MIN_SHARE_FILLED:
        return
    numbers = [number for lanes in ends.num_packs for number in lanes]
    warn_once(
        logger,
        "%s: packs fill %.1f%% of the batches of an epoch, and padding the rest: its %d lanes have %d to %d packs, and "
        "each has %d batches of %d; set %sfewer lanes, a smaller batch_size, or epochs: null",
        *(name, 100 * filled, ends.num_lanes, min(numbers), max(numbers), ends.num_batches, batch_size),
        "" if shuffle else "shuffle: true, ",
    )


def plan_ends(
    source: Source,
    lengths: Lengths,
    *,
    order: Order,
    packer: Packer,
    batch_size: int,
    start: PassStart,
    num_epochs: int,
    multiple: int = 1,
) -> Ends:
    """Pack every epoch and lane of a pass on lengths alone; a lane's batches of an epoch are a multiple of `multiple`.

    Raises:
        SourceError: a lane has fewer examples than batches, one of which would have nothing to train on.
    """
    packs = [
        [
            list(packer.pack(_lengths_of(source, lengths, lane, order=order, epoch=epoch).epoch()))
            for lane in range(order.num_lanes)
        ]
        for epoch in range(start.epoch, start.epoch + num_epochs)
    ]
    num_packs = tuple(tuple(map(len, lanes)) for lanes in packs)
    most = max(number for lanes in num_packs for number in lanes)
    num_batches = max(-(-most // batch_size), start.min_batches)
    num_batches += -num_batches % multiple
    if not most:
        raise SourceError(
            f"{source.name}: no row is left to train on: {len(lengths.lengths):,} rows {all_dropped(lengths.counts)}"
        )
    for epoch, lanes in enumerate(packs, start=start.epoch):
        for lane, own in enumerate(lanes):
            if len(own) < num_batches:
                _check_split(own, num_batches, where=f"{source.name}: lane {lane} of {order.num_lanes}, epoch {epoch}")
    return Ends(start, num_batches, num_packs)


class _SourceLengths:
    """What a packer sees of a lane's examples: their lengths, epoch after epoch."""

    def __init__(self, source: Source, lengths: Lengths, lane: int, *, order: Order, epoch: int) -> None:
        self._source, self._lengths, self._lane, self._order, self._epoch = source, lengths, lane, order, epoch
        self._epochs_for_nothing = 0

    def epoch(self) -> Iterator[tuple[int]]:
        """As the lane itself will give them, and as often for nothing: of a mixture, other children may go on."""
        epoch, self._epoch = self._epoch, self._epoch + 1
        sizes, lengths = self._lengths.shard_sizes, self._lengths.lengths
        rows = rows_in_order(self._source, self._lane, order=self._order, epoch=epoch, shard_sizes=sizes)
        found = (lengths[numbers] for numbers in rows)
        items = zip(chain.from_iterable(some[some > 0].tolist() for some in found))
        first = list(islice(items, 1))
        self._epochs_for_nothing = 0 if first else self._epochs_for_nothing + 1
        if self._epochs_for_nothing > MAX_EPOCHS_FOR_NOTHING:
            raise nothing_left(f"{self._source.name}: lane {self._lane}", len(lengths), self._lengths.counts)
        return chain(first, items)


class _MixtureLengths:
    """The same for a mixture."""

    def __init__(self, source: Mixture, lengths: Lengths, lane: int, *, order: Order, epoch: int) -> None:
        children = [
            _lengths_of(
                child.source,
                lengths.of_shards(child.first_shard, len(child.source.shards)),
                lane,
                order=order.of_child(number),
                epoch=epoch,
            )
            for number, child in enumerate(source.children)
        ]
        self._draws = Draws(children, source.mix, order=order, lane=lane)

    def epoch(self) -> Iterator[tuple[int]]:
        return (item for _, item in self._draws.epoch())


def _lengths_of(source: Source, lengths: Lengths, lane: int, *, order: Order, epoch: int) -> Child[tuple[int]]:
    kind = _MixtureLengths if isinstance(source, Mixture) else _SourceLengths
    return kind(source, lengths, lane, order=order, epoch=epoch)  # type: ignore[arg-type]


def _check_split(packs: Sequence[Sequence[Any]], num_batches: int, *, where: str) -> None:
    try:
        split_packs(packs, num_batches)
    except SourceError as error:
        raise SourceError(f"{where}: {error}") from None


@functools.cache
def warn_once(logger: logging.Logger, message: str, *args: object) -> None:
    """Log a warning, unless this process has logged the same one already."""
    logger.warning(message, *args)
