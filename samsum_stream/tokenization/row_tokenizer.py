"""Rows to examples: one border, one eos, and nothing longer than `max_length`.

[ what the tokenizer adds in front | prompt | response | eos ]
 ------------- labels ignored -------------   trained
"""

from itertools import pairwise

import numpy as np

from samsum_stream.errors import RowError
from samsum_stream.prompts.rendering import message_of
from samsum_stream.tokenization.backends import HFBackend
from samsum_stream.tokenization.sides import SideEncoder
from samsum_stream.tokenization.truncation import METHODS, Dropped, Fitted, LongRow
from samsum_stream.values.arrays import Int32Array, Int64Array, Ragged
from samsum_stream.values.examples import EXAMPLE_RECORD, Chunk, Records
from samsum_stream.values.rows import Rows

Events = list[tuple[int, str]]


class RowTokenizer:
    """Encodes chunks of rows, and fits each row into `max_length` tokens.

    Args:
        sides: Encodes both sides of a chunk.
        reference: Says where the tokens of a text end.
        eos_token_id: The id that ends every response.
        max_length: Tokens that an example may have.
        truncation: What happens to longer rows: a key of `METHODS`, or `error`.
    """

    def __init__(
        self, sides: SideEncoder, *, reference: HFBackend, eos_token_id: int, max_length: int, truncation: str
    ) -> None:
        self.sides, self.reference = sides, reference
        self.eos_token_id, self.max_length, self.truncation = eos_token_id, max_length, truncation

    def encode(self, rows: Rows, *, epoch: int) -> Chunk:
        """The examples of `rows`, in order, and what was dropped, cut or found in them.

        Raises:
            RowError: a row cannot be encoded, or breaks a rule that is set to `error`.
        """
        sides, spelled = self.sides.encode(rows)
        events = [(row, "special_tokens_in_rows") for row in spelled]
        num_eos, kept = np.ones(len(rows), np.int64), np.ones(len(rows), bool)
        if (too_long := np.flatnonzero(_of_both(sides) + 1 > self._room)).size:
            sides = self._shorten(rows, too_long.tolist(), sides, num_eos, kept, events)
        records = self._records(rows, sides, num_eos, epoch)
        untrained = kept & (records["length"] <= np.maximum(records["num_prompt_tokens"], 1))
        events += [(row, "dropped.no_trained_token") for row in np.flatnonzero(untrained).tolist()]
        kept &= ~untrained
        chunk = Chunk(self._assemble(sides, num_eos), records, np.arange(len(rows)), tuple(events))
        return chunk if kept.all() else chunk.select(kept)

    @property
    def _room(self) -> int:
        return self.max_length - len(self.sides.border.added)

    def _shorten(
        self, rows: Rows, too_long: list[int], sides: Ragged, num_eos: Int64Array, kept: np.ndarray, events: Events
    ) -> Ragged:
        """The sides with long rows exchanged for fitting ones; marks those that are dropped or lost their eos."""
        sequences = sides.split()
        for index in too_long:
            own = slice(2 * index, 2 * index + 2)
            outcome = self._fit(rows, index, *sequences[own])
            if isinstance(outcome, Dropped):
                events.append((index, f"dropped.{outcome.reason}"))
                kept[index] = False
            else:
                sequences[own], num_eos[index] = (outcome.prompt, outcome.response), outcome.has_eos
                events += [(index, f"truncated.{part}") for part in outcome.cut]
        return Ragged.of(sequences)

    def _fit(self, rows: Rows, index: int, prompt: Int32Array, response: Int32Array) -> Fitted | Dropped:
        if self.truncation == "error":
            raise self._too_long(rows, index, num_tokens=self.max_length - self._room + len(prompt) + len(response) + 1)
        message, ends = message_of(rows, index), self.reference.token_ends
        return METHODS[self.truncation](LongRow(message, prompt, response, self._room, self.sides.encode_one, ends))

    def _assemble(self, sides: Ragged, num_eos: Int64Array) -> list[bytes]:
        """`added, prompt, response, eos` of every row, as bytes."""
        added, eos = self.sides.border.added.tobytes(), np.array([self.eos_token_id], np.int32).tobytes()
        ids, ends = memoryview(sides.ids.tobytes()), (sides.offsets[::2] * sides.ids.itemsize).tolist()
        return [
            b"".join((added, ids[start:end], eos * number))
            for (start, end), number in zip(pairwise(ends), num_eos.tolist(), strict=True)
        ]

    def _records(self, rows: Rows, sides: Ragged, num_eos: Int64Array, epoch: int) -> Records:
        num_added, records = len(self.sides.border.added), np.empty(len(rows), EXAMPLE_RECORD)
        records["length"] = num_added + _of_both(sides) + num_eos
        records["num_prompt_tokens"] = num_added + sides.lengths[::2]
        records["shard"], records["row"], records["epoch"] = rows.shards, rows.rows, epoch
        return records

    def _too_long(self, rows: Rows, index: int, *, num_tokens: int) -> RowError:
        place = self.sides.locate(int(rows.shards[index]), int(rows.rows[index]))
        return RowError(
            f"{place}: the row has {num_tokens:,} tokens and max_length is {self.max_length:,}, with "
            "truncation_config.method error; raise packing_config.kwargs.max_length, or choose drop, contexts, "
            "input or right"
        )


def _of_both(sides: Ragged) -> Int64Array:
    """The tokens of both sides of each row, shape `[n]`."""
    return sides.offsets[2::2] - sides.offsets[:-2:2]
