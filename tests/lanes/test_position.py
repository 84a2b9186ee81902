"""Positions of lanes: which examples before the cursor wait, as lengths of runs."""

from hypothesis import given
from hypothesis import strategies as st

from samsum_stream.lanes.position import START, ChildPosition, Cursor, LanePosition, is_waiting, waiting_runs


def test_runs_alternate_between_examples_that_wait_and_examples_that_are_done() -> None:
    assert waiting_runs([40, 41, 44, 46], start=40, end=48) == (2, 2, 1, 1, 1, 1)
    assert is_waiting((2, 2, 1, 1, 1, 1)).tolist() == [True, True, False, False, True, False, True, False]


def test_the_first_run_is_0_if_the_first_example_is_done() -> None:
    assert waiting_runs([42], start=40, end=43) == (0, 2, 1)
    assert is_waiting((0, 2, 1)).tolist() == [False, False, True]
    assert waiting_runs([], start=40, end=43) == (0, 3)
    assert is_waiting((0, 3)).tolist() == [False] * 3


def test_without_an_example_before_the_cursor_there_are_no_runs() -> None:
    assert waiting_runs([], start=48, end=48) == ()
    assert is_waiting(()).tolist() == []


@given(waits=st.lists(st.booleans(), max_size=40), start=st.integers(0, 1000))
def test_runs_round_trip(waits: list[bool], start: int) -> None:
    waiting = [start + number for number, waits_here in enumerate(waits) if waits_here]
    runs = waiting_runs(waiting, start=start, end=start + len(waits))
    assert is_waiting(runs).tolist() == waits
    assert all(runs[1:]), "only the first run can be 0: states rely on it"
    assert (runs[:1] == (0,)) == (waits[:1] == [False])


def test_cursors_compare_in_reading_order() -> None:
    assert Cursor(0, 3, 9) < Cursor(1, 0, 0) < Cursor(1, 0, 1) < Cursor(1, 1, 0)


def test_the_number_of_waiting_examples_includes_those_of_children() -> None:
    cursor = Cursor(0, 0, 0)
    child = ChildPosition(LanePosition(cursor, (0, 2, 1)), drawn=3, ended=False)
    nested = ChildPosition(LanePosition(cursor, (), children=(child, child)), drawn=6, ended=False)
    assert LanePosition(cursor, (2, 2, 1, 1, 1, 1)).num_waiting == 4
    assert LanePosition(cursor, (), children=(child, nested)).num_waiting == 3
    assert START.num_waiting == 0
