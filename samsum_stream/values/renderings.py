"""Rendered rows: what the prompts stage passes to tokenization.

segments    [format "User: "] [row "Hi"] [format "\\nBot:"] | [format " "] [row "Hello"] [format "</s>"]
runs        not trained                                     | trained
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from samsum_stream.values.arrays import BoolArray, Int32Array, Int64Array, Ragged, sums_of
from samsum_stream.values.examples import Event
from samsum_stream.values.runs import Run, RunLayout, Shape, layout_of


class Segment(NamedTuple):
    """A piece of rendered text.

    Attributes:
        text: The text.
        from_row: Whether the row wrote the text, and not the format.
        trained: Whether the model learns to write the text. A border lies where this changes.
    """

    text: str
    from_row: bool
    trained: bool


class Problem(NamedTuple):
    """What is wrong with a row that cannot be rendered.

    Attributes:
        field: The field that breaks a rule; empty if the row as a whole does.
        reason: The rule, as `stats.skipped` names it.
        text: The rule, the value and the remedy.
    """

    field: str
    reason: str
    text: str


class Pieces(NamedTuple):
    """The pieces of `m` runs, each encoded separately: pieces that several runs share are encoded once.

    Attributes:
        of_runs: The indices of the pieces of each run.
        ordinary: The pieces that are encoded without added tokens, because a row spells one.
    """

    of_runs: Ragged
    ordinary: frozenset[int]

    @property
    def has_ordinary(self) -> BoolArray:
        """Whether each run has an ordinary piece, shape `[m]`."""
        return sums_of(np.isin(self.of_runs.ids, [*self.ordinary]), self.of_runs.lengths) > 0


class Shortened(NamedTuple):
    """An example whose row was shortened, rendered again, and what was cut, as `stats.truncated` names it."""

    rendering: "Renderings"
    cut: tuple[str, ...]


class Fit(NamedTuple):
    """What a renderer needs to shorten an example.

    Attributes:
        fits: Whether the rendering of one example is short enough.
        token_ends: The end of each token of a text, in characters.
    """

    fits: Callable[["Renderings"], bool]
    token_ends: Callable[[str], list[int]]


Shorten = Callable[[int, str, Fit], Shortened | None]
"""Shortens the example at an index by a truncation method; None if the method cannot make it fit."""


def cannot_shorten(index: int, method: str, fit: Fit) -> None:
    """For renderers whose rows cannot be shortened: a long example is dropped."""


@dataclass(frozen=True)
class Renderings:
    """`n` rendered examples with `m` runs, of some rows.

    Attributes:
        texts: The text of each run, example by example, length `m`; with `pieces`, the text of each piece.
        shapes: The different shapes.
        shape_of: The index of each example's shape in `shapes`, shape `[n]`.
        rows: The index of each example's row among the rows, ascending, shape `[n]`. A row has 0, 1 or more examples.
        shards: The shard number of each row, shape `[rows]`.
        numbers: The row number of each row in its shard, shape `[rows]`.
        segments: The segments of the example at an index.
        shorten: Shortens an example.
        pieces: The pieces of each run; None if each run is one piece.
        is_complete: Whether the texts contain all special tokens, as those of chat templates do.
        is_text: Whether the examples are texts without a prompt, which may be split.
        ids: The ids of each run, for rows that contain ids; then there are no texts.
        problems: What is wrong with rows that cannot be rendered, by the index of the row. They have no example.
        events: What was noticed while the rows were rendered.
    """

    texts: list[str]
    shapes: tuple[Shape, ...]
    shape_of: Int64Array
    rows: Int64Array
    shards: Int32Array
    numbers: Int64Array
    segments: Callable[[int], Sequence[Segment]]
    shorten: Shorten = cannot_shorten
    pieces: Pieces | None = None
    is_complete: bool = False
    is_text: bool = False
    ids: Ragged | None = None
    problems: Mapping[int, Problem] = field(default_factory=dict)
    events: Sequence[Event] = ()

    @classmethod
    def of_segments(
        cls, examples: Sequence[Sequence[Segment]], *, rows: Int64Array, shards: Int32Array, numbers: Int64Array
    ) -> "Renderings":
        """Examples that are given as segments; the other arguments are those of the class."""
        texts, shapes, shape_of = join_runs([runs_of(segments) for segments in examples])
        return cls(texts, shapes, shape_of, rows, shards, numbers, examples.__getitem__)

    def __len__(self) -> int:
        return len(self.shape_of)

    def select(self, chosen: Int64Array) -> "Renderings":
        """Some examples, each as the only example of a row; without problems and events.

        Args:
            chosen: The indices of the examples, shape `[k]`.
        """
        borders, pieces, texts = self.layout.offsets.tolist(), self.pieces, self.texts
        runs = [run for index in chosen.tolist() for run in range(borders[index], borders[index + 1])]
        ids = None if self.ids is None else Ragged.of([self.ids.split()[run] for run in runs])
        if pieces is None:
            texts = [texts[run] for run in runs if ids is None]
        else:
            split = pieces.of_runs.split()
            pieces = pieces._replace(of_runs=Ragged.of([split[run] for run in runs]))
        row_of = self.rows[chosen]
        return Renderings(
            texts=texts,
            shapes=self.shapes,
            shape_of=self.shape_of[chosen],
            rows=np.arange(len(chosen)),
            shards=self.shards[row_of],
            numbers=self.numbers[row_of],
            segments=lambda index: self.segments(int(chosen[index])),
            shorten=lambda index, method, fit: self.shorten(int(chosen[index]), method, fit),
            pieces=pieces,
            is_complete=self.is_complete,
            is_text=self.is_text,
            ids=ids,
        )

    @cached_property
    def layout(self) -> RunLayout:
        """The runs of each example."""
        layout = layout_of(self.shapes, self.shape_of)
        return layout.without_eos() if self.is_complete else layout

    @cached_property
    def parts(self) -> Int64Array:
        """The number of each example in its row, from 0, shape `[n]`."""
        return np.arange(len(self)) - np.searchsorted(self.rows, self.rows)

    @property
    def num_rendered(self) -> Int64Array:
        """The number of examples of each row, shape `[rows]`."""
        return np.bincount(self.rows, minlength=len(self.shards))

    def release_texts(self) -> None:
        """Free the texts when they are encoded. What is allocated next then uses memory that is still in the cache."""
        self.texts.clear()

    @property
    def continues(self) -> BoolArray:
        """Whether each of `texts` starts in the middle of a text, shape `[len(texts)]`."""
        continues: BoolArray = self.per_run(lambda shape: np.array([run.continues for run in shape], np.bool_))
        if self.pieces is None:
            return continues
        starts = self.pieces.of_runs.offsets[self.layout.offsets[:-1]]
        continues = np.ones(len(self.texts), np.bool_)
        continues[self.pieces.of_runs.ids[starts]] = False
        return continues

    def per_run(self, of_shape: Callable[[Shape], "np.ndarray[Any, np.dtype[Any]]"]) -> Any:
        """`of_shape(shape)` of each example, concatenated, shape `[m]`."""
        columns = [of_shape(shape) for shape in self.shapes]
        if len(columns) == 1:
            return columns[0][None].repeat(len(self), axis=0).ravel()
        return np.concatenate([columns[index] for index in self.shape_of.tolist()] or [np.empty(0, np.int64)])


def runs_of(segments: Sequence[Segment]) -> tuple[list[str], Shape]:
    """The text of each run of an example, and its shape."""
    runs = [list(run) for _, run in groupby(segments, key=attrgetter("trained"))]
    texts = ["".join([segment.text for segment in run]) for run in runs]
    shape = tuple(
        Run(
            run[0].trained,
            number > 0,
            tuple([segment.text for segment in run if segment.text and not segment.from_row]),
        )
        for number, run in enumerate(runs)
    )
    return texts, shape


def join_runs(examples: Sequence[tuple[list[str], Shape]]) -> tuple[list[str], tuple[Shape, ...], Int64Array]:
    """The text of each run of all examples, the different shapes, and the index of each example's shape, shape `[n]`.

    Args:
        examples: The text of each run, and the shape, as `runs_of` gives them.
    """
    index_of = {shape: index for index, shape in enumerate(dict.fromkeys(shape for _, shape in examples))}
    shape_of = np.array([index_of[shape] for _, shape in examples], np.int64)
    return [text for texts, _ in examples for text in texts], tuple(index_of), shape_of


def of_one_example(runs: tuple[list[str], Shape], segments: Callable[[int], Sequence[Segment]]) -> Renderings:
    """One example that is not a row of the source, such as a shortened one.

    Args:
        runs: The text of each run, and the shape, as `runs_of` gives them.
        segments: The segments, for the index 0.
    """
    texts, shape = runs
    zero = np.zeros(1, np.int64)
    return Renderings(texts, (shape,), zero, zero, zero.astype(np.int32), zero, segments)
