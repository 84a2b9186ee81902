"""The one place where a delivered batch is counted: progress, stats, and the limits of bad rows."""

from samsum_stream.loader.quarantine.quarantine import Quarantine
from samsum_stream.loader.state.progress import Progress
from samsum_stream.loader.stats import Stats
from samsum_stream.pipeline.pipeline import Pipeline, ProducedBatch
from samsum_stream.sources.faults import Window
from samsum_stream.values.counts import Counts, counts_of_batch


def deliver(
    produced: ProducedBatch,
    *,
    lane: int,
    pipeline: Pipeline,
    progress: Progress,
    stats: Stats,
    max_length: int,
    quarantine: Quarantine | None = None,
) -> None:
    """Count a batch of a lane as delivered. If it raises, the caller must not yield the batch.

    Raises:
        SourceError: there are more bad rows than `fault_config.max_bad_rows` allows.
        ConfigError: the quarantine file cannot be written.
    """
    counts = counts_of_batch(produced.batch, max_length=max_length, leaves=pipeline.source.leaves) + produced.counts
    window = _next_window(produced, counts, lane=lane, pipeline=pipeline, progress=progress)
    if quarantine is not None:
        quarantine.add(produced.number, produced.skipped)
    progress.advance(lane, produced.position, counts, window)
    stats.counts += counts
    stats.quarantine.extend(produced.skipped)
    stats.rows_passed_over += produced.num_passed_over
    stats.seconds_waited_for_files += produced.seconds_waited


def _next_window(
    produced: ProducedBatch, counts: Counts, *, lane: int, pipeline: Pipeline, progress: Progress
) -> Window:
    """The window of the lane after the batch."""
    before, faults = progress.lanes[lane].window, pipeline.faults
    window = faults.judge(before, counts, produced.skipped)
    if produced.skipped:
        num_known = sum(state.window.num_known for state in progress.lanes.values())
        faults.require_few(num_known - before.num_known + window.num_known, counts, produced.skipped[-1])
    return window
