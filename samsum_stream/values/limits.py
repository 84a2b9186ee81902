"""What the tables of a model can look up: ids of its vocabulary, and positions."""

from collections.abc import Iterable
from typing import NamedTuple

from samsum_stream.errors import ConfigError
from samsum_stream.values.batches import Batch
from samsum_stream.values.examples import Example


class Limits(NamedTuple):
    """The sizes of a model's tables.

    Attributes:
        model: The class of the model.
        vocabulary: The number of ids; None if the model does not say it.
        positions: The number of positions; None if the model computes them.
    """

    model: str
    vocabulary: int | None = None
    positions: int | None = None

    def hold(self, batch: Batch) -> bool:
        """Whether the tables have all ids and positions of a batch."""
        has_ids = self.vocabulary is None or int(batch.tokens.ids.max()) < self.vocabulary
        return has_ids and (self.positions is None or int(batch.tokens.lengths.max()) <= self.positions)

    def require(self, examples: Iterable[Example]) -> None:
        """Raise `ConfigError` for the first example with an id or a position that the model lacks."""
        for example in examples:
            largest, length = int(example.input_ids.max()), len(example.input_ids)
            if self.vocabulary is not None and largest >= self.vocabulary:
                raise ConfigError(
                    f"{example.position}: the tokenizer gives the id {largest}, and {self.model} has a vocabulary of "
                    f"{self.vocabulary}; load the model's own tokenizer (base_model), or call "
                    f"model.resize_token_embeddings with a number above {largest}"
                )
            if self.positions is not None and length > self.positions:
                raise ConfigError(
                    f"{example.position}: the document has {length} tokens, and {self.model} has a table of "
                    f"{self.positions} positions; set packing_config.kwargs.max_length to {self.positions}, or load a "
                    "model with more positions"
                )
