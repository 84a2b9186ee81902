"""A view has exactly the rows of its set, in their order, at their positions, from any row on."""

from collections.abc import Iterator, Sequence
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream.errors import RowError, SourceError
from samsum_stream.sources import Block, IndexedSource, SequentialSource, Shard, as_source
from samsum_stream.sources.rows.locator import Locator
from samsum_stream.sources.views import (
    CountedRows,
    HashedRows,
    IndexedView,
    Listed,
    RowSet,
    SequentialView,
    Sliced,
    SlicedRows,
    row_sets,
)
from samsum_stream.values.rows import Conversations, Instructions, Rows

SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=5).filter(sum)


class Shards(SequentialSource):
    """Shards of these sizes. The text of a row is its position, and the rows in `bad` are bad."""

    def __init__(self, sizes: Sequence[int], *, are_known: bool = False, bad: Sequence[tuple[int, int]] = ()) -> None:
        shards = tuple(Shard(str(number), size if are_known else None) for number, size in enumerate(sizes))
        super().__init__(name="rows", shards=shards)
        self.sizes, self.bad = sizes, bad

    def blocks(self, shard: int, *, num_rows: int, start: int = 0) -> Iterator[Block]:
        for row in range(start, self.sizes[shard], num_rows):
            numbers = np.arange(row, min(row + num_rows, self.sizes[shard]))
            yield Block(len(numbers), lambda indices, of=numbers: self.rows_of(shard, of[indices]), 8 * len(numbers))

    def rows_of(self, shard: int, numbers: np.ndarray) -> Rows:
        for index, number in enumerate(numbers.tolist()):
            if (shard, number) in self.bad:
                raise Locator.in_shard(self, shard, numbers).error(index, "is bad", reason="bad")
        texts = [f"{shard}:{number}" for number in numbers.tolist()]
        return Rows(Instructions(texts, texts), np.full(len(numbers), shard, np.int32), numbers)


@st.composite
def listed(draw: st.DrawFn, num_rows: int) -> Listed:
    numbers = draw(st.sets(st.integers(0, num_rows - 1)))
    return Listed(np.array(sorted(numbers), np.int64), num_rows=num_rows, others=draw(st.booleans()))


@st.composite
def slices(draw: st.DrawFn) -> range:
    start = draw(st.integers(0, 30))
    return range(start, start + draw(st.integers(0, 40)), draw(st.integers(1, 5)))


@st.composite
def row_sets_of(draw: st.DrawFn, source: Shards) -> RowSet:
    if None in [shard.num_rows for shard in source.shards] and draw(st.booleans()):
        return SlicedRows([draw(slices()) for _ in source.shards])
    if None in [shard.num_rows for shard in source.shards]:
        share, key = draw(st.floats(0, 1, exclude_min=True, exclude_max=True)), draw(st.integers(0, 99))
        return HashedRows(source.shards, share=share, key=key, others=draw(st.booleans()))
    return CountedRows(draw(listed(sum(source.sizes))), source.shards)


def members(row_set: RowSet, shard: int, size: int) -> list[str]:
    return [f"{shard}:{row}" for row in np.flatnonzero(row_set.contains(shard, np.arange(size))).tolist()]


def texts_of(rows: Rows) -> list[str]:
    """The texts of rows, which have the shards and numbers that their texts say."""
    positions = zip(rows.shards.tolist(), rows.rows.tolist(), strict=True)
    assert isinstance(rows.content, Instructions)
    assert rows.content.inputs == rows.content.responses == [f"{shard}:{row}" for shard, row in positions]
    return rows.content.inputs


def whole(block: Block) -> list[str]:
    return texts_of(block.take(np.arange(block.num_rows)))


