"""Renderings to examples: ids and trained spans, one eos, and at most `max_length` tokens.

[ tokens that the tokenizer adds | prompt | completion | eos ]
                                          [   trained span   )
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from samsum_stream.config.task import ANY_LENGTH
from samsum_stream.errors import RowError
from samsum_stream.tokenization.backends import HFBackend
from samsum_stream.tokenization.runs import RunEncoder
from samsum_stream.tokenization.splitting import Splitter
from samsum_stream.tokenization.trained_prompts import with_prompts_trained
from samsum_stream.tokenization.truncation import METHODS, TokenizedExample
from samsum_stream.values.arrays import BoolArray, Int32Array, Int64Array, Ragged, offsets_of
from samsum_stream.values.examples import EXAMPLE_RECORD, Chunk, Event, Records
from samsum_stream.values.renderings import Fit, Renderings
from samsum_stream.values.runs import RunLayout

MARGIN = 1000
"""More tokens than a spelling at the end of a start can change."""


class _Examples(NamedTuple):
    """`n` examples, without the tokens that the tokenizer adds at the start.

    Attributes:
        tokens: The ids of each example, without the eos.
        spans: The trained spans of all examples, shape `[sum of num_spans, 2]`; tokens count from the start of their
            example.
        num_spans: The number of spans of each example, shape `[n]`.
        has_eos: Whether an eos follows each example, shape `[n]`.
    """

    tokens: Ragged
    spans: Int32Array
    num_spans: Int64Array
    has_eos: BoolArray

    @property
    def lengths(self) -> Int64Array:
        """The number of tokens of each example, the eos included, shape `[n]`."""
        return self.tokens.lengths + self.has_eos


class ExampleTokenizer:
    """Encodes renderings, and truncates or drops examples of more than `max_length` tokens.

    An example ends with an eos if its last run is trained. The eos belongs to the last span.

    Args:
        runs: Encodes runs.
        reference: Gives the end of each token in a text, for truncation.
        eos_token_id: The id of the eos.
        max_length: The maximum number of tokens of an example.
        truncation: What happens to longer examples: `drop`, `last_turns`, `right`, `error`, or a method of the
            renderer.
        lengths: The lengths of the examples that are kept, in tokens before truncation.
        trains_prompts: Whether all tokens are trained (`loss_config.prompts`).
        splitter: Splits long texts; None if they are treated like other examples.
    """

    def __init__(
        self,
        runs: RunEncoder,
        *,
        reference: HFBackend,
        eos_token_id: int,
        max_length: int,
        truncation: str,
        lengths: range = ANY_LENGTH,
        trains_prompts: bool = False,
        splitter: Splitter | None = None,
    ) -> None:
        self.runs, self.reference, self.trains_prompts = runs, reference, trains_prompts
        self.eos_token_id, self.max_length, self.truncation = eos_token_id, max_length, truncation
        self.lengths, self.splitter = lengths, splitter

    def encode(self, renderings: Renderings, *, epoch: int) -> Chunk:
        """The examples in order, and what was dropped, truncated or noticed.

        Args:
            renderings: The rendered examples.
            epoch: The epoch of the source, for the records of the examples.

        Raises:
            RowError: a row cannot be encoded, or breaks a rule that is set to `error`.
        """
        splitter = self.splitter if renderings.is_text else None
        chunk = self._whole(renderings, epoch, is_split=splitter is not None)
        return chunk if splitter is None else splitter.split(chunk)

    def _whole(self, renderings: Renderings, epoch: int, *, is_split: bool) -> Chunk:
        """The examples before they are split; if they are not, long ones are truncated or dropped."""
        run_ids, spelled = self.runs.encode(renderings)
        renderings.release_texts()
        events = [*renderings.events, *(_spelling_events(renderings, spelled) if spelled.any() else ())]
        examples = _examples(run_ids, renderings.layout)
        kept = self._kept(renderings, examples, events)
        if not is_split and (too_long := np.flatnonzero(kept & (examples.lengths > self._room(renderings)))).size:
            examples = self._truncate(renderings, examples, too_long, kept, events)
        chunk = self._chunk(renderings, examples, epoch)
        if _may_be_untrained(examples):
            untrained = kept & (chunk.num_trained == 0)
            events += _events(renderings, untrained, "dropped.no_trained_token")
            kept &= ~untrained
        chunk = Chunk(chunk.ids, chunk.spans, chunk.records, chunk.rows, chunk.num_rendered, tuple(events))
        return chunk if kept.all() else chunk.select(kept)

    def _kept(self, renderings: Renderings, examples: _Examples, events: list[Event]) -> BoolArray:
        """Whether each example has one of the lengths that are kept, shape `[n]`; `events` gets those that have not."""
        lengths = examples.lengths + len(self.runs.added(renderings))
        is_short, is_long = lengths < self.lengths.start, lengths >= self.lengths.stop
        events += _events(renderings, is_short, "dropped.shorter_than_min_tokens")
        events += _events(renderings, is_long, "dropped.longer_than_max_tokens")
        return ~(is_short | is_long)

    def _room(self, renderings: Renderings) -> int:
        """The maximum number of tokens of an example, without those that the tokenizer adds at the start."""
        return self.max_length - len(self.runs.added(renderings))

    def _truncate(
        self, renderings: Renderings, examples: _Examples, too_long: Int64Array, kept: BoolArray, events: list[Event]
    ) -> _Examples:
        """The examples, with the long ones truncated.

        Args:
            too_long: The indices of the long examples, ascending.
            kept: Set to false for each example that is dropped, shape `[n]`.
            events: Extended by one event for each example that is dropped, and for each part that is cut.
        """
        replaced = _split(examples)
        for index in too_long.tolist():
            outcome = self._fit(renderings, index, replaced[index])
            row, part = int(renderings.rows[index]), int(renderings.parts[index])
            if isinstance(outcome, str):
                events.append(Event(row, part, f"dropped.{outcome}"))
                kept[index] = False
            else:
                replaced[index] = outcome
                events += [Event(row, part, f"truncated.{what}") for what in outcome.cut]
        return _joined(replaced)

    def _fit(self, renderings: Renderings, index: int, example: TokenizedExample) -> TokenizedExample | str:
        """The truncated example, or the reason to drop it."""
        room = self._room(renderings)
        if self.truncation == "error":
            raise self._too_long(renderings, index, num_tokens=self.max_length - room + example.length)
        if self.truncation in METHODS:
            return METHODS[self.truncation](example, room=room)
        fit = Fit(lambda rendering: self._fits(rendering, room), self.reference.token_ends)
        shortened = renderings.shorten(index, self.truncation, fit)
        if shortened is None:
            return "longer_than_max_length"
        return _split(self._tokenized(shortened.rendering))[0]._replace(cut=shortened.cut)

    def _fits(self, rendering: Renderings, room: int) -> bool:
        """Whether the only example of a rendering has at most `room` tokens; of a long one, only a start is encoded.

        Twice the room, because a special token that a row spells can have less tokens as ordinary text.
        """
        if self.runs.exceeds(rendering, 2 * max(room, 0) + MARGIN):
            return False
        return bool(self._tokenized(rendering).lengths[0] <= room)

    def _tokenized(self, renderings: Renderings) -> _Examples:
        return _examples(self.runs.encode(renderings)[0], renderings.layout)

    def _chunk(self, renderings: Renderings, examples: _Examples, epoch: int) -> Chunk:
        """The examples with all their tokens, dropped examples included."""
        added = self.runs.added(renderings)
        records = self._records(renderings, examples, len(added), epoch)
        spans = (examples.spans + np.int32(len(added))) if len(added) else examples.spans
        chunk = Chunk(self._assemble(examples, added), spans, records, renderings.rows, renderings.num_rendered)
        return with_prompts_trained(chunk) if self.trains_prompts else chunk

    def _assemble(self, examples: _Examples, added_ids: Int32Array) -> list[bytes]:
        """The ids of each example as bytes: those that the tokenizer adds, those of the runs, the eos."""
        added, eos = added_ids.tobytes(), np.array([self.eos_token_id], np.int32).tobytes()
        tokens = examples.tokens
        ids, ends = tokens.ids.data, tokens.offsets.tolist()
        return [
            b"".join((added, ids[start:end], eos if has_eos else b""))
            for (start, end), has_eos in zip(pairwise(ends), examples.has_eos.tolist(), strict=True)
        ]

    def _records(self, renderings: Renderings, examples: _Examples, num_added: int, epoch: int) -> Records:
        records = np.empty(len(renderings), EXAMPLE_RECORD)
        records["length"] = num_added + examples.lengths
        records["num_spans"], records["part"], records["epoch"] = examples.num_spans, renderings.parts, epoch
        records["shard"], records["row"] = renderings.shards[renderings.rows], renderings.numbers[renderings.rows]
        return records

    def _too_long(self, renderings: Renderings, index: int, *, num_tokens: int) -> RowError:
        return RowError(
            f"{self.runs.position(renderings, index)}: the row has {num_tokens:,} tokens and max_length is "
            f"{self.max_length:,}, with truncation_config.method error; raise packing_config.kwargs.max_length, or "
            f"choose {_methods_for(renderings)}"
        )


def _methods_for(renderings: Renderings) -> str:
    """The truncation methods that suit the rows."""
    if renderings.is_text:
        return "split, right or drop"
    if renderings.ids is not None:
        return "drop, last_turns or right"
    return "drop, turns, last_turns or right" if renderings.is_complete else "drop, contexts, input or right"


def _examples(runs: Ragged, layout: RunLayout) -> _Examples:
    """The runs of each example, joined; every trained run is a span."""
    tokens = Ragged(runs.ids, runs.offsets[layout.offsets])
    return _Examples(tokens, layout.spans(runs.offsets), layout.num_trained, layout.has_eos)


def _may_be_untrained(examples: _Examples) -> bool:
    """Whether an example may have no token with a label. A span of two or more tokens always leaves one."""
    shortest = (examples.spans[:, 1] - examples.spans[:, 0]).min(initial=2)
    return bool(shortest < 2 or examples.num_spans.min(initial=1) < 1)


def _split(examples: _Examples) -> list[TokenizedExample]:
    spans = Ragged(examples.spans, offsets_of(examples.num_spans)).split()
    return list(map(TokenizedExample, examples.tokens.split(), spans, examples.has_eos.tolist()))


def _joined(examples: list[TokenizedExample]) -> _Examples:
    return _Examples(
        tokens=Ragged.of([example.ids for example in examples]),
        spans=np.concatenate([example.spans for example in examples]),
        num_spans=np.array([len(example.spans) for example in examples]),
        has_eos=np.array([example.has_eos for example in examples], np.bool_),
    )


def _spelling_events(renderings: Renderings, spelled: BoolArray) -> list[Event]:
    """One event for each row that spells a special token, for the first example with such a token.

    Args:
        spelled: Whether a row spells a special token in each run, shape `[m]`.
    """
    examples = renderings.layout.example_of_run[spelled]
    _, firsts = np.unique(renderings.rows[examples], return_index=True)
    chosen = np.zeros(len(renderings), np.bool_)
    chosen[examples[firsts]] = True
    return _events(renderings, chosen, "special_tokens_in_rows")


def _events(renderings: Renderings, chosen: BoolArray, name: str) -> list[Event]:
    """One event for each chosen example; `chosen` has the shape `[n]`."""
    rows, parts = renderings.rows[chosen].tolist(), renderings.parts[chosen].tolist()
    return [Event(row, part, name) for row, part in zip(rows, parts, strict=True)]
