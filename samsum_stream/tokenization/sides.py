"""Rows to the ids of both sides of the border: what the model is given, and what it learns."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from samsum_stream.errors import RowError
from samsum_stream.prompts import Message
from samsum_stream.prompts.segments import text_of
from samsum_stream.rendering import RowRenderer, message_of
from samsum_stream.samples import Int32Array, Ragged, RowPosition, Rows
from samsum_stream.tokenization.backends import Backend
from samsum_stream.tokenization.border import Border
from samsum_stream.tokenization.special_tokens import SpecialTokens


class Sides(NamedTuple):
    """Both sides of `n` rows, without the tokens that are added in front and without the eos."""

    prompts: Ragged
    responses: Ragged

    def replace(self, rows: dict[int, tuple[Int32Array, Int32Array]]) -> "Sides":
        """Both sides with some rows exchanged."""
        prompts, responses = self.prompts.split(), self.responses.split()
        for index, (prompt, response) in rows.items():
            prompts[index], responses[index] = prompt, response
        return Sides(Ragged.of(prompts), Ragged.of(responses))


class SideEncoder:
    """Renders a chunk of rows and encodes it in two batched calls, one a side.

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

    def encode(self, rows: Rows) -> tuple[Sides, int]:
        """Both sides, and how many of the rows spell a special token.

        Raises:
            RowError: a row spells a special token, and the policy is `error`.
        """
        spelled = self.special_tokens.spelled_in(rows)
        if spelled and self.policy == "error":
            raise self._spells(rows, spelled[0])
        prompts, responses = self.renderer.texts(rows)
        marked = [self.border.mark(text) for text in responses]
        sides = Sides(self.backend.encode(prompts), self.border.continuations(self.backend.encode(marked)))
        if spelled and self.policy == "text":
            sides = sides.replace({index: self._encode_apart(rows, index) for index in spelled})
        return sides, len(spelled)

    def encode_prompts(self, rows: Rows) -> list[list[int]]:
        """What the model is given at inference for each row: the tokens that are added in front, then the prompt."""
        added = self.border.added.tolist()
        return [[*added, *prompt.tolist()] for prompt in self.encode(rows)[0].prompts.split()]

    def encode_one(self, message: Message) -> tuple[Int32Array, Int32Array]:
        """Both sides of a message that is no row of the source, such as a shortened one."""
        nowhere = np.zeros(1, np.int64)
        contexts = [list(message.contexts)] if message.contexts else None
        rows = Rows([message.input], [message.response or ""], contexts, nowhere.astype(np.int32), nowhere)
        sides, _ = self.encode(rows)
        return sides.prompts.ids, sides.responses.ids

    def _encode_apart(self, rows: Rows, index: int) -> tuple[Int32Array, Int32Array]:
        prompt, response = self.renderer.split(message_of(rows, index))
        return (
            np.array(self.special_tokens.encode(prompt, continues=False), np.int32)
            if self.special_tokens.spelled_by_row(prompt)
            else self.backend.encode([text_of(prompt)]).ids,  # as at inference, where there is no response
            np.array(self.special_tokens.encode(response, continues=True), np.int32),
        )

    def _spells(self, rows: Rows, index: int) -> RowError:
        texts = (rows.inputs[index], rows.responses[index], *(rows.contexts[index] if rows.contexts else ()))
        found = next(match for text in texts if (match := self.special_tokens.pattern.search(text)))
        return RowError(
            f"{self._where(rows, index)}: the row spells the special token {found.group()!r}, and "
            "tokenizer_config.special_tokens_in_rows is error; mend the row, or say text to encode it as ordinary text"
        )

    def _where(self, rows: Rows, index: int) -> RowPosition:
        return self.locate(int(rows.shards[index]), int(rows.rows[index]))
