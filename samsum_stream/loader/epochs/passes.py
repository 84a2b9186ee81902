"""Which pass over its epochs a finite stream is in, and how that pass is dealt: planned when it is asked for."""

import functools
from collections.abc import Callable
from math import gcd

from samsum_stream.lanes.epochs import Ends
from samsum_stream.lanes.order import Order
from samsum_stream.lanes.position import PassStart
from samsum_stream.loader.epochs.lengths import Lengths
from samsum_stream.loader.epochs.plan import plan_ends, warn_of_padding
from samsum_stream.loader.state.state import Progress
from samsum_stream.pipeline.pipeline import Pipeline


class Passes:
    """The passes of a stream with an end.

    Args:
        pipeline: What makes the batches.
        count: The lengths of all rows; asked for with the first pass.
        order: Whose the rows are.
        step: Global batches from one of a rank's to the next, which is the number of ranks.
        batches_per_step: Batches of a rank in an optimizer step; an epoch ends with one.
        tells_padding: Whether a person should be told where much of the batches is padding.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        count: Callable[[], Lengths],
        order: Order,
        step: int,
        batches_per_step: int,
        tells_padding: bool,
    ) -> None:
        self._pipeline, self._count, self._order, self._step = pipeline, count, order, step
        self._tells_padding = tells_padding
        window = batches_per_step * step
        self._multiple = window // gcd(order.num_lanes, window)  # of which a lane's batches of an epoch are a multiple
        self._plan = functools.lru_cache(maxsize=4)(self._planned)

    def current(self, progress: Progress) -> Ends:
        """The pass that was begun, which stays as it is, or the one that the next batch begins."""
        begun = progress.batch > progress.passed.batch
        return self._plan(progress.passed, 1 if begun else self._multiple)

    def begin(self, progress: Progress) -> tuple[Ends, ...]:
        """The pass that the next batch belongs to.

        One that was resumed by another number of ranks may leave some of them without a last batch: those take the
        first ones of the next pass, so that every rank has as many.
        """
        while progress.batch >= self.current(progress).end_batch:
            progress.passed = self.current(progress).next
        ends = self.current(progress)
        progress.passed = ends.start._replace(min_batches=ends.num_batches)
        if (ends.end_batch - progress.batch) % self._step:
            return ends, self._plan(ends.next, self._multiple)
        return (ends,)

    def _planned(self, start: PassStart, multiple: int) -> Ends:
        pipeline = self._pipeline
        assert pipeline.epochs is not None
        ends = plan_ends(
            pipeline.source,
            self._count(),
            order=self._order,
            packer=pipeline.packer,
            batch_size=pipeline.batch_size,
            start=start,
            num_epochs=pipeline.epochs,
            multiple=multiple,
        )
        if self._tells_padding:
            warn_of_padding(ends, name=pipeline.source.name, batch_size=pipeline.batch_size, shuffle=pipeline.shuffle)
        return ends
