"""What packing makes of examples, on their lengths alone: how full packs are, how many batches an epoch has."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from samsum_stream.batching.packing import PACKERS, Packer
from samsum_stream.inspection.lengths import KEPT
from samsum_stream.lanes.position import PassStart
from samsum_stream.loader.epochs.lengths import Lengths
from samsum_stream.loader.epochs.plan import plan_ends
from samsum_stream.pipeline.pipeline import Pipeline
from samsum_stream.sources import Mixture, Source
from samsum_stream.values.arrays import Int32Array


@dataclass(frozen=True)
class Epoch:
    """Packs and global batches of an epoch; `is_exact` is false where they are reckoned from some of the rows."""

    num_packs: int
    num_batches: int
    is_exact: bool = True


def make_packer(method: str, *, max_length: int, buffer_size: int) -> Packer:
    """A packer of the config's names."""
    return PACKERS[method](max_length=max_length, buffer_size=buffer_size)


def packed(lengths: Int32Array, packer: Packer) -> tuple[int, float]:
    """The number of packs, and the share of their room that tokens fill, 0 to 1; examples of length 0 are none."""
    real = lengths[lengths > 0]
    num_packs = sum(1 for _ in packer.pack(zip(real.tolist(), strict=True)))
    return num_packs, int(real.sum()) / (num_packs * packer.max_length) if num_packs else 0.0


def plan_epoch(pipeline: Pipeline, lengths: Lengths, *, num_lanes: int) -> Epoch:
    """The first epoch, as a stream with an end deals it.

    Raises:
        SourceError: no row is left to train on, or a lane has fewer examples than batches.
    """
    ends = plan_ends(
        pipeline.source,
        lengths,
        order=pipeline.order(num_lanes),
        packer=pipeline.packer,
        batch_size=pipeline.batch_size,
        start=PassStart(0, 0, 0),
        num_epochs=1,
    )
    return Epoch(sum(ends.num_packs[0]), ends.batches_in_epoch)


def reckon_epoch(pipeline: Pipeline, lengths: Int32Array, *, num_rows: int) -> Epoch:
    """About how many there are in a pass over `num_rows` rows, of which some have these lengths."""
    num_packs, _ = packed(spread(lengths, len(lengths)), pipeline.packer)
    about = num_packs * num_rows / len(lengths)
    return Epoch(_three_digits(about), _three_digits(about / pipeline.batch_size), is_exact=False)


def spread(lengths: Int32Array, number: int) -> Int32Array:
    """So many lengths in random order: some of them where there are more, all of them over and over where fewer."""
    chooser = np.random.default_rng(0)
    if not len(lengths):
        return lengths
    if len(lengths) >= number:
        return lengths[chooser.choice(len(lengths), number, replace=False)]
    rounds = [chooser.permutation(lengths) for _ in range(-(-number // len(lengths)))]
    return np.concatenate(rounds)[:number]


def fed_lengths(source: Source, measured: Sequence[Int32Array], number: int, *, column: int) -> Int32Array:
    """The lengths of about so many examples in random order, of each child of a mixture as many as its weight feeds.

    Args:
        measured: What `RowMeasure` found of rows of each leaf of the source.
        column: Which of its lengths.
    """
    lengths = [found[:, column][found[:, column] > 0] for found in measured]
    if len(lengths) == 1:
        return spread(lengths[0], number)
    shares = shares_of_tokens(source, measured)
    examples = np.array([share / _mean(found) for share, found in zip(shares, measured, strict=True)])
    numbers = np.round(number * examples / examples.sum()).astype(int).tolist()
    picked = [spread(of_leaf, own) for of_leaf, own in zip(lengths, numbers, strict=True)]
    return np.random.default_rng(0).permutation(np.concatenate(picked))


def shares_of_tokens(source: Source, measured: Sequence[Int32Array]) -> list[float]:
    """Each leaf's share of the tokens that a mixture feeds, in the order of the leaves; 1 where there is no mixture."""
    firsts = [leaf.first_shard for leaf in source.leaves]
    shares = _shares(source, 0, dict(zip(firsts, map(_mean, measured), strict=True)))[1]
    return [shares[first] for first in firsts]


def _mean(measured: Int32Array) -> float:
    """Tokens of an example; at least 1, so that shares are numbers where all rows were dropped."""
    kept = measured[:, KEPT]
    return float(kept[kept > 0].mean()) if kept.any() else 1.0


def _shares(source: Source, first: int, means: dict[int, float]) -> tuple[float, dict[int, float]]:
    """Tokens of an example of the source, and each leaf's share of its tokens, by the leaf's first shard."""
    if not isinstance(source, Mixture):
        return means[first], {first: 1.0}
    inner = [_shares(child.source, first + child.first_shard, means) for child in source.children]
    means_of = np.array([mean for mean, _ in inner])
    rates = np.array(source.mix.weights) * (means_of if source.mix.by == "rows" else 1.0)
    shares = (rates / rates.sum()).tolist()
    found = {
        leaf: share * own for share, (_, leaves) in zip(shares, inner, strict=True) for leaf, own in leaves.items()
    }
    return float(rates.sum() / (rates / means_of).sum()), found


def _three_digits(number: float) -> int:
    """Rounded to three leading digits, and what is above 0 to at least 1: more would not hold."""
    return max(int(float(f"{number:.3g}")), 1) if number else 0
