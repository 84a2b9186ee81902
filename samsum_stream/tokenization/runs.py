"""Runs of rendered examples to token ids: all runs of a chunk in one batched call."""

from collections.abc import Callable, Sequence
from itertools import chain, groupby
from operator import attrgetter
from typing import Literal

import numpy as np

from samsum_stream.errors import RowError
from samsum_stream.tokenization.backends import MAX_WHOLE, Backend, WholeTextError
from samsum_stream.tokenization.border import Border
from samsum_stream.tokenization.cuts import PART
from samsum_stream.tokenization.restarts import runs_that_restart, texts_of
from samsum_stream.tokenization.special_tokens import SpecialTokens
from samsum_stream.values.arrays import BoolArray, Int32Array, Int64Array, Ragged
from samsum_stream.values.renderings import Renderings, Segment
from samsum_stream.values.rows import RowPosition
from samsum_stream.values.runs import Shape


class RunEncoder:
    """Encodes runs, without the tokens that the tokenizer adds and without the eos.

    Args:
        backend: Encodes texts.
        border: How the tokenizer encodes the start of a text.
        special_tokens: Encodes texts in which a row spells a special token.
        policy: What happens to such texts (`tokenizer_config.special_tokens_in_rows`).
        locate: Returns the position of a row from its shard number and its row number, for errors.

    Raises:
        TokenizerError: the policy is `text`, and the tokenizer gives a special token for ordinary text.
    """

    def __init__(
        self,
        *,
        backend: Backend,
        border: Border,
        special_tokens: SpecialTokens,
        policy: Literal["text", "parse", "error"],
        locate: Callable[[int, int], RowPosition],
    ) -> None:
        self.backend, self.border = backend, border
        self.special_tokens, self.policy, self.locate = special_tokens, policy, locate
        self._weights: dict[Shape, Int64Array] = {}
        if policy == "text":
            special_tokens.require_ordinary_text()

    def encode(self, renderings: Renderings) -> tuple[Ragged, BoolArray]:
        """Encode all `m` runs.

        Returns:
            The ids of each run, and whether a row spells a special token in each run, shape `[m]`.

        Raises:
            RowError: a row spells a special token, and the policy is `error`; or a long text cannot be cut into parts.
            TokenizerError: the tokenizer merged a completion with the text before it.
        """
        if renderings.ids is not None:
            return renderings.ids, np.zeros(len(renderings.ids.lengths), np.bool_)
        try:
            return self._encoded_texts(renderings)
        except WholeTextError:
            raise self._cannot_be_cut(renderings) from None

    def _encoded_texts(self, renderings: Renderings) -> tuple[Ragged, BoolArray]:
        runs = self._encoded(renderings)
        differs = self.special_tokens.weigh(runs) != renderings.per_run(self._format_weights)
        spelled = differs if renderings.pieces is None else differs | renderings.pieces.has_ordinary
        if not spelled.any():
            return runs, spelled
        if self.policy == "error":
            raise self._spells(renderings, int(renderings.layout.example_of_run[spelled.argmax()]))
        if self.policy == "text":
            runs = runs.replace(self._ordinary(renderings, np.flatnonzero(differs)))
        return runs, spelled

    def exceeds(self, renderings: Renderings, number: int) -> bool:
        """Whether a start of the texts has more than `number` tokens already; false for texts that are not long."""
        pieces = renderings.pieces
        texts = [renderings.texts[index] for index in np.unique(pieces.of_runs.ids)] if pieces else renderings.texts
        if sum(map(len, texts)) <= PART:
            return False
        for part in chain.from_iterable(map(self.special_tokens.cuts.parts, texts)):
            number -= len(self.backend.encode([part]).ids)
            if number < 0:
                return True
        return False

    def _encoded(self, renderings: Renderings) -> Ragged:
        """The ids of each run; only pieces that are marked as ordinary are encoded as ordinary text."""
        texts, continues, pieces = texts_of(renderings, self.border.restarting)
        encoded = self.special_tokens.cuts.encode(texts, continues, self._encoded_parts)
        if pieces is None:
            return encoded
        encode = self.special_tokens.encode
        ordinary = {piece: encode([_spelled(texts[piece])], continues=True) for piece in pieces.ordinary}
        return encoded.replace(ordinary).joined(pieces.of_runs)

    def _encoded_parts(self, texts: list[str], continues: BoolArray) -> Ragged:
        return self.border.unmark(self.backend.encode(self.border.mark(texts, continues)), continues)

    def added(self, renderings: Renderings) -> Int32Array:
        """The tokens that the tokenizer adds at the start of each example, shape `[a]`."""
        return self.border.added[:0] if renderings.is_complete else self.border.added

    def prompt_ids(self, prompt: Renderings) -> list[int]:
        """The ids of a prompt: the tokens that the tokenizer adds at the start, then the ids of its text."""
        ids: Int32Array = np.concatenate([self.added(prompt), self.encode(prompt)[0].ids])
        return [*ids.tolist()]

    def _format_weights(self, shape: Shape) -> Int64Array:
        """The weight of the special tokens that the format spells in each run of a shape."""
        if shape not in self._weights:
            weights = [self.special_tokens.weigh_fixed(run.fixed) for run in shape]
            self._weights[shape] = np.array(weights, np.int64)
        return self._weights[shape]

    def _ordinary(self, renderings: Renderings, runs: Int64Array) -> dict[int, Int32Array]:
        """The ids of the given runs, by run; a special token that a row spells is encoded as ordinary text."""
        examples, ids = renderings.layout.example_of_run, {}
        firsts = np.searchsorted(examples, examples)
        restarting = {*runs_that_restart(renderings, self.border.restarting).tolist()}
        for run in runs.tolist():
            segments = _segments_by_run(renderings.segments(int(examples[run])))[run - int(firsts[run])]
            continues = run > firsts[run] and run not in restarting
            ids[run] = self.special_tokens.encode(segments, continues=continues)
        return ids

    def position(self, renderings: Renderings, index: int) -> RowPosition:
        """The position of the row of the example at `index`."""
        row = renderings.rows[index]
        return self.locate(int(renderings.shards[row]), int(renderings.numbers[row]))

    def _cannot_be_cut(self, renderings: Renderings) -> RowError:
        """The error of the text with the longest part."""
        longest = [max(map(len, self.special_tokens.cuts.parts(text))) for text in renderings.texts]
        run = index = longest.index(max(longest))
        if renderings.pieces is not None:
            of_runs = renderings.pieces.of_runs
            run = int(np.searchsorted(of_runs.offsets, np.argmax(of_runs.ids == index), side="right")) - 1
        position = self.position(renderings, int(renderings.layout.example_of_run[run]))
        return RowError(
            f"{position}: the row has {longest[index]:,} characters in succession without a place where the text can "
            f"be cut, and the tokenizers library encodes at most {MAX_WHOLE:,} at a time; skip bad rows by "
            "fault_config, add spaces or newlines, or write tokenizer_config: {backend: fastokens} (with "
            "special_tokens_in_rows: parse if the row spells a special token)",
            position=position,
            reason="no_place_for_a_cut",
        )

    def _spells(self, renderings: Renderings, index: int) -> RowError:
        texts = [segment.text for segment in renderings.segments(index) if segment.from_row]
        spelled = [match.group() for text in texts for match in self.special_tokens.pattern.finditer(text)]
        what = f"the special token {spelled[0]!r}" if spelled else "a special token together with the format's text"
        return RowError(
            f"{self.position(renderings, index)}: the row spells {what}, and tokenizer_config.special_tokens_in_rows "
            "is error; fix the row, or set it to text to encode the spelling as ordinary text"
        )


def _spelled(text: str) -> Segment:
    return Segment(text, from_row=True, trained=False)


def _segments_by_run(segments: Sequence[Segment]) -> list[list[Segment]]:
    """The segments of each run of an example."""
    return [list(run) for _, run in groupby(segments, key=attrgetter("trained"))]
