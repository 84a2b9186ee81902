"""Rows, and the rows between them that are left out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream.values.rows import BadRow, DroppedRow, Instructions, RowPosition, Rows


def rows_of(kinds: str) -> Rows:
    """One row for each letter: `k` is kept, `b` is bad, and `d` is dropped."""
    kept = [number for number, kind in enumerate(kinds) if kind == "k"]
    left_out = []
    for number, kind in enumerate(kinds):
        position = RowPosition("rows", "", number, 0)
        if kind != "k":
            left_out.append((number, BadRow(position, "", "x") if kind == "b" else DroppedRow(position, "where")))
    texts = [str(number) for number in kept]
    return Rows(Instructions(texts, texts), np.zeros(len(kept), np.int32), np.array(kept, np.int64), tuple(left_out))


def numbers_of(rows: Rows) -> list[str]:
    """The number and the kind of each row that was read, in order."""
    kinds = {index: f"{row.position.row} {row.outcome}" for index, row in rows.skipped}
    kinds |= {index: f"{row} k" for index, row in zip(rows.indices.tolist(), rows.rows.tolist(), strict=True)}
    return [kinds[index] for index in range(rows.num_read)]


@given(st.text("kbd", max_size=8), st.data())
def test_picked_rows_keep_their_kind(kinds: str, data: st.DataObject) -> None:
    rows = rows_of(kinds)
    order = data.draw(st.permutations(range(len(kinds))))[: data.draw(st.integers(0, len(kinds)))]
    picked = rows.picked(np.array(order, np.int64))
    assert numbers_of(picked) == [numbers_of(rows)[index] for index in order]
    assert picked.content.inputs == [str(row) for row in picked.rows.tolist()]  # type: ignore[union-attr]


@pytest.mark.parametrize(("kinds", "bad"), [("kkk", 0), ("kbd", 1), ("bb", 2), ("d", 0)])
def test_bad_rows_are_not_those_that_are_dropped(kinds: str, bad: int) -> None:
    rows = rows_of(kinds)
    assert (len(rows), rows.num_read, len(rows.bad)) == (kinds.count("k"), len(kinds), bad)