class TestNumbers:
    @given(st.data(), st.integers(1, 60))
    def test_rank_is_the_inverse_of_select(self, data: st.DataObject, num_rows: int) -> None:
        numbers = data.draw(listed(num_rows))
        selected = numbers.select(np.arange(len(numbers)))
        assert (np.diff(selected) > 0).all()
        assert numbers.rank(np.arange(num_rows + 1)).tolist() == [
            int((selected < row).sum()) for row in range(num_rows + 1)
        ]

    @given(st.sets(st.integers(0, 59)))
    def test_the_others_are_the_complement(self, chosen: set[int]) -> None:
        array = np.array(sorted(chosen), np.int64)
        some, others = (Listed(array, num_rows=60, others=is_other) for is_other in (False, True))
        assert some.select(np.arange(len(some))).tolist() == sorted(chosen)
        assert others.select(np.arange(len(others))).tolist() == sorted({*range(60)} - chosen)

    @given(st.integers(0, 70), st.integers(1, 70), st.integers(1, 9), st.integers(1, 60))
    def test_a_slice_has_the_numbers_of_a_range(self, start: int, length: int, step: int, num_rows: int) -> None:
        chosen = range(start, start + length, step)
        numbers, expected = Sliced(chosen, num_rows=num_rows), [*range(num_rows)][start : start + length : step]
        assert numbers.select(np.arange(len(numbers))).tolist() == expected
        ranks = [sum(row < number for row in expected) for number in range(num_rows + 1)]
        assert numbers.rank(np.arange(num_rows + 1)).tolist() == ranks


class TestHashedRows:
    SHARDS = tuple(Shard(name, None) for name in ("a", "b", "c"))

    def test_the_share_holds(self) -> None:
        for share in (0.001, 0.01, 0.3):
            rows = HashedRows(self.SHARDS, share=share, key=7)
            number = sum(int(rows.contains(shard, np.arange(10**6)).sum()) for shard in range(3))
            assert abs(number - 3e6 * share) < 5 * (3e6 * share) ** 0.5

    def test_shards_and_keys_give_independent_rows(self) -> None:
        one, other = (HashedRows(self.SHARDS, share=0.1, key=key) for key in (1, 2))
        pairs = [(one, 0, one, 1), (one, 0, other, 0)]
        for first, shard, second, other_shard in pairs:
            both = first.contains(shard, np.arange(10**6)) & second.contains(other_shard, np.arange(10**6))
            assert abs(int(both.sum()) - 10_000) < 500

    def test_a_new_shard_does_not_change_the_rows_of_the_others(self) -> None:
        before = HashedRows(self.SHARDS, share=0.3, key=7)
        after = HashedRows((Shard("0", None), *self.SHARDS), share=0.3, key=7)
        for shard in range(3):
            assert members(before, shard, 500) == [
                text.replace(str(shard + 1), str(shard), 1) for text in members(after, shard + 1, 500)
            ]

    def test_the_rows_never_change(self) -> None:
        """A run that continues with a later version must find the same rows."""
        rows = HashedRows(self.SHARDS, share=0.1, key=7)
        assert np.flatnonzero(rows.contains(1, np.arange(60))).tolist() == [3, 5, 14, 22, 24, 32, 42]

    @pytest.mark.parametrize("scanned", [1, 7, 1 << 16])
    def test_the_end_of_rows_is_found_in_steps(self, scanned: int) -> None:
        rows = HashedRows(self.SHARDS, share=0.1, key=7)
        chosen = np.flatnonzero(rows.contains(0, np.arange(1000))).tolist()
        with mock.patch.object(row_sets, "SCANNED", scanned):
            assert [rows.end_of(0, number) for number in range(len(chosen) + 1)] == [0, *(row + 1 for row in chosen)]


