"""The plan of a finite stream: every lane and epoch has the same number of batches, known before the first one."""

import logging
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

from samsum_stream.batching.packing import Packer
from samsum_stream.errors import SourceError
from samsum_stream.errors.once import warn_once
from samsum_stream.lanes.epochs import EpochPlan, split_packs
from samsum_stream.lanes.order import Order
from samsum_stream.lanes.position import FIRST_RUN, Cursor, EpochRun
from samsum_stream.loader.epochs.lengths import Lengths
from samsum_stream.pipeline.lane import MAX_EPOCHS_WITHOUT_EXAMPLES, nothing_left
from samsum_stream.pipeline.mixing import Draws, Epochs
from samsum_stream.pipeline.readers import make_reader
from samsum_stream.sources import Mixture, Source
from samsum_stream.values.counts import why_none_is_left

logger = logging.getLogger(__name__)

MIN_SHARE_FILLED = 0.9
"""If packs fill a smaller share of the slots of all batches, a warning is logged."""

PackerItem = tuple[int, int]
"""What a packer and a mixture need of an example: its length, and 1 if it is the first example of its row."""


def plan_epochs(
    source: Source,
    lengths: Lengths,
    *,
    order: Order,
    packer: Packer,
    batch_size: int,
    run: EpochRun,
    num_epochs: int,
    multiple: int = 1,
) -> EpochPlan:
    """Pack every epoch and lane of a run, using the lengths only.

    Args:
        multiple: The batches of a lane in an epoch are a multiple of this number.

    Raises:
        SourceError: a lane has fewer examples than batches, or no row is left to train on.
    """
    packs = [
        [
            list(packer.pack(_examples_of(source, lengths, lane, order=order, epoch=epoch).epoch()))
            for lane in range(order.num_lanes)
        ]
        for epoch in range(run.epoch, run.epoch + num_epochs)
    ]
    num_packs = tuple(tuple(map(len, lanes)) for lanes in packs)
    most = max(number for lanes in num_packs for number in lanes)
    num_batches = max(-(-most // batch_size), run.min_batches)
    num_batches += -num_batches % multiple
    if not most:
        raise SourceError(
            f"{source.name}: no row is left to train on: {lengths.num_rows:,} rows {why_none_is_left(lengths.counts)}"
        )
    for epoch, lanes in enumerate(packs, start=run.epoch):
        for lane, lane_packs in enumerate(lanes):
            if len(lane_packs) < num_batches:
                location = f"{source.name}: lane {lane} of {order.num_lanes}, epoch {epoch}"
                _require_split(lane_packs, num_batches, location=location)
    return EpochPlan(run, num_batches, num_packs)


def warn_of_padding(plan: EpochPlan, *, name: str, batch_size: int, shuffle: bool) -> None:
    """Warn once if much of a layout of fixed shape is padding, because lanes differ or do not fill their batches."""
    filled = plan.share_filled(batch_size)
    if plan.num_lanes == 1 or plan.run != FIRST_RUN or filled >= MIN_SHARE_FILLED:
        return
    numbers = [number for lanes in plan.num_packs for number in lanes]
    warn_once(
        logger,
        "%s: packs fill %.1f%% of the batches of an epoch, and padding fills the rest: the %d lanes have %d to %d "
        "packs, and %d batches of %d each; set fewer lanes or a smaller batch_size (to train, also %sepochs: null)",
        *(name, 100 * filled, plan.num_lanes, min(numbers), max(numbers), plan.num_batches, batch_size),
        "" if shuffle else "shuffle: true or ",
    )


class _SourceExamples:
    """The examples of a lane of one source as a packer sees them, epoch after epoch."""

    def __init__(self, source: Source, lengths: Lengths, lane: int, *, order: Order, epoch: int) -> None:
        self._name, self._lengths, self._lane, self._epoch = source.name, lengths, lane, epoch
        self._reader = make_reader(source, order=order, starts={lane: Cursor(epoch, 0, 0)})
        self._epochs_without_examples = 0

    def epoch(self) -> Iterator[PackerItem]:
        """The items in the order of the lane, with the same limit of empty epochs as the lane itself."""
        epoch, self._epoch = self._epoch, self._epoch + 1
        rows = self._reader.numbers(self._lane, epoch=epoch, shard_sizes=self._lengths.shard_sizes)
        items = chain.from_iterable(map(self._lengths.items, rows))
        first = list(islice(items, 1))
        self._epochs_without_examples = 0 if first else self._epochs_without_examples + 1
        if self._epochs_without_examples > MAX_EPOCHS_WITHOUT_EXAMPLES:
            raise nothing_left(f"{self._name}: lane {self._lane}", self._lengths.num_rows, self._lengths.counts)
        return chain(first, items)


class _MixtureExamples:
    """The examples of a lane of a mixture."""

    def __init__(self, source: Mixture, lengths: Lengths, lane: int, *, order: Order, epoch: int) -> None:
        children = [
            _examples_of(
                child.source,
                lengths.of_shards(child.first_shard, len(child.source.shards)),
                lane,
                order=order.of_child(number),
                epoch=epoch,
            )
            for number, child in enumerate(source.children)
        ]
        self._draws = Draws(children, source.mix, order=order, lane=lane)

    def epoch(self) -> Iterator[PackerItem]:
        return (item for _, item in self._draws.epoch())


def _examples_of(source: Source, lengths: Lengths, lane: int, *, order: Order, epoch: int) -> Epochs[PackerItem]:
    if isinstance(source, Mixture):
        return _MixtureExamples(source, lengths, lane, order=order, epoch=epoch)
    return _SourceExamples(source, lengths, lane, order=order, epoch=epoch)


def _require_split(packs: Sequence[Sequence[Any]], num_batches: int, *, location: str) -> None:
    try:
        split_packs(packs, num_batches)
    except SourceError as error:
        raise SourceError(f"{location}: {error}") from None
