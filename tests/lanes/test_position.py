"""Positions: which rows before the cursor wait, as lengths of runs."""

from hypothesis import given
from hypothesis import strategies as st

from samsum_stream.lanes.position import Place, runs_of, waits_of


def test_runs_alternate_between_rows_that_wait_and_rows_that_are_done() -> None:
    assert runs_of([40, 41, 44, 46], cursor=48) == (2, 2, 1, 1, 1, 1)
    assert waits_of((2, 2, 1, 1, 1, 1)).tolist() == [True, True, False, False, True, False, True, False]


def test_where_no_row_waits_there_are_no_runs() -> None:
    assert runs_of([], cursor=48) == ()
    assert not len(waits_of(()))


@given(waiting=st.sets(st.integers(100, 800), min_size=1), behind=st.integers(1, 50))
def test_runs_tell_which_rows_wait(waiting: set[int], behind: int) -> None:
    cursor = max(waiting) + behind
    waits = waits_of(runs_of(sorted(waiting), cursor=cursor))
    assert len(waits) == cursor - min(waiting)
    assert {min(waiting) + place for place in waits.nonzero()[0].tolist()} == waiting


def test_places_compare_as_a_lane_reads_them() -> None:
    assert Place(0, 3, 9) < Place(1, 0, 0) < Place(1, 0, 1) < Place(1, 1, 0)
