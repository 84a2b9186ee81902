"""Counts of delivered, dropped, truncated and skipped data."""

import pickle
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream import SFTStream
from samsum_stream.loader.stats import Stats
from samsum_stream.values.batches import Batch
from samsum_stream.values.counts import COUNTED, Counts, counts_of_batch, counts_of_rows, from_numbers, to_numbers
from samsum_stream.values.examples import Item
from tests.prompts.chat.templates import FORGETS_REASONING
from tests.streams import make_config, make_items, record_of, word_tokenizer

ROUNDS = [{"role": role, "content": word} for word in ("11", "12") for role in ("user", "assistant")]


def stats_of(packs: Sequence[Sequence[Item]], *, max_length: int, num_packs: int = 0) -> Stats:
    stats = Stats()
    batch = Batch.of_items(packs, num_packs=num_packs)
    stats.counts += counts_of_batch(batch, max_length=max_length)
    return stats


def test_a_delivered_batch_counts_tokens_without_padding_and_tokens_with_a_label() -> None:
    first, second, third = make_items([4, 1, 7])
    stats = stats_of([[first, second], [third]], max_length=10)
    assert (stats.rows, stats.examples, stats.packs) == (0, 3, 2), "rows are counted when a lane passes them"
    assert stats.tokens == 4 + 1 + 7
    # Each has one prompt token; the only token of the second is its first token, which has no label.
    assert stats.trained_tokens == 3 + 0 + 6
    assert (stats.capacity, stats.efficiency) == (20, 0.6)


def test_rows_of_padding_count_as_capacity_and_not_as_packs() -> None:
    stats = stats_of([make_items([4, 5]), make_items([9])], max_length=10, num_packs=5)
    assert (stats.examples, stats.packs) == (3, 2)
    assert (stats.tokens, stats.capacity, stats.efficiency) == (18, 50, 0.36)


def test_the_first_token_of_an_example_without_a_prompt_is_not_trained() -> None:
    length, starts_row, ids, _, record, index = make_items([5])[0]
    spans = np.array([[0, length]], np.int32).tobytes()
    assert stats_of([[(length, starts_row, ids, spans, record, index)]], max_length=8).trained_tokens == 4


def test_rows_are_counted_as_rows_and_not_as_their_examples() -> None:
    stats = stats_of([make_items([4, 5])], max_length=10)
    stats.counts += Counts({"dropped.longer_than_max_length": 3, "dropped.no_trained_token": 1})
    assert (stats.rows, stats.examples) == (0, 2)
    stats.counts += counts_of_rows(5, child="")
    assert (stats.rows, stats.examples) == (5, 2)
    assert counts_of_rows(5, child="a/b") == Counts({"rows": 5, "children.a/b.rows": 5})


def test_counts_add_up_by_reason() -> None:
    stats = Stats()
    for _ in range(2):
        stats.counts += Counts({"special_tokens_in_rows": 1, "dropped.no_trained_token": 2, "truncated.input": 3})
    assert stats.special_tokens_in_rows == 2
    assert dict(stats.dropped) == {"no_trained_token": 4}
    assert dict(stats.truncated) == {"input": 6}
    assert stats.rows == 0


def test_reasons_that_did_not_occur_are_not_listed() -> None:
    stats = Stats()
    stats.counts += Counts({"dropped.no_trained_token": 1})
    assert stats.dropped["longer_than_max_length"] == 0
    assert "longer_than_max_length" not in stats.dropped
    assert (dict(stats.truncated), stats.truncated.total()) == ({}, 0)


@given(st.dictionaries(st.sampled_from(COUNTED), st.integers(1, 10**15)))
def test_counts_are_listed_in_a_fixed_order_and_back(numbers: dict[str, int]) -> None:
    written = to_numbers(numbers, COUNTED)
    assert dict(from_numbers(written, COUNTED)) == numbers
    assert written == [numbers.get(name, 0) for name in COUNTED][: len(written)]
    assert not written or written[-1], "zeros at the end are left out"


def test_names_that_were_added_later_are_zero_in_older_numbers() -> None:
    assert from_numbers([9, 7, 30], COUNTED) == Counts(rows=9, examples=7, tokens=30)
    assert (from_numbers([], COUNTED), to_numbers({}, COUNTED)) == (Counts(), [])


def test_the_order_has_every_count_of_a_batch() -> None:
    counts = counts_of_batch(Batch.of_items([make_items([4, 5])]), max_length=10)
    assert set(counts) <= set(COUNTED)
    assert len(set(COUNTED)) == len(COUNTED)
    assert from_numbers(to_numbers(counts, COUNTED), COUNTED) == counts


def test_before_the_first_pack_efficiency_is_zero() -> None:
    assert Stats().efficiency == 0.0