class TestIndexedView:
    @given(st.data(), st.integers(1, 60))
    def test_has_the_rows_of_its_set(self, data: st.DataObject, num_rows: int) -> None:
        source = as_source(
            [{"input": f"0:{row}", "response": f"0:{row}"} for row in range(num_rows)], name="r", columns={}
        )
        assert isinstance(source, IndexedSource)
        numbers = data.draw(listed(num_rows))
        view = IndexedView(source, numbers)
        chosen = [f"0:{row}" for row in numbers.select(np.arange(len(numbers))).tolist()]
        assert view.num_rows == len(chosen)
        indices = data.draw(st.lists(st.integers(0, max(len(chosen) - 1, 0)), max_size=9 if chosen else 0))
        assert texts_of(view.take(np.array(indices, np.int64))) == [chosen[index] for index in indices]

    def test_counts_the_rows_of_each_shard(self) -> None:
        source = mock.Mock(spec=IndexedSource, shards=(Shard("a", 3), Shard("b", 0), Shard("c", 4)))
        source.name = "rows"
        source.read_position.side_effect = lambda shard, row, epoch: (shard, row, epoch)
        view = IndexedView(source, Listed(np.array([0, 2, 4]), num_rows=7, others=True))
        assert view.shards == (Shard("a", 1), Shard("b", 0), Shard("c", 3))
        assert [view.read_position(0, 0, 5), view.read_position(2, 0, 5), view.read_position(2, 2, 5)] == [
            (0, 1, 5),
            (2, 0, 5),
            (2, 3, 5),
        ]


