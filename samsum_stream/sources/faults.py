"""What becomes of a bad row: it ends the stream, or it is skipped and counted, up to a limit.

take(indices) ──RowError──▶ halves, and halves of halves ──▶ the good rows, and each bad one with its reason
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from samsum_stream.errors import RowError, SourceError
from samsum_stream.values.arrays import Int64Array
from samsum_stream.values.counts import by_reason, num_rows_of
from samsum_stream.values.rows import BadRow, Rows

Take = Callable[[Int64Array], Rows]

WINDOW = 1000
"""Rows of a lane that a rate of bad rows is judged on."""


class Window(NamedTuple):
    """Of a lane: rows since the last ones were judged, how many of them were bad, and its bad rows so far, each once.

    A row that is bad is so in every epoch, and counts in the first one.
    """

    num_rows: int = 0
    num_bad: int = 0
    num_known: int = 0


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

    def judge(self, window: Window, counts: Mapping[str, int], bad_rows: Sequence[BadRow]) -> Window:
        """The window of a lane after a batch that adds `counts`; one of 1,000 rows and more is followed by a new one.

        Args:
            bad_rows: Those that the batch adds.

        Raises:
            SourceError: the share of bad rows is larger than the policy bears.
        """
        num_rows, num_bad = window.num_rows + num_rows_of(counts), window.num_bad + len(bad_rows)
        num_known = window.num_known + sum(bad.position.epoch == 0 for bad in bad_rows)
        if bad_rows and isinstance(self.max_bad_rows, float) and num_bad > self.max_bad_rows * max(num_rows, WINDOW):
            raise self._too_many(f"{num_bad:,} rows are bad among {num_rows:,} rows of a lane", counts, bad_rows[-1])
        return Window(num_rows, num_bad, num_known) if num_rows < WINDOW else Window(num_known=num_known)

    def require_few(self, num_bad: int, counts: Mapping[str, int], last: BadRow, *, num_ranks: int = 1) -> None:
        """Raises `SourceError` where so many different bad rows of so many ranks are more than the policy bears.

        Args:
            counts: Among others, how many rows were skipped for which reason.
            last: The last of them.
        """
        if isinstance(self.max_bad_rows, int) and num_bad > self.max_bad_rows * num_ranks:
            raise self._too_many(f"{num_bad:,} rows are bad", counts, last)

    def _too_many(self, found: str, counts: Mapping[str, int], last: BadRow) -> SourceError:
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in by_reason(counts, "skipped").items())
        field = f", field {last.field!r}" if last.field else ""
        return SourceError(
            f"fault_config.max_bad_rows: {found}, and {self.max_bad_rows} may be; the last ones: {reasons}, of which "
            f"the last is {last.position}{field}; mend the rows, or raise max_bad_rows"
        )


RAISE = Faults()
"""The first bad row ends the stream."""

SKIP = Faults(skips=True)
"""Bad rows are left out, to see what remains."""


def _salvaged(take: Take, indices: Int64Array) -> Rows:
    try:
        return take(indices)
    except RowError as error:
        if len(indices) == 1:
            return Rows.none(BadRow(error.position, error.field, error.reason))
    half = len(indices) // 2
    return Rows.joined(_salvaged(take, indices[:half]), _salvaged(take, indices[half:]))