def test_totals_are_plain_numbers() -> None:
    stats = stats_of([make_items([4, 5])], max_length=10)
    for value in (*stats.counts.values(), stats.tokens, stats.trained_tokens, stats.packs, stats.capacity, stats.rows):
        assert type(value) is int, value
    assert not isinstance(stats.efficiency, np.floating)


def test_the_text_of_totals_has_the_left_out_rows() -> None:
    stats = stats_of([make_items([4, 5])], max_length=12)
    stats.counts += counts_of_rows(2, child="")
    assert str(stats) == "rows 2, examples 2, tokens 9, trained_tokens 7, packs 1, efficiency 75.00%"
    stats.counts += Counts({"rows": 1, "dropped.no_trained_token": 1, "truncated.right": 1_000})
    assert str(stats) == (
        "rows 3, examples 2, tokens 9, trained_tokens 7, packs 1, efficiency 75.00%, "
        "dropped {'no_trained_token': 1}, truncated {'right': 1000}"
    )


def test_totals_pickle() -> None:
    stats = stats_of([make_items([4, 5])], max_length=12)
    assert pickle.loads(pickle.dumps(stats)).counts == stats.counts


def stats_of_counts(**counts: int) -> Stats:
    """Totals with these counts; `__` in a name stands for a dot."""
    stats = Stats()
    stats.counts += Counts({name.replace("__", "."): number for name, number in counts.items()})
    return stats


class TestConversations:
    def test_the_trained_turns_of_a_batch_are_its_spans(self) -> None:
        length, starts_row, ids, _, record, index = make_items([9])[0]
        record = record_of((length, starts_row, ids, b"", record, index)).copy()
        record["num_spans"] = 2
        spans = np.array([[1, 3], [5, 9]], np.int32).tobytes()
        stats = stats_of([[(length, starts_row, ids, spans, record.tobytes(), index)]], max_length=10)
        assert dict(stats.turns) == {"trained": 2}
        assert "turns {'trained': 2}" in str(stats)

    def test_one_turn_in_each_example_is_not_worth_a_line(self) -> None:
        stats = stats_of([make_items([4, 5])], max_length=12)
        assert dict(stats.turns) == {"trained": 2}
        assert "turns" not in str(stats) + stats._repr_html_()
        stats.counts += Counts({"turns.thinking_off": 1})
        assert "turns {'trained': 2, 'thinking_off': 1}" in str(stats)

    def test_counts_of_turns_are_by_reason(self) -> None:
        stats = stats_of_counts(
            turns__trained=9, turns__thinking_on=2, turns__after_last_turn=1, turns__no_stop_token=3, splits__history=4
        )
        assert dict(stats.turns) == {"trained": 9, "thinking_on": 2, "after_last_turn": 1}
        assert (dict(stats.untrained_turns), dict(stats.splits)) == ({"no_stop_token": 3}, {"history": 4})

    def test_the_views_have_splits_and_untrained_turns(self) -> None:
        stats = stats_of_counts(
            rows=4, examples=10, turns__trained=12, turns__prompt_is_no_prefix=1, splits__history=5, splits__border=1
        )
        assert stats.examples_per_row == 2.5
        assert str(stats).endswith(
            "turns {'trained': 12}, splits {'history': 5, 'border': 1}, untrained_turns {'prompt_is_no_prefix': 1}"
        )
        page = stats._repr_html_()
        for text in ("examples per row", "2.50", "splits: history", "untrained_turns: prompt_is_no_prefix"):
            assert text in page

    def test_without_rows_there_are_no_examples_per_row(self) -> None:
        assert Stats().examples_per_row == 0.0
        assert (dict(Stats().turns), dict(Stats().splits), dict(Stats().untrained_turns)) == ({}, {}, {})


def test_counts_of_conversations_are_in_states_and_come_from_workers() -> None:
    rows = [{"messages": [dict(message) for message in ROUNDS]} for _ in range(40)]
    tokenizer = word_tokenizer()
    tokenizer.chat_template = FORGETS_REASONING
    config = make_config(max_length=64, lanes=2)
    one, other = (SFTStream.from_config(config, rows=rows, tokenizer=tokenizer) for _ in range(2))
    loader = one.loader(num_workers=2)
    batches = iter(loader)
    next(batches)
    state = loader.state_dict()
    resumed = other.loader()
    resumed.load_state_dict(state)
    assert other.stats.splits == one.stats.splits != {}
    for _ in (*batches, *resumed):
        pass
    assert dict(one.stats.splits) == dict(other.stats.splits) == {"history": 40}
    assert dict(one.stats.turns) == dict(other.stats.turns) == {"trained": 80}
    assert one.stats.examples_per_row == 2.0
