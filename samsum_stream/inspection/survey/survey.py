"""One pass over all rows: how long they are, what becomes of them, and how they would be packed.

source ──measure──▶ tokens of each row: whole, kept, masked ──▶ shares, quantiles, histogram
                                         └──packers on lengths──▶ packs, batches, efficiency by length and window
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from samsum_stream.config import StreamConfig
from samsum_stream.errors import SourceError
from samsum_stream.inspection.lengths import KEPT, WHOLE, RowMeasure, trained_share
from samsum_stream.inspection.simulation import (
    Epoch,
    fed_lengths,
    make_packer,
    packed,
    plan_epoch,
    reckon_epoch,
    shares_of_tokens,
)
from samsum_stream.loader.epochs.lengths import Lengths, count_lengths
from samsum_stream.pipeline.pipeline import Pipeline
from samsum_stream.sources import Leaf, Mixture
from samsum_stream.stream.stream import SFTStream
from samsum_stream.values.arrays import Int32Array
from samsum_stream.values.counts import Counts

QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99, 1.0)

TRIED_LENGTHS = (512, 1024, 2048, 4096, 8192)
TRIED_WINDOWS = (1, 16, 64, 256)

MIN_PACKED, MAX_PACKED = 4096, 20_000
"""Rows that packing is tried on: some by chance where there are more, all over and over where there are fewer."""


class Filling(NamedTuple):
    """How full packs of a length are.

    Attributes:
        max_length: Tokens in a pack.
        too_long: The share of rows that are longer, 0 to 1.
        efficiency: Tokens / room of packs, 0 to 1, by the window.
    """

    max_length: int
    too_long: float
    efficiency: dict[int, float]


class SourceSurvey(NamedTuple):
    """The rows of one source.

    Attributes:
        name: What a person calls it.
        measured: What `RowMeasure` found, shape `[num_rows, 4]`.
        share: Its share of the tokens that are fed, 0 to 1: what the weights of a mixture make of it.
    """

    name: str
    measured: Int32Array
    share: float

    @property
    def num_rows(self) -> int:
        return len(self.measured)

    @property
    def num_examples(self) -> int:
        return int(np.count_nonzero(self.measured[:, KEPT]))

    @property
    def num_tokens(self) -> int:
        """Tokens of the examples."""
        return int(self.measured[:, KEPT].sum())

    @property
    def num_cut(self) -> int:
        """Examples that were shortened."""
        whole, kept = self.measured[:, WHOLE], self.measured[:, KEPT]
        return int(np.count_nonzero((kept > 0) & (kept < whole)))

    @property
    def trained_share(self) -> float:
        """Tokens with a label / tokens of the examples, 0 to 1."""
        return trained_share(self.measured)

    @property
    def whole_lengths(self) -> Int32Array:
        """Tokens of the rows before truncation; bad rows are left out."""
        lengths = self.measured[:, WHOLE]
        return lengths[lengths > 0]

    @property
    def quantiles(self) -> dict[float, int]:
        """So many tokens at most has that share of the rows, before truncation."""
        lengths = self.whole_lengths
        if not len(lengths):
            return dict.fromkeys(QUANTILES, 0)
        return {share: int(np.quantile(lengths, share, method="higher")) for share in QUANTILES}


@dataclass(frozen=True)
class Survey:
    """What one pass found.

    Attributes:
        stream: Whose rows they are.
        found: What `RowMeasure` found of every row, and what befell the rows.
    """

    stream: SFTStream
    found: Lengths

    @property
    def config(self) -> StreamConfig:
        return self.stream.config

    @property
    def pipeline(self) -> Pipeline:
        return self.stream.pipeline

    @property
    def counts(self) -> Counts:
        return self.found.counts

    @cached_property
    def whole(self) -> SourceSurvey:
        """All rows taken together."""
        return SourceSurvey(self.pipeline.source.name, self.found.lengths, 1.0)

    @cached_property
    def sources(self) -> list[SourceSurvey]:
        """Each source for itself."""
        leaves = self.pipeline.source.leaves
        measured = [self._of(leaf) for leaf in leaves]
        shares = shares_of_tokens(self.pipeline.source, measured)
        return [
            SourceSurvey(leaf.name or leaf.source.name, rows, share)
            for leaf, rows, share in zip(leaves, measured, shares, strict=True)
        ]

    @cached_property
    def epoch(self) -> Epoch | SourceError | None:
        """Packs and batches of an epoch; why it cannot be dealt; None of a mixture without an end."""
        lengths = self.found.lengths[:, KEPT]
        if self.pipeline.epochs is None:
            is_mixture = isinstance(self.pipeline.source, Mixture)
            return None if is_mixture else reckon_epoch(self.pipeline, lengths, num_rows=len(lengths))
        try:
            return plan_epoch(self.pipeline, self.found._replace(lengths=lengths), num_lanes=self.pipeline.lanes_for(1))
        except SourceError as error:
            return error

    @property
    def efficiency(self) -> float:
        """Tokens / room of the packs of an epoch, 0 to 1; without an end, where rows go on and on."""
        packer, epoch = self.pipeline.packer, self.epoch
        if isinstance(epoch, Epoch) and epoch.is_exact and not isinstance(self.pipeline.source, Mixture):
            return self.whole.num_tokens / (epoch.num_packs * packer.max_length)
        return packed(self._to_pack(KEPT), packer)[1]

    @property
    def tried_method(self) -> str:
        """What packs in `fillings`: the config's own method, where it has a window."""
        method = self.config.packing_config.method
        return method if method == "first_fit" else "best_fit"

    @cached_property
    def fillings(self) -> list[Filling]:
        """How full packs would be by their length, up to the longest that the tokenizer's model reads, and window."""
        own, limit = self.pipeline.packer.max_length, self.stream.tokenizer.model_max_length
        sizes = sorted({own, *(size for size in TRIED_LENGTHS if size <= limit)})
        lengths = self._to_pack(WHOLE)
        return [self._filling(lengths, size) for size in sizes]

    def _to_pack(self, column: int) -> Int32Array:
        number = min(max(self.whole.num_examples, MIN_PACKED), MAX_PACKED)
        return fed_lengths(self.pipeline.source, [each.measured for each in self.sources], number, column=column)

    def _filling(self, lengths: Int32Array, max_length: int) -> Filling:
        """Rows that are too long are left out, or cut to fit, as the config says."""
        is_cut = self.config.truncation_config.method not in ("drop", "error")
        kept = np.minimum(lengths, max_length) if is_cut else lengths[lengths <= max_length]
        packers = (
            make_packer(self.tried_method, max_length=max_length, buffer_size=window) for window in TRIED_WINDOWS
        )
        efficiency = [packed(kept, packer)[1] for packer in packers]
        whole = self.whole.whole_lengths
        too_long = np.count_nonzero(whole > max_length) / max(len(whole), 1)
        return Filling(max_length, too_long, dict(zip(TRIED_WINDOWS, efficiency, strict=True)))

    def _of(self, leaf: Leaf) -> Int32Array:
        return self.found.of_shards(leaf.first_shard, len(leaf.source.shards)).lengths


def survey(stream: SFTStream, *, num_workers: int = 0) -> Survey:
    """Encode every row once, behind a progress bar where someone looks.

    Raises:
        RowError: a row is bad, and bad rows are not skipped.
        SourceError: the rows cannot be read.
    """
    pipeline = stream.pipeline
    measure = RowMeasure(pipeline.tokenizer)
    found = count_lengths(
        pipeline.source, measure, faults=pipeline.faults, rank=0, world_size=1, num_workers=num_workers
    )
    return Survey(stream, found)


def histogram(lengths: Int32Array, *, num_bins: int) -> list[tuple[int, int]]:
    """The start of each bin and how many lengths it has: round numbers up to nearly all, and the rest in the last."""
    if not len(lengths):
        return []
    most = float(np.quantile(lengths, 0.995))
    width = next(size for size in _round_sizes() if most / size < num_bins - 1)
    bins = np.minimum(lengths // width, int(most) // width + 1)
    return [(number * width, count) for number, count in enumerate(np.bincount(bins).tolist())]


def _round_sizes() -> Sequence[int]:
    return [leading * 10**power for power in range(8) for leading in (1, 2, 5)]
