"""The runs of a finite stream over its epochs; each run is planned when it is needed."""

import functools
from collections.abc import Callable
from math import gcd

from samsum_stream.lanes.epochs import EpochPlan
from samsum_stream.lanes.order import Order
from samsum_stream.lanes.position import EpochRun
from samsum_stream.loader.epochs.lengths import Lengths
from samsum_stream.loader.epochs.plan import plan_epochs, warn_of_padding
from samsum_stream.loader.state.progress import Progress
from samsum_stream.pipeline.pipeline import Pipeline


class EpochRuns:
    """The runs of a finite stream.

    Args:
        pipeline: Produces the batches.
        count: Counts the rows; called for the first run.
        order: The order of the rows.
        step: The global batches from one batch of the rank to the next, which is the number of ranks.
        batches_per_step: The batches of a rank in an optimizer step. An epoch ends with a whole step.
        warns_of_padding: Whether to warn if much of the batches is padding.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        count: Callable[[], Lengths],
        order: Order,
        step: int,
        batches_per_step: int,
        warns_of_padding: bool,
    ) -> None:
        self._pipeline, self._count, self._order, self._step = pipeline, count, order, step
        self._warns_of_padding = warns_of_padding
        step_batches = batches_per_step * step
        self._multiple = step_batches // gcd(order.num_lanes, step_batches)  # of a lane's batches in an epoch
        self._plan = functools.lru_cache(maxsize=4)(self._planned)

    def current(self, progress: Progress) -> EpochPlan:
        """The plan of the current run; between two runs, the plan of the next run."""
        has_begun = progress.batch > progress.run.batch
        return self._plan(progress.run, 1 if has_begun else self._multiple)

    def begin(self, progress: Progress) -> tuple[EpochPlan, ...]:
        """The plan of the run of the next batch.

        A run that continues on another number of ranks may leave some ranks without a last batch. Those ranks read the
        first batches of the next run, so that every rank gets the same number. Then the plan of the next run follows.
        """
        while progress.batch >= self.current(progress).end_batch:
            progress.run = self.current(progress).next_run
        plan = self.current(progress)
        progress.run = plan.run._replace(min_batches=plan.num_batches)
        if (plan.end_batch - progress.batch) % self._step:
            return plan, self._plan(plan.next_run, self._multiple)
        return (plan,)

    def _planned(self, run: EpochRun, multiple: int) -> EpochPlan:
        pipeline = self._pipeline
        assert pipeline.epochs is not None
        plan = plan_epochs(
            pipeline.source,
            self._count(),
            order=self._order,
            packer=pipeline.packer,
            batch_size=pipeline.batch_size,
            run=run,
            num_epochs=pipeline.epochs,
            multiple=multiple,
        )
        if self._warns_of_padding:
            warn_of_padding(plan, name=pipeline.source.name, batch_size=pipeline.batch_size, shuffle=pipeline.shuffle)
        return plan
