"""What becomes of a bad row: it ends the stream, or it is skipped and counted, up to a limit.

take(indices) ──RowError──▶ halves, and halves of halves ──▶ the good rows, and each bad one with its reason
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from samsum_stream.errors import RowError, SourceError
from samsum_stream.samples import BadRow, Int64Array, Rows
from samsum_stream.stats import by_reason, num_rows_of

Take = Callable[[Int64Array], Rows]

WINDOW = 1000
"""Rows of a lane that a rate of bad rows is judged on."""


class Window(NamedTuple):
    """Of a lane: rows since the last ones were judged, and how many of them were bad."""

    num_rows: int = 0
    num_bad: int = 0


class Faults(NamedTuple):
    """The policy of a stream; `max_bad_rows` is a number of rows of a rank, or a rate below 1."""

    skips: bool = False
    max_bad_rows: int | float = 0

    def take(self, take: Take, indices: Int64Array) -> Rows:
        """What `take` gives at `indices`, less the bad rows where those are skipped.

        Raises:
            RowError: a row is bad, and bad rows end the stream.
        """
        return _salvaged(take, indices) if self.skips else take(indices)

    def judge(
        self, window: Window, counts: Mapping[str, int], bad_rows: Sequence[BadRow], *, num_before: int
    ) -> Window:
        """The window of a lane after a batch that adds `counts`; one of 1,000 rows and more is followed by a new one.

        Args:
            bad_rows: Those that the batch adds.
            num_before: Bad rows of this rank before it.

        Raises:
            SourceError: there are more bad rows than the policy bears.
        """
        window = Window(window.num_rows + num_rows_of(counts), window.num_bad + len(bad_rows))
        if bad_rows:
            is_rate = isinstance(self.max_bad_rows, float)
            num_bad = window.num_bad if is_rate else num_before + len(bad_rows)
            if num_bad > (self.max_bad_rows * max(window.num_rows, WINDOW) if is_rate else self.max_bad_rows):
                among = f" among {window.num_rows:,} rows of a lane" if is_rate else ""
                raise SourceError(self._too_many(f"{num_bad:,} rows are bad{among}", counts, bad_rows[-1]))
        return window if window.num_rows < WINDOW else Window()

    def _too_many(self, found: str, counts: Mapping[str, int], last: BadRow) -> str:
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in by_reason(counts, "skipped").items())
        field = f", field {last.field!r}" if last.field else ""
        return (
            f"fault_config.max_bad_rows: {found}, and {self.max_bad_rows} may be; the last ones: {reasons}, of which "
            f"the last is {last.position}{field}; mend the rows, or raise max_bad_rows"
        )


RAISE = Faults()
"""The first bad row ends the stream."""


def _salvaged(take: Take, indices: Int64Array) -> Rows:
    try:
        return take(indices)
    except RowError as error:
        if len(indices) == 1:
            return _skipped(error)
    half = len(indices) // 2
    return Rows.joined(_salvaged(take, indices[:half]), _salvaged(take, indices[half:]))


def _skipped(error: RowError) -> Rows:
    """No row but a bad one."""
    bad = BadRow(error.position, error.field, error.reason)
    return Rows([], [], None, np.empty(0, np.int32), np.empty(0, np.int64), ((0, bad),))
