"""Makes streams exact on the model of a Trainer, in the precision in which the Trainer computes."""

import logging
from typing import Any

from samsum_stream.errors import ConfigError
from samsum_stream.training.protocol import Stream

logger = logging.getLogger(__name__)


class Fitting:
    """Measures the model that a Trainer has now.

    Args:
        trainer: The Trainer.
        measure: Whether document isolation is measured; caches are turned off in any case.
    """

    def __init__(self, trainer: Any, *, measure: bool) -> None:
        self._trainer, self._measure = trainer, measure
        if not measure:
            logger.info("document isolation is not measured, because of attach(measure=False)")

    def fit(self, stream: Stream) -> bool:
        """Measure the model before the Trainer prepares it; returns whether this was possible."""
        return self._fit(stream, self._trainer.model)

    def fit_prepared(self, stream: Stream) -> None:
        """Measure the model as the Trainer runs it. The batches of the stream are in use already.

        Raises:
            ConfigError: the batches in use are not those that the model needs.
        """
        before = getattr(stream.collator, "attention", None)
        if not self._fit(stream, self._trainer.model_wrapped):
            logger.warning(
                "%s: document isolation is not measured, because the weights of the model are not there",
                stream.pipeline.source.name,
            )
        after = getattr(stream.collator, "attention", None)
        if after != before:
            raise ConfigError(
                f"collator_config.kwargs.attention: the batches of this run have {before}, because the weights of the "
                f"model were not there when the run began, and the model needs {after}; write attention: {after}"
            )

    def _fit(self, stream: Stream, model: Any) -> bool:
        with self._trainer.accelerator.autocast():
            return stream.fit(model, measure=self._measure)
