"""All rows, read once: their lengths, their outcomes, and how full their packs are.

source ──RowMeasure──▶ tokens of each example: whole, kept, masked ──▶ shares, quantiles, histogram
                                                 └──packers──▶ packs, batches, efficiency by length and window
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from samsum_stream.batching.packing import PACKERS
from samsum_stream.errors import SourceError
from samsum_stream.inspection.lengths import KEPT, WHOLE, Measurements, RowMeasure
from samsum_stream.inspection.simulation import (
    Epoch,
    estimate_epoch,
    mixed_lengths,
    packing_efficiency,
    plan_epoch,
    shares_of_tokens,
)
from samsum_stream.loader.epochs.lengths import count_lengths
from samsum_stream.pipeline.pipeline import Pipeline
from samsum_stream.sources import Mixture
from samsum_stream.stream.stream import SFTStream
from samsum_stream.values.arrays import Int32Array
from samsum_stream.values.counts import efficiency

TRIED_LENGTHS = (512, 1024, 2048, 4096, 8192)
TRIED_WINDOWS = (1, 16, 64, 256)

MIN_PACKED, MAX_PACKED = 4096, 20_000
"""The number of examples for simulated packing: a random part if there are more, repeated if there are fewer."""


class Filling(NamedTuple):
    """How full packs of a length are.

    Attributes:
        max_length: Tokens that fit into a pack.
        too_long: The share of examples that are longer, 0 to 1.
        efficiency: Tokens / capacity of packs, 0 to 1, by the window.
    """

    max_length: int
    too_long: float
    efficiency: dict[int, float]


class SourceSurvey(NamedTuple):
    """The rows of one source.

    Attributes:
        name: The name of the source for people.
        measured: The measurements of its rows.
        share: Its share of the tokens that are fed by the weights of a mixture, 0 to 1.
    """

    name: str
    measured: Measurements
    share: float


@dataclass(frozen=True)
class Survey:
    """The result of reading all rows once.

    Attributes:
        stream: The stream that has the rows.
        measured: The measurements of all rows, with what happened to them.
    """

    stream: SFTStream
    measured: Measurements

    @property
    def pipeline(self) -> Pipeline:
        return self.stream.pipeline

    @cached_property
    def sources(self) -> list[SourceSurvey]:
        """The rows of each source."""
        leaves = self.pipeline.source.leaves
        parts = [self.measured.of_shards(leaf.first_shard, len(leaf.source.shards)) for leaf in leaves]
        measured = [Measurements(*part) for part in parts]
        shares = shares_of_tokens(self.pipeline.source, measured)
        return [
            SourceSurvey(leaf.name or leaf.source.name, rows, share)
            for leaf, rows, share in zip(leaves, measured, shares, strict=True)
        ]

    @cached_property
    def epoch(self) -> Epoch | SourceError | None:
        """The packs and batches of an epoch, or the reason that it has no plan; None for an endless mixture."""
        if self.pipeline.epochs is None:
            is_mixture = isinstance(self.pipeline.source, Mixture)
            return None if is_mixture else estimate_epoch(self.pipeline, self.measured, num_rows=self.measured.num_rows)
        try:
            return plan_epoch(self.pipeline, self.measured, num_lanes=self.pipeline.lanes_for(1))
        except SourceError as error:
            return error

    @property
    def efficiency(self) -> float:
        """Tokens / capacity of the packs of an epoch, 0 to 1; of an endless stream, the packs of repeated rows."""
        packer, epoch = self.pipeline.packer, self.epoch
        if isinstance(epoch, Epoch) and epoch.is_exact and not isinstance(self.pipeline.source, Mixture):
            return efficiency(self.measured.num_tokens, epoch.num_packs * packer.max_length)
        return packing_efficiency(self._lengths_to_pack(KEPT), packer)

    @property
    def tried_method(self) -> str:
        """The packing method of `fillings`: the method of the config if it has a window."""
        method = self.stream.config.packing_config.method
        return method if method == "first_fit" else "best_fit"

    @cached_property
    def fillings(self) -> list[Filling]:
        """How full packs of other lengths are, up to the longest length that the tokenizer's model reads."""
        configured, limit = self.pipeline.packer.max_length, self.stream.tokenizer.model_max_length
        sizes = sorted({configured, *(size for size in TRIED_LENGTHS if size <= limit)})
        lengths = self._lengths_to_pack(WHOLE)
        return [self._filling(lengths, size) for size in sizes]

    def _lengths_to_pack(self, column: int) -> Int32Array:
        number = min(max(self.measured.num_examples, MIN_PACKED), MAX_PACKED)
        return mixed_lengths(self.pipeline.source, [source.measured for source in self.sources], number, column=column)

    def _filling(self, lengths: Int32Array, max_length: int) -> Filling:
        """Examples that are too long are left out or cut, as the config says."""
        is_cut = self.stream.config.truncation_config.method not in ("drop", "error")
        kept = np.minimum(lengths, max_length) if is_cut else lengths[lengths <= max_length]
        packer = PACKERS[self.tried_method]
        shares = {
            window: packing_efficiency(kept, packer(max_length=max_length, buffer_size=window))
            for window in TRIED_WINDOWS
        }
        whole = self.measured.whole
        too_long = np.count_nonzero(whole > max_length) / max(len(whole), 1)
        return Filling(max_length, too_long, shares)


def survey(stream: SFTStream, *, num_workers: int = 0) -> Survey:
    """Encode every row once, with a progress bar on a terminal.

    Raises:
        RowError: a row is bad, and bad rows are not skipped.
        SourceError: the rows cannot be read.
    """
    pipeline = stream.pipeline
    measure = RowMeasure(pipeline.encoder)
    lengths = count_lengths(
        pipeline.source, measure, faults=pipeline.faults, rank=0, world_size=1, num_workers=num_workers
    )
    return Survey(stream, Measurements(*lengths))


def histogram(lengths: Int32Array, *, num_bins: int) -> list[tuple[int, int]]:
    """The start of each bin and the number of its lengths.

    The bins have a round width and cover nearly all lengths; the last bin has all longer ones.
    """
    if not len(lengths):
        return []
    most = float(np.quantile(lengths, 0.995))
    width = next(size for size in _round_sizes() if most / size < num_bins - 1)
    bins = np.minimum(lengths // width, int(most) // width + 1)
    return [(number * width, count) for number, count in enumerate(np.bincount(bins).tolist())]


def _round_sizes() -> Sequence[int]:
    return [leading * 10**power for power in range(8) for leading in (1, 2, 5)]
