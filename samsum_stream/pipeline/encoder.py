"""Rows to numbered examples: a renderer, then a tokenizer.

rows read    r0       r1        r2 (bad)   r3 (no example)   r4
indices      0        1    2    3          4                 5 ...

Every rendered example has an index, also one that is dropped. A row that is left out, and a row without an example,
has one index.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from samsum_stream.errors import RowError
from samsum_stream.prompts.rendering import Renderer
from samsum_stream.tokenization import ExampleTokenizer
from samsum_stream.values.arrays import Int64Array, offsets_of
from samsum_stream.values.examples import Chunk
from samsum_stream.values.rows import BadRow, Rows


class Outcome(NamedTuple):
    """What happened to an example, given by its index: a name of `COUNTED`, and the row if it was skipped."""

    example: int
    name: str
    bad: BadRow | None = None


class EncodedRows(NamedTuple):
    """The examples of rows.

    Attributes:
        chunk: The examples that were not dropped.
        indices: The index of each of them, ascending, shape `[n]`.
        offsets: The number of indices before each row that was read, then of all rows, shape `[num_read + 1]`.
        outcomes: What was dropped, truncated, noticed or skipped, by index.
    """

    chunk: Chunk
    indices: Int64Array
    offsets: Int64Array
    outcomes: list[Outcome]


class Encoder(Protocol):
    """Rows to examples; it pickles."""

    def encode(self, rows: Rows, *, epoch: int) -> EncodedRows:
        """The examples of rows of one source, in order.

        Raises:
            RowError: a row cannot be rendered or encoded, or breaks a rule that is set to `error`.
        """

    def of_rows(self, rows: Rows) -> "RowEncoder":
        """The encoder of rows of one source."""

    @property
    def each(self) -> Sequence["RowEncoder"]:
        """The encoders of all tasks."""


@dataclass
class RowEncoder(Encoder):
    """Renders the rows of one task and tokenizes the renderings.

    Attributes:
        renderer: Rows to renderings.
        tokenizer: Renderings to examples.
        skips: Whether rows that cannot be rendered are skipped.
    """

    renderer: Renderer
    tokenizer: ExampleTokenizer
    skips: bool = False

    def encode(self, rows: Rows, *, epoch: int) -> EncodedRows:
        chunk, bad_rows = self._encoded(rows, epoch) if len(rows) else (Chunk.none(), [])
        offsets = _offsets(rows, chunk)
        firsts = offsets[rows.indices] if rows.skipped else offsets[:-1]
        outcomes = [Outcome(int(firsts[event.row]) + event.part, event.name) for event in chunk.events]
        left_out = [*((int(rows.indices[index]), bad) for index, bad in bad_rows), *rows.skipped]
        outcomes += [
            Outcome(int(offsets[index]), row.outcome, row if isinstance(row, BadRow) else None)
            for index, row in left_out
        ]
        outcomes.sort(key=lambda outcome: outcome[:2])
        return EncodedRows(chunk, firsts[chunk.rows] + chunk.records["part"], offsets, outcomes)

    def of_rows(self, rows: Rows) -> "RowEncoder":
        return self

    @property
    def each(self) -> Sequence["RowEncoder"]:
        return [self]

    def prompt_ids(self, rows: Rows, index: int) -> list[int]:
        """The ids that the model gets at inference for the row at `index`."""
        return self.tokenizer.runs.prompt_ids(self.renderer.rendered_prompt(rows, index))

    def _encoded(self, rows: Rows, epoch: int) -> tuple[Chunk, list[tuple[int, BadRow]]]:
        """The examples of the rows, and the rows that cannot be rendered, each with its index in `rows`."""
        renderings = self.renderer.render(rows)
        locate, bad_rows = self.tokenizer.runs.locate, []
        for index, (field, reason, text) in sorted(renderings.problems.items()):
            position = locate(int(rows.shards[index]), int(rows.rows[index]))
            if not self.skips:
                raise RowError(f"{position}: {text}", position=position, field=field, reason=reason)
            bad_rows.append((index, BadRow(position, field, reason)))
        try:
            return self.tokenizer.encode(renderings, epoch=epoch), bad_rows
        except RowError as error:
            if not self.skips or not error.reason:
                raise
            return self._encoded_without(error, rows, epoch)

    def _encoded_without(self, error: RowError, rows: Rows, epoch: int) -> tuple[Chunk, list[tuple[int, BadRow]]]:
        """The same without the row of an error."""
        locate = self.tokenizer.runs.locate
        positions = map(locate, rows.shards.tolist(), rows.rows.tolist())
        index = next(index for index, position in enumerate(positions) if position == error.position)
        others = np.delete(np.arange(len(rows)), index)
        chunk, bad_rows = self._encoded(rows.picked(rows.indices[others]), epoch) if len(others) else (Chunk.none(), [])
        bad_rows = [(int(others[number]), bad) for number, bad in bad_rows]
        bad_rows.append((index, BadRow(error.position, error.field, error.reason)))
        return chunk.of_rows(others, num_rows=len(rows)), bad_rows


class TaskEncoder(Encoder):
    """Encodes the rows of several tasks, each with the encoder of its task.

    Args:
        first_shards: The first shard of each source, ascending, shape `[sources]`.
        encoders: The encoder of each source.
    """

    def __init__(self, first_shards: Sequence[int], encoders: Sequence[RowEncoder]) -> None:
        self._first_shards, self._encoders = first_shards, encoders

    def encode(self, rows: Rows, *, epoch: int) -> EncodedRows:
        return self.of_rows(rows).encode(rows, epoch=epoch)

    def of_rows(self, rows: Rows) -> RowEncoder:
        shard = int(rows.shards[0]) if len(rows) else 0  # of no rows, nothing is encoded
        return self._encoders[bisect_right(self._first_shards, shard) - 1]

    @property
    def each(self) -> Sequence[RowEncoder]:
        return list({id(encoder): encoder for encoder in self._encoders}.values())


def _offsets(rows: Rows, chunk: Chunk) -> Int64Array:
    """The number of indices before each row that was read, then of all rows, shape `[num_read + 1]`."""
    if not rows.skipped and (chunk.num_rendered == 1).all():  # the common case
        return np.arange(len(rows) + 1)
    sizes = np.ones(rows.num_read, np.int64)
    sizes[rows.indices] = np.maximum(chunk.num_rendered, 1)
    return offsets_of(sizes)
