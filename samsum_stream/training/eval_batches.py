"""The batches that a Trainer evaluates: those of a finite stream, with the mark of the last one."""

import logging
from collections.abc import Iterator
from typing import Any

import torch
from accelerate.data_loader import DataLoaderStateMixin
from accelerate.state import GradientState

from samsum_stream.errors import ConfigError, RowError, SourceError, TopologyError
from samsum_stream.errors.wording import counted
from samsum_stream.loader.loader import StreamLoader
from samsum_stream.training.protocol import Stream

logger = logging.getLogger(__name__)


class EvalBatches(DataLoaderStateMixin):  # type: ignore[misc]  # accelerate has no types
    """Each `for` iterates over the batches of this rank. During the last one, `end_of_dataloader` is true.

    With `batch_eval_metrics`, the Trainer reads this attribute from the `GradientState`, which finds it here.
    """

    def __init__(self, loader: StreamLoader) -> None:
        self.loader = loader
        self.gradient_state = GradientState()

    def __len__(self) -> int:
        return len(self.loader)

    @property
    def dataset(self) -> range:
        """As long as the number of packs of all ranks, which the Trainer reports as its number of samples."""
        plan = self.loader.plan
        assert plan is not None
        return range(sum(map(sum, plan.num_packs)))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        num_batches = len(self)
        self.begin()
        try:
            for number, batch in enumerate(self.loader, start=1):
                self.end_of_dataloader = number == num_batches
                yield batch
        finally:
            self.end()


def counted_loader(stream: Stream, trainer: Any) -> StreamLoader:
    """A loader of a finite stream with the workers of the Trainer, or with none if the stream is too small for them.

    Raises:
        ConfigError: the stream has too few rows for the ranks.
    """
    num_workers, name = trainer.args.dataloader_num_workers, stream.pipeline.source.name
    try:
        try:
            return _counted_loader(stream, trainer, num_workers)
        except (TopologyError, SourceError) as error:
            if not num_workers or isinstance(error, RowError):
                raise
            loader = _counted_loader(stream, trainer, 0)
            workers = counted(num_workers, "worker")
            logger.warning("evaluation of %s: too few rows for %s, so no worker is used (%s)", name, workers, error)
            return loader
    except TopologyError as error:
        raise ConfigError(f"evaluation of {name}: {error}") from error


def _counted_loader(stream: Stream, trainer: Any, num_workers: int) -> StreamLoader:
    arguments = trainer.args
    loader = stream.loader(
        num_workers=num_workers,
        pin_memory=arguments.dataloader_pin_memory and torch.cuda.is_available(),
        prefetch_factor=arguments.dataloader_prefetch_factor if num_workers else None,
        device_mesh=trainer.accelerator.torch_device_mesh,
    )
    len(loader)  # counts the rows
    return loader
