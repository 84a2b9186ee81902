"""The tokens that a Trainer reports as seen are those of documents, without padding.

`include_num_input_tokens_seen: non_padding` adds up `attention_mask`, which a packed batch has in another shape or not
at all. Without a mask, the Trainer counts the ids that differ from the padding id, which can be the id of the eos. The
`num_tokens` of TRL's SFTTrainer also needs a mask, or else counts the places of one row.
"""

from typing import Any

import torch

from samsum_stream.errors import ConfigError
from samsum_stream.training.real_tokens import real_tokens


class TokenCount:
    """Counts the tokens of each micro-batch that a Trainer trains on.

    Raises:
        ConfigError: this version of transformers has no method that counts.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer, self._original = trainer, getattr(trainer, "_track_num_input_tokens", None)
        self._total = 0
        if self._original is None and trainer.args.include_num_input_tokens_seen == "non_padding":
            raise ConfigError(
                "include_num_input_tokens_seen: with this version of transformers, non_padding also counts padding; "
                "install a newer version, or set include_num_input_tokens_seen=all"
            )

    def track(self, inputs: dict[str, Any]) -> None:
        """Replaces `Trainer._track_num_input_tokens`."""
        mask, state = real_tokens(inputs), self._trainer.state
        before = state.num_input_tokens_seen
        if self._original is not None:
            self._original({**inputs, "attention_mask": mask})
            # The Trainer counts the tokens of each rank, and the ranks of tensor parallelism share them.
            state.num_input_tokens_seen = before + (state.num_input_tokens_seen - before) // self._trainer.get_tp_size()
        if hasattr(self._trainer, "_total_train_tokens"):
            self._correct_num_tokens(mask)

    def _correct_num_tokens(self, mask: torch.Tensor) -> None:
        """Replace the count of an SFTTrainer, which was updated for the same micro-batch before."""
        trainer = self._trainer
        counts = trainer.accelerator.gather(mask.sum().to(trainer.args.device))
        self._total += int(counts.sum()) // trainer.get_tp_size()
        trainer._total_train_tokens = self._total
        trainer._metrics["train"]["num_tokens"] = [self._total]
