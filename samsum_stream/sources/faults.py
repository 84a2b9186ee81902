"""The policy for bad rows: a bad row ends the stream, or is skipped and counted, up to a limit.

take(indices) ──RowError──▶ take each half, recursively ──▶ the good rows, and each bad row with its reason
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from samsum_stream.errors import RowError, SourceError
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.counts import by_reason
from samsum_stream.values.rows import BadRow, Rows

Take = Callable[[Int64Array], Rows]

WINDOW = 1000
"""Rows of a lane over which the rate of bad rows is evaluated."""


class Window(NamedTuple):
    """The bad-row counts of a lane.

    Attributes:
        num_rows: Rows in the current window.
        num_bad: Bad rows in the current window.
        num_known: Different bad rows so far. A bad row is bad in every epoch, and counts in the first one.
    """

    num_rows: int = 0
    num_bad: int = 0
    num_known: int = 0


class Faults(NamedTuple):
    """The policy of a stream; `max_bad_rows` is a number of rows per rank (int), or a rate below 1 (float)."""

    skips: bool = False
    max_bad_rows: int | float = 0

    def take(self, take: Take, indices: Int64Array) -> Rows:
        """The rows that `take` returns for `indices`, without the bad rows if the policy skips them.

        Raises:
            RowError: a row is bad, and bad rows end the stream.
        """
        return _good_rows(take, indices) if self.skips else take(indices)

    def judge(self, window: Window, counts: Mapping[str, int], bad_rows: Sequence[BadRow]) -> Window:
        """The window of a lane after a batch that adds `counts`; a new window starts after 1,000 rows or more.

        Args:
            bad_rows: The bad rows of the batch.

        Raises:
            SourceError: the rate of bad rows is above the limit.
        """
        num_rows, num_bad = window.num_rows + counts.get("rows", 0), window.num_bad + len(bad_rows)
        num_known = window.num_known + sum(bad.position.epoch == 0 for bad in bad_rows)
        if bad_rows and isinstance(self.max_bad_rows, float) and num_bad > self.max_bad_rows * max(num_rows, WINDOW):
            raise self._too_many(f"{num_bad:,} of {num_rows:,} rows of a lane are bad", counts, bad_rows[-1])
        return Window(num_rows, num_bad, num_known) if num_rows < WINDOW else Window(num_known=num_known)

    def require_few(self, num_bad: int, counts: Mapping[str, int], last: BadRow, *, num_ranks: int = 1) -> None:
        """Raise `SourceError` if `num_bad` different bad rows of `num_ranks` ranks are above the limit.

        Args:
            counts: Counts by name, with the number of skipped rows for each reason.
            last: The last bad row.
        """
        if isinstance(self.max_bad_rows, int) and num_bad > self.max_bad_rows * num_ranks:
            raise self._too_many(f"{num_bad:,} rows are bad", counts, last)

    def _too_many(self, problem: str, counts: Mapping[str, int], last: BadRow) -> SourceError:
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in by_reason(counts, "skipped").items())
        field = f", field {last.field!r}" if last.field else ""
        return SourceError(
            f"fault_config.max_bad_rows: {problem}, and the limit is {self.max_bad_rows}; recently skipped: {reasons}, "
            f"last {last.position}{field}; fix the rows, or raise max_bad_rows"
        )


RAISE = Faults()
"""The first bad row ends the stream."""

SKIP = Faults(skips=True)
"""For `take` alone: bad rows are skipped, and no limit is checked."""


def _good_rows(take: Take, indices: Int64Array) -> Rows:
    try:
        return take(indices)
    except RowError as error:
        if len(indices) == 1:
            return Rows.none(BadRow(error.position, error.field, error.reason))
    half = len(indices) // 2
    return Rows.joined(_good_rows(take, indices[:half]), _good_rows(take, indices[half:]))
