"""The part of a stream that a Trainer uses."""

from typing import Any, Protocol, Self, runtime_checkable

from samsum_stream.batching.collation import Collator
from samsum_stream.config import StreamConfig
from samsum_stream.loader.loader import StreamLoader
from samsum_stream.loader.stats import Stats
from samsum_stream.pipeline.pipeline import Pipeline


@runtime_checkable
class Stream(Protocol):
    """An `SFTStream`. The folder `stream/` is a lower layer, so its class cannot be imported here."""

    config: StreamConfig
    pipeline: Pipeline
    stats: Stats
    tokenizer: Any
    collator: Collator

    def with_run(self, *, epochs: int | None, batch_size: int) -> Self: ...
    def fit(self, model: Any, *, measure: bool = True) -> bool: ...
    def loader(self, **kwargs: Any) -> StreamLoader: ...