class TestSequentialView:
    @given(st.data(), SIZES, st.booleans(), st.integers(1, 12))
    def test_has_blocks_of_equal_size_from_any_row_on(
        self, data: st.DataObject, sizes: list[int], are_known: bool, num_rows: int
    ) -> None:
        source = Shards(sizes, are_known=are_known)
        row_set = data.draw(row_sets_of(source))
        view = SequentialView(source, row_set)
        for shard, size in enumerate(sizes):
            chosen = members(row_set, shard, size)
            assert view.shards[shard].num_rows == (len(chosen) if are_known else None)
            start = data.draw(st.integers(0, len(chosen)))
            blocks = list(view.blocks(shard, num_rows=num_rows, start=start))
            assert [text for block in blocks for text in whole(block)] == chosen[start:]
            assert all(block.num_rows == num_rows for block in blocks[:-1])
            assert all(1 <= block.num_rows <= num_rows for block in blocks)

    @given(st.data(), SIZES, st.booleans())
    def test_gives_rows_in_the_order_that_is_asked_for(
        self, data: st.DataObject, sizes: list[int], are_known: bool
    ) -> None:
        source = Shards(sizes, are_known=are_known)
        view = SequentialView(source, data.draw(row_sets_of(source)))
        for shard in range(len(sizes)):
            for block in view.blocks(shard, num_rows=9):
                order = data.draw(st.permutations(range(block.num_rows)))
                expected = whole(block)
                assert texts_of(block.take(np.array(order))) == [expected[index] for index in order]

    @given(st.data(), SIZES, st.booleans())
    def test_reports_the_position_of_the_row_in_the_source(
        self, data: st.DataObject, sizes: list[int], are_known: bool
    ) -> None:
        source = Shards(sizes, are_known=are_known)
        row_set = data.draw(row_sets_of(source))
        view = SequentialView(source, row_set)
        for shard, size in enumerate(sizes):
            chosen = [int(text.split(":")[1]) for text in members(row_set, shard, size)]
            positions = [view.read_position(shard, row, 3) for row in range(len(chosen) + 1)]
            assert [position.row for position in positions] == [0, *(row + 1 for row in chosen)]
            assert {(position.source, position.shard, position.epoch) for position in positions} == {
                ("rows", str(shard), 3)
            }

    def test_a_view_with_few_rows_frees_the_blocks_that_it_has_read(self) -> None:
        """The rows are parsed at once, so that a block of the view does not hold a hundred blocks of the source."""
        source = Shards([10_000], are_known=True)
        view = SequentialView(source, CountedRows(Listed(np.arange(0, 10_000, 100), num_rows=10_000), source.shards))
        with mock.patch.object(source, "rows_of", wraps=source.rows_of) as take:
            (block,) = view.blocks(0, num_rows=500)
            assert take.call_count == 20
            assert whole(block) == [f"0:{row}" for row in range(0, 10_000, 100)]
            assert take.call_count == 20
        assert block.num_bytes == 8 * 100

    @pytest.mark.parametrize("step", [1, 100])
    def test_a_bad_row_raises_when_it_is_taken(self, step: int) -> None:
        source = Shards([1000], are_known=True, bad=[(0, 500)])
        view = SequentialView(source, CountedRows(Listed(np.arange(0, 1000, step), num_rows=1000), source.shards))
        blocks = list(view.blocks(0, num_rows=1000))
        with pytest.raises(RowError, match="rows/0:500"):
            whole(blocks[0])
        others = np.delete(np.arange(1000 // step), 500 // step)
        assert texts_of(blocks[0].take(others)) == [f"0:{row * step}" for row in others.tolist()]

    def test_a_bad_row_that_is_left_out_is_never_parsed(self) -> None:
        source = Shards([1000], are_known=True, bad=[(0, 500)])
        row_set = CountedRows(Listed(np.array([500]), num_rows=1000, others=True), source.shards)
        assert sum(len(whole(block)) for block in SequentialView(source, row_set).blocks(0, num_rows=64)) == 999

    def test_a_shard_that_is_too_short_is_an_error_that_gives_its_own_numbers(self) -> None:
        source = Shards([100], are_known=True)
        view = SequentialView(source, CountedRows(Listed(np.arange(10), num_rows=100, others=True), source.shards))
        source.sizes = [60]
        with pytest.raises(SourceError, match="rows/0:60: the shard promised 100 rows and has 60"):
            list(view.blocks(0, num_rows=16))

    def test_rows_after_the_last_one_are_not_read(self) -> None:
        source = as_source(iter([{"input": "0:0", "response": "0:0"}] * 10), name="r", columns={})
        assert isinstance(source, SequentialSource)
        view = SequentialView(source, SlicedRows([range(2, 4)]))
        assert [block.num_rows for block in view.blocks(0, num_rows=512)] == [2]
        assert source._last.iterator.__length_hint__() == 6  # type: ignore[attr-defined]

    @pytest.mark.parametrize("others", [False, True])
    def test_the_first_rows_of_an_iterator_are_read_again(self, others: bool) -> None:
        source = as_source(
            iter([{"input": f"0:{row}", "response": f"0:{row}"} for row in range(300)]), name="r", columns={}
        )
        assert isinstance(source, SequentialSource)
        row_set = HashedRows(source.shards, share=0.2, key=1, others=others)
        view = SequentialView(source, row_set)
        expected = members(row_set, 0, 300)
        assert whole(view.first_block(8)) == expected[:8]
        assert [text for block in view.blocks(0, num_rows=20) for text in whole(block)] == expected

    def test_the_first_rows_come_from_the_first_shard_that_has_some(self) -> None:
        source = Shards([3, 50, 50])
        row_set = HashedRows(source.shards, share=0.02, key=2)
        firsts = [members(row_set, shard, size) for shard, size in enumerate(source.sizes)]
        assert firsts[0] == []
        assert whole(SequentialView(source, row_set).first_block(1)) == next(filter(None, firsts))[:1]


class TestPickedRows:
    def test_all_columns_are_picked(self) -> None:
        content = Instructions(["a", "b", "c"], ["d", "e", "f"], [["1"], [], ["2"]])
        picked = Rows(content, np.zeros(3, np.int32), np.arange(3)).picked(np.array([2, 0]))
        assert picked.content == Instructions(["c", "a"], ["f", "d"], [["2"], ["1"]])
        assert picked.rows.tolist() == [2, 0]

    def test_no_contexts_stay_none(self) -> None:
        picked = Rows(Instructions(["a"], ["b"]), np.zeros(1, np.int32), np.arange(1)).picked(np.array([0, 0]))
        assert picked.content == Instructions(["a", "a"], ["b", "b"], None)

    def test_conversations(self) -> None:
        conversations: list[object] = ["x", "y"]
        rows = Rows(Conversations(conversations), np.zeros(2, np.int32), np.arange(2))  # type: ignore[arg-type]
        assert rows.picked(np.array([1])).content == Conversations(["y"])  # type: ignore[list-item]
