"""The runs of examples, and where they lie.

example     not trained  trained  not trained  trained
runs        0            1        2            3
borders                  1:2                   3:4
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from samsum_stream.values.arrays import BoolArray, Int32Array, Int64Array, offsets_of


class Run(NamedTuple):
    """Neighbouring segments that are all trained or all not trained. Each run is encoded separately.

    Attributes:
        trained: Whether the run is trained.
        continues: Whether the run starts in the middle of a text, and not at its start.
        fixed: The texts in the run that the format wrote.
    """

    trained: bool
    continues: bool
    fixed: tuple[str, ...]


Shape = tuple[Run, ...]
"""The runs of an example, with the texts of the format only. Examples of one format mostly share one shape."""


class RunLayout(NamedTuple):
    """Where the `m` runs and the `k` trained runs of `n` examples are.

    Attributes:
        offsets: The first run of each example, then the number of runs, shape `[n + 1]`.
        borders: Each trained run, and the run after it, shape `[k, 2]`.
        origins: The first run of the example of each trained run, shape `[k, 1]`.
        eos: The number of eos tokens before each of `borders`: 1 after a trained run that ends its example.
        num_trained: The number of trained runs of each example, shape `[n]`.
        has_eos: Whether an eos follows the last run of each example, because this run is trained, shape `[n]`.
    """

    offsets: Int64Array
    borders: Int64Array
    origins: Int64Array
    eos: Int64Array
    num_trained: Int64Array
    has_eos: BoolArray

    @property
    def example_of_run(self) -> Int64Array:
        """The index of the example of each run, shape `[m]`."""
        return np.repeat(np.arange(len(self.num_trained)), self.offsets[1:] - self.offsets[:-1])

    def without_eos(self) -> "RunLayout":
        """The same runs, and no eos after them."""
        return self._replace(eos=np.zeros_like(self.eos), has_eos=np.zeros_like(self.has_eos))

    def spans(self, starts: Int64Array) -> Int32Array:
        """The trained spans of all examples with their eos, shape `[k, 2]`; tokens count from the start of an example.

        Args:
            starts: The first token of each run, then the number of tokens, without any eos, shape `[m + 1]`.
        """
        return (starts[self.borders] - starts[self.origins] + self.eos).astype(np.int32)


def layout_of(shapes: Sequence[Shape], shape_of: Int64Array) -> RunLayout:
    """The layout of `n` examples.

    Args:
        shapes: The different shapes.
        shape_of: The index of each example's shape, shape `[n]`.
    """
    if len(shapes) == 1:  # nearly always for rows of one turn
        return _layout_of_one_shape(shapes[0], len(shape_of))
    return _layout(shapes, shape_of)


@lru_cache(maxsize=64)
def _layout_of_one_shape(shape: Shape, number: int) -> RunLayout:
    return _layout((shape,), np.zeros(number, np.int64))


def _layout(shapes: Sequence[Shape], shape_of: Int64Array) -> RunLayout:
    trained = [np.array([run.trained for run in shape], np.bool_) for shape in shapes]
    offsets = offsets_of(np.array([*map(len, shapes)], np.int64)[shape_of])
    of_examples = [trained[index] for index in shape_of.tolist()]
    borders = np.flatnonzero(np.concatenate([*of_examples, np.empty(0, np.bool_)]))[:, None] + (0, 1)
    origins = np.searchsorted(offsets, borders[:, :1], side="right") - 1
    return RunLayout(
        offsets=offsets,
        borders=borders,
        origins=offsets[origins],
        eos=(borders == offsets[origins + 1]).astype(np.int64),
        num_trained=np.array([runs.sum() for runs in trained], np.int64)[shape_of],
        has_eos=np.array([runs[-1:].any() for runs in trained], np.bool_)[shape_of],
    )
