"""What went through the stream, counted: every drop and every cut by its reason."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from samsum_stream.samples import Batch


@dataclass
class Counts:
    """What a worker counts beside the batches it sends: rows that never reach one, and rows that it changed.

    `dropped` and `truncated` map a reason to a number of rows.
    """

    special_tokens_in_rows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    truncated: Counter[str] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        return bool(self.special_tokens_in_rows or self.dropped or self.truncated)

    def add(self, other: "Counts") -> None:
        self.special_tokens_in_rows += other.special_tokens_in_rows
        self.dropped.update(other.dropped)
        self.truncated.update(other.truncated)

    def take(self) -> "Counts":
        """What was counted since the last `take`."""
        taken = Counts(self.special_tokens_in_rows, self.dropped, self.truncated)
        self.special_tokens_in_rows, self.dropped, self.truncated = 0, Counter(), Counter()
        return taken


@dataclass
class Stats(Counts):
    """Totals of what was handed over, and of what was left out on the way.

    `rows` are those of the examples handed over and of the dropped ones; `tokens` counts real tokens, no padding;
    `trained_tokens` are those with a label; `capacity` is `packs x max_length`.
    """

    examples: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    packs: int = 0
    capacity: int = 0

    def hand_over(self, batch: Batch, *, max_length: int) -> None:
        """Count a batch that leaves the stream."""
        lengths = batch.tokens.lengths
        self.examples += len(lengths)
        self.tokens += int(lengths.sum())
        self.trained_tokens += int(np.maximum(lengths - batch.num_masked_tokens, 0).sum())
        self.packs += len(batch.pack_sizes)
        self.capacity += len(batch.pack_sizes) * max_length

    def __str__(self) -> str:
        counts = [
            f"{name} {getattr(self, name):,}" for name in ("rows", "examples", "tokens", "trained_tokens", "packs")
        ]
        left_out = [f"{name} {dict(getattr(self, name))}" for name in ("dropped", "truncated") if getattr(self, name)]
        return ", ".join([*counts, f"efficiency {self.efficiency:.2%}", *left_out])

    @property
    def rows(self) -> int:
        return self.examples + self.dropped.total()

    @property
    def efficiency(self) -> float:
        """Real tokens / capacity, 0 to 1; 0 before the first pack."""
        return self.tokens / self.capacity if self.capacity else 0.0
