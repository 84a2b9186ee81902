"""Rows to the ids of both sides of the border: what the model is given, and what it learns.

Sides are sequences in turn, as they follow each other in a row: prompt, response, prompt, response, ...
"""

from collections.abc import Callable
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from samsum_stream.errors import RowError
from samsum_stream.prompts import Message
from samsum_stream.prompts.rendering import RowRenderer, message_of
from samsum_stream.tokenization.backends import Backend
from samsum_stream.tokenization.border import Border
from samsum_stream.tokenization.special_tokens import SpecialTokens
from samsum_stream.values.arrays import Int32Array, Ragged
from samsum_stream.values.rows import RowPosition, Rows


class SideEncoder:
    """Renders a chunk of rows and encodes both sides in one batched call.

    Args:
        renderer: Rows to texts.
        backend: Texts to ids.
        border: What the tokenizer does to the start of a text.
        special_tokens: How to encode rows that spell one.
        policy: What happens to such rows (`tokenizer_config.special_tokens_in_rows`).
        locate: `(shard, row)` to the text of a position, for errors.
    """

    def __init__(
        self,
        renderer: RowRenderer,
        *,
        backend: Backend,
        border: Border,
        special_tokens: SpecialTokens,
        policy: Literal["text", "parse", "error"],
        locate: Callable[[int, int], RowPosition],
    ) -> None:
        self.renderer, self.backend, self.border = renderer, backend, border
        self.special_tokens, self.policy, self.locate = special_tokens, policy, locate
        self._own_weights: dict[int, list[int]] = {}
        if policy == "text":
            special_tokens.require_ordinary_text()

    def encode(self, rows: Rows) -> tuple[Ragged, list[int]]:
        """Both sides of `n` rows, less what is added in front and the eos, and which of the rows spell a special token.

        The sides are `2 n` sequences: prompt, response, prompt, response, ...

        Raises:
            RowError: a row spells a special token, and the policy is `error`.
        """
        prompts, responses = self.renderer.texts(rows)
        encoded = self.backend.encode([*chain.from_iterable(zip(prompts, self.border.mark(responses), strict=True))])
        sides = self.border.unmark(encoded)
        own = np.array([self._own_weight(num_contexts) for num_contexts in _context_counts(rows)]).reshape(-1, 2)
        spelled = self.special_tokens.weigh(encoded).reshape(-1, 2) != own
        if not spelled.any():
            return sides, []
        if self.policy == "error":
            raise self._spells(rows, int(spelled.any(axis=1).argmax()))
        if self.policy == "text":
            sides = self._encode_apart(rows, sides, spelled)
        return sides, np.flatnonzero(spelled.any(axis=1)).tolist()

    def encode_prompts(self, rows: Rows) -> list[list[int]]:
        """What the model is given at inference for each row: the tokens that are added in front, then the prompt."""
        added = self.border.added.tolist()
        return [[*added, *prompt.tolist()] for prompt in self.encode(rows)[0].split()[::2]]

    def encode_one(self, message: Message) -> tuple[Int32Array, Int32Array]:
        """Both sides of a message that is no row of the source, such as a shortened one."""
        nowhere = np.zeros(1, np.int64)
        contexts = [list(message.contexts)] if message.contexts else None
        rows = Rows([message.input], [message.response or ""], contexts, nowhere.astype(np.int32), nowhere)
        prompt, response = self.encode(rows)[0].split()
        return prompt, response

    def _own_weight(self, num_contexts: int) -> list[int]:
        """The weight of the special tokens that the format spells on each side of a row with so many contexts."""
        if num_contexts not in self._own_weights:
            probe = self.renderer.split(Message("x", "x", ("x",) * num_contexts))
            self._own_weights[num_contexts] = [self.special_tokens.weigh_own(side) for side in probe]
        return self._own_weights[num_contexts]

    def _encode_apart(self, rows: Rows, sides: Ragged, spelled: NDArray[np.bool_]) -> Ragged:
        """The sides with those that a row forged a token on, shape `[n, 2]`, encoded as ordinary text."""
        apart = {}
        for place in np.flatnonzero(spelled).tolist():
            index, side = divmod(place, 2)
            segments = self.renderer.split(message_of(rows, index))[side]
            apart[place] = np.array(self.special_tokens.encode(segments, continues=side == 1), np.int32)
        return sides.replace(apart)

    def _spells(self, rows: Rows, index: int) -> RowError:
        message = message_of(rows, index)
        own = [match.group() for text in message.words for match in self.special_tokens.pattern.finditer(text)]
        what = f"the special token {own[0]!r}" if own else "a special token together with the words beside its own"
        return RowError(
            f"{self._where(rows, index)}: the row spells {what}, and tokenizer_config.special_tokens_in_rows is error; "
            "mend the row, or say text to encode it as ordinary text"
        )

    def _where(self, rows: Rows, index: int) -> RowPosition:
        return self.locate(int(rows.shards[index]), int(rows.rows[index]))


def _context_counts(rows: Rows) -> list[int]:
    """How many contexts each row has; one count for all where none has any."""
    return [0] if rows.contexts is None else [len(contexts) for contexts in rows.contexts]
