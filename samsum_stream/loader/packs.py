"""Packs without batches of fixed size and without counting rows first: what `for pack in stream` reads."""

from collections.abc import Iterator

from samsum_stream.lanes.share import Share, check_num_lanes
from samsum_stream.loader.delivery import deliver
from samsum_stream.loader.processes.ranks import require_one_process, this_worker
from samsum_stream.loader.processes.threads import prepare_worker
from samsum_stream.loader.state.progress import Progress
from samsum_stream.loader.stats import Stats
from samsum_stream.pipeline.pipeline import Pipeline
from samsum_stream.values.batches import Pack
from samsum_stream.values.rows import RowPosition


def read_packs(pipeline: Pipeline, *, stats: Stats, max_length: int, first_epoch: int) -> Iterator[Pack]:
    """The packs of a run, of this worker of a plain DataLoader.

    Raises:
        TopologyError: the job has several processes, or the workers cannot share the lanes.
        SourceError: there are more bad rows than `fault_config.max_bad_rows` allows.
    """
    require_one_process()
    prepare_worker()
    worker, num_workers = this_worker()
    num_lanes = pipeline.lanes_for(num_workers)
    check_num_lanes(num_lanes, num_rows=pipeline.source.max_lanes, workers=num_workers)
    share = Share(0, worker=worker, num_workers=num_workers)
    order, progress = pipeline.order(num_lanes), Progress.at_start(share.lanes(num_lanes), step=num_workers)
    bad_rows = set[RowPosition]()  # a mixture may read other rows of a child in every epoch
    for lane, produced in pipeline.interleaved(share, order=order, first_epoch=first_epoch):
        bad_rows.update(bad.position._replace(epoch=0) for bad in produced.skipped)
        if produced.skipped:
            pipeline.faults.require_few(len(bad_rows), produced.counts, produced.skipped[-1])
        deliver(produced, lane=lane, pipeline=pipeline, progress=progress, stats=stats, max_length=max_length)
        yield from produced.batch.packs(pipeline.source.position)
