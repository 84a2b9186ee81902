"""Packing simulated on lengths: how full packs are, and how many batches an epoch has."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from samsum_stream.batching.packing import Packer
from samsum_stream.inspection.lengths import KEPT, Measurements
from samsum_stream.lanes.position import FIRST_RUN
from samsum_stream.loader.epochs.plan import plan_epochs
from samsum_stream.pipeline.pipeline import Pipeline
from samsum_stream.sources import Mixture, Source
from samsum_stream.values.arrays import Int32Array
from samsum_stream.values.counts import efficiency


@dataclass(frozen=True)
class Epoch:
    """The packs and the global batches of an epoch.

    Attributes:
        num_packs: The packs of all lanes.
        num_batches: The global batches.
        share_filled: The share of the rows of all batches that hold a pack, 0 to 1.
        is_exact: Whether the numbers are exact. If not, they are estimated from some of the rows.
    """

    num_packs: int
    num_batches: int
    share_filled: float = 1.0
    is_exact: bool = True


def count_packs(lengths: Int32Array, packer: Packer) -> int:
    """The number of packs for examples of these lengths."""
    return sum(1 for _ in packer.pack(zip(lengths.tolist(), strict=True)))


def packing_efficiency(lengths: Int32Array, packer: Packer) -> float:
    """How full the packs for examples of these lengths are, 0 to 1."""
    return efficiency(int(lengths.sum()), count_packs(lengths, packer) * packer.max_length)


def plan_epoch(pipeline: Pipeline, measured: Measurements, *, num_lanes: int) -> Epoch:
    """The first epoch, as a finite stream plans it.

    Raises:
        SourceError: no row is left to train on, or a lane has fewer examples than batches.
    """
    plan = plan_epochs(
        pipeline.source,
        measured._replace(lengths=measured.lengths[:, KEPT]),
        order=pipeline.order(num_lanes),
        packer=pipeline.packer,
        batch_size=pipeline.batch_size,
        run=FIRST_RUN,
        num_epochs=1,
    )
    return Epoch(sum(plan.num_packs[0]), plan.batches_in_epoch, plan.share_filled(pipeline.batch_size))


def estimate_epoch(pipeline: Pipeline, measured: Measurements, *, num_rows: int) -> Epoch:
    """An estimate for an epoch of `num_rows` rows, from measurements of some of them."""
    lengths = measured.kept
    num_packs = count_packs(resampled(lengths, len(lengths)), pipeline.packer) * num_rows / measured.num_rows
    return Epoch(_three_digits(num_packs), _three_digits(num_packs / pipeline.batch_size), is_exact=False)


def resampled(lengths: Int32Array, number: int) -> Int32Array:
    """`number` of the lengths in random order. If there are fewer lengths, all of them are repeated."""
    generator = np.random.default_rng(0)
    if not len(lengths):
        return lengths
    if len(lengths) >= number:
        return lengths[generator.choice(len(lengths), number, replace=False)]
    rounds = [generator.permutation(lengths) for _ in range(-(-number // len(lengths)))]
    return np.concatenate(rounds)[:number]


def mixed_lengths(source: Source, measured: Sequence[Measurements], number: int, *, column: int) -> Int32Array:
    """The lengths of about `number` examples in random order, where the children of a mixture have their shares.

    Args:
        measured: The measurements of some rows of each leaf of the source.
        column: `WHOLE` or `KEPT`.
    """
    lengths = [rows.lengths[:, column] for rows in measured]
    lengths = [of_leaf[of_leaf > 0] for of_leaf in lengths]
    if len(lengths) == 1:
        return resampled(lengths[0], number)
    shares = shares_of_tokens(source, measured)
    examples = np.array([share / _mean(rows.kept) for share, rows in zip(shares, measured, strict=True)])
    numbers = np.round(number * examples / examples.sum()).astype(int).tolist()
    return np.random.default_rng(0).permutation(np.concatenate([*map(resampled, lengths, numbers)]))


def shares_of_tokens(source: Source, measured: Iterable[Measurements]) -> list[float]:
    """The share of each leaf in the tokens of a mixture, in the order of the leaves; 1 without a mixture."""
    firsts = [leaf.first_shard for leaf in source.leaves]
    shares = _shares(source, 0, dict(zip(firsts, map(_tokens_of_row, measured), strict=True)))[1]
    return [shares[first] for first in firsts]


def _mean(lengths: Int32Array) -> float:
    return float(lengths.mean()) if len(lengths) else 1.0


def _tokens_of_row(measured: Measurements) -> float:
    """The mean tokens of a row with an example; at least 1, so that shares are defined if all rows are dropped."""
    return max(int(measured.kept.sum()) / max(measured.num_rows_kept, 1), 1.0)


def _shares(source: Source, first: int, means: dict[int, float]) -> tuple[float, dict[int, float]]:
    """The mean tokens of a row of the source, and the share of each leaf in its tokens, by the leaf's first shard."""
    if not isinstance(source, Mixture):
        return means[first], {first: 1.0}
    of_children = [_shares(child.source, first + child.first_shard, means) for child in source.children]
    means_of_children = np.array([mean for mean, _ in of_children])
    rates = np.array(source.mix.weights) * (means_of_children if source.mix.by == "rows" else 1.0)
    shares = (rates / rates.sum()).tolist()
    of_leaves = {
        leaf: share * inner_share
        for share, (_, inner_shares) in zip(shares, of_children, strict=True)
        for leaf, inner_share in inner_shares.items()
    }
    return float(rates.sum() / (rates / means_of_children).sum()), of_leaves


def _three_digits(number: float) -> int:
    """Rounded to three significant digits; at least 1 if the number is above 0."""
    return max(int(float(f"{number:.3g}")), 1) if number else 0
